//! What all incarnations of a named session share: its queue, its callers, its conversation, and its status.
//!
//! Handles put work on the desk; the engine of the moment takes it off. When a CLI or an actor dies, the desk stays,
//! with the open turns in order and their callers still waiting. The desk decides nothing: that is the machine's job.
//!
//! One lock guards the six [rooms](rooms), and is taken in this folder alone: everybody else calls a method that says what is
//! meant. So no effect of another file can come between two steps that belong together.
//!
//! | lock | is taken | so that |
//! |---|---|---|
//! | `rooms` | for memory only, never over an await or the disk | no caller of the session waits for more than memory |
//! | the host's names | before `rooms` | whoever claims a name may ask its desk |
//! | those of a warm pool, of a sink, of the options, of the site | while `rooms` may be held | none of them ever asks a desk |
//! | that of the usage limits | while `rooms` may be held | a session's place among those who wait is its own |
//! | that of the events | last of all, while `rooms` may be held | an event stands where it happened among the others |

mod commit;
mod condition;
mod guard;
mod identity;
mod journal;
mod left;
mod limits;
mod lost;
mod member;
mod next_cli;
mod open;
mod post;
mod put_down;
mod record;
mod rooms;
mod saved;
mod service;
mod transcript;
mod turns;
mod unserved;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use tokio::sync::Notify;
use treewarden_core::session::{DrainReason, StopReason};
use treewarden_otp::restarts::Restarts;
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::SessionRecord;

pub(crate) use self::journal::Sending;
pub(crate) use self::left::Left;
pub(super) use self::lost::{taken_over, to_adopt, whole};
pub(crate) use self::record::Change;
use self::rooms::Rooms;
pub(crate) use self::rooms::{Command, Inherited, NotStored, Shown, Work};
pub(crate) use self::saved::Look;
use super::options::SessionOptions;
use super::start_error::StartError;
use super::turn::Interrupt;
use crate::events::{Happening, Site};
use crate::host::Host;
use crate::names::NameHeld;
use crate::places::Tenant;

/// What all incarnations of a session share; see the [module](self).
pub(crate) struct Desk {
    pub(crate) name: SessionName,
    /// Where the session is in the tree; its name until a supervisor starts it. Nothing else is locked under this.
    site: RwLock<Site>,
    options: RwLock<Arc<SessionOptions>>,
    pub(crate) host: Host,
    rooms: Mutex<Rooms>,
    /// Itself, for the task that stores what it has.
    me: Weak<Self>,
    /// Wakes that task.
    store_bell: Notify,
    /// Ends the pause that it makes before its next try.
    store_again: Notify,
    pub(super) name_held: NameHeld,
    /// Wakes the engine.
    engine_bell: Notify,
    /// Wakes whoever waits for the end of the engine.
    quiet: Notify,
    pub(super) restarts: Restarts<StartError>,
}

impl Tenant for Desk {
    fn is_pinned(&self) -> bool {
        self.options().pinned
    }

    fn park(&self) {
        // Without an engine there is nothing to end, and the place is free or about to be.
        self.command(Command::Stop(StopReason::Park));
    }
}

impl Interrupt for Desk {
    fn interrupt(&self, turn: TurnId) {
        self.cancel(turn, DrainReason::Interrupted);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Desk {
    fn new(
        host: Host,
        options: Arc<SessionOptions>,
        name: SessionName,
        record: Option<SessionRecord>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            store_bell: Notify::new(),
            store_again: Notify::new(),
            site: RwLock::new(Site::of(name.as_str())),
            name,
            options: RwLock::new(options),
            host,
            rooms: Mutex::new(Rooms::new(record)),
            name_held: NameHeld::default(),
            engine_bell: Notify::new(),
            quiet: Notify::new(),
            restarts: Restarts::default(),
        })
    }

    /// For memory only. It stays private to this folder.
    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the supervisor that starts the session has it.
    pub(crate) fn set_site(&self, site: Site) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = site;
    }

    /// Tells whoever reads the host's events what happened to the session.
    pub(crate) fn publish(&self, what: Happening) {
        // The site is copied out: nothing else may be locked while its lock is held.
        let site = self.site.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.host.inner.events.events().publish(site, Some(self.name.clone()), what);
    }

    /// What the session is started with; others from one moment to the next when the tree is changed.
    pub(crate) fn options(&self) -> Arc<SessionOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the session other options: its times hold at once, a CLI with the old ones is replaced between two turns if
    /// `renew` says so, and turns that are opened from now on have the new ones.
    pub(crate) fn reconfigure(&self, options: Arc<SessionOptions>, renew: bool) {
        // Before the command: an engine that takes it at once reads the options then.
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
        // Without an engine there is no CLI, and the next one has them.
        self.command(Command::Configure { renew });
    }
}
