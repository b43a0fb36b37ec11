//! The sessions of a host by their names: who holds one, and what a host tells of all of them.
//!
//! The table of names is the host's registry; this file takes names and frees them, and makes sessions of those who hold
//! them. What sessions share beyond their names is not its matter (`host.rs`).
//!
//! Locks: the registry's table may be held while a desk is asked whether it is closed, never the other way round. The last
//! reference to a desk is never dropped under the table's lock, which the end of its claim takes.

use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use treewarden_proto::spec::SessionSpec;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::StoredTurn;

use super::delivered::Delivered;
use super::desk::Desk;
use super::handle::Session;
use super::status::Status;
use crate::events::Happening;
use crate::guards::Missing;
use crate::host::{Holder, Host, LOOKS};

impl Holder {
    /// A handle of the session; `None` if it is gone.
    pub fn session(&self) -> Option<Session> {
        self.who().map(Session::of_desk)
    }
}

impl Host {
    /// The session that holds `name`, if one does.
    pub fn session(&self, name: &str) -> Option<Session> {
        self.find(name).map(Session::of_desk)
    }

    /// The status of every session, by name.
    pub fn sessions(&self) -> Vec<Status> {
        let mut all: Vec<Status> = self.desks().iter().map(|desk| desk.status()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The status of the session that holds `name`, if one does.
    pub(crate) fn status_of(&self, name: &str) -> Option<Status> {
        self.find(name).map(|desk| desk.status())
    }

    /// Looks whether what keeps others away is still there: leases, the tree's lock, the state directory. Returns what was
    /// found of the host as a whole since the last look. All that is found is an event too.
    ///
    /// Each turn is preceded by such a look. Whoever wants to know, and to mend, without a turn calls it from time to time,
    /// as the `treewarden` command does. It asks the file system some questions for each live session.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn look_again(&self) -> Vec<Missing> {
        let host = self.clone();
        let look = move || {
            let mut others = host.desks();
            others.retain(|desk| {
                // What a lost lease means is shown in the status of its session, whose turns it refuses.
                let _shown_in_its_status = desk.look_at_lease();
                desk.has_another_transcript()
            });
            // The guards keep why turns are refused; what is new comes by `take_news`.
            let _kept = host.inner.guards.look(&*host.inner.store, &host.inner.state);
            others
        };
        // A file system may take its time.
        for desk in tokio::task::spawn_blocking(look).await.unwrap_or_default() {
            desk.look_at_another_transcript().await;
        }
        let news = self.inner.guards.take_news();
        for missing in &news {
            self.note_removed(missing.what.as_str(), missing.mended);
        }
        news
    }

    /// Which of these sessions have a conversation that would be lost if their CLIs were ended now, by name; see
    /// [`Session::unsaved`].
    ///
    /// To be asked before many are stopped or restarted. Names that nobody holds are left out.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn unsaved(&self, names: impl IntoIterator<Item = SessionName>) -> Vec<Unsaved> {
        let looks = futures_util::stream::iter(names.into_iter().filter_map(|name| self.find(name.as_str())));
        let looks = looks.map(|desk| async move {
            let why = desk.unsaved().await?;
            Some(Unsaved { name: desk.name.clone(), why })
        });
        let mut all: Vec<Unsaved> =
            looks.buffer_unordered(LOOKS).filter_map(std::future::ready).collect().await;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Says as an event that a conversation is on no disk, for a program that is about to end its CLI all the same.
    ///
    /// A session that nobody holds any more is passed over.
    pub fn note_unsaved(&self, unsaved: &Unsaved) {
        if let Some(desk) = self.find(unsaved.name.as_str()) {
            desk.publish(Happening::Unsaved { why: unsaved.why.clone() });
        }
    }

    /// The outcome of a turn, as far as it has one: also of a turn that an earlier host settled, or that the store does not take.
    ///
    /// `None` if no turn of this id is known. One that was settled and is older than what is [kept](crate::host::HostOptions::keep) is told
    /// apart from one that never was by [`has_expired`](Self::has_expired).
    ///
    /// # Errors
    ///
    /// [`treewarden_store::StoreError`] if the journal cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn turn(&self, turn: TurnId) -> Result<Option<TurnReport>, treewarden_store::StoreError> {
        match self.inner.store.turn(turn).await {
            Ok(Some(StoredTurn::Held(row))) if row.outcome.is_some() => Ok(Some(TurnReport::new(*row))),
            Ok(Some(StoredTurn::Held(row))) => {
                let in_hand = self.find(row.name.as_str()).and_then(|desk| in_hand(&desk, turn));
                Ok(Some(in_hand.unwrap_or_else(|| TurnReport::new(*row))))
            }
            // Where the journal knows nothing, or cannot be read, some session may have it in hand.
            told => match self.desks().iter().find_map(|desk| in_hand(desk, turn)) {
                Some(report) => Ok(Some(report)),
                None => told.map(|_| None),
            },
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Desk>> {
        let name = SessionName::new(name).ok()?;
        self.names().lookup(&name).first()?.value.who()
    }

    /// The names that are held, in their order.
    pub(crate) fn known_names(&self) -> Vec<SessionName> {
        let mut names = self.names().select(|name, _, _| Some(name.clone()));
        names.sort();
        names
    }

    pub(crate) fn desks(&self) -> Vec<Arc<Desk>> {
        let holders = self.names().select(|_, _, holder| Some(holder.clone()));
        holders.iter().filter_map(Holder::who).collect()
    }

    /// Gives a desk its name, or gives the desk back if another holds the name. One that is closed holds it for nobody.
    pub(crate) fn claim(&self, desk: Arc<Desk>) -> Result<Arc<Desk>, Arc<Desk>> {
        let mut asked: Option<Arc<Desk>> = None;
        let claim = self.names().claim(desk.name.clone(), Holder::new(&desk), |holder| {
            // It is kept until the table's lock is free: it may be the last reference.
            asked = holder.who();
            asked.as_ref().is_none_or(|holder| holder.is_closed())
        });
        drop(asked);
        match claim {
            Ok(claim) => {
                desk.name_held.replace(Some(claim));
                Ok(desk)
            }
            Err(_) => Err(desk),
        }
    }

    /// Frees the name of this desk, unless another took it over.
    pub(crate) fn disclaim(&self, desk: &Desk) {
        desk.name_held.replace(None);
    }
}

/// A session whose conversation is on no disk, so that its CLI has the only copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unsaved {
    /// The session.
    pub name: SessionName,
    /// Which turn is missing, and where it was looked for.
    pub why: String,
}

/// A turn as the journal holds it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TurnReport {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// How many CLIs died while they worked at it.
    pub interruptions: u32,
    /// Its outcome; `None` while it is open.
    pub outcome: Option<serde_json::Value>,
    /// `false` if this host has the outcome in its memory alone, since the store does not take it, or takes no turns.
    pub stored: bool,
}

/// The report of an outcome that a session has in hand.
fn in_hand(desk: &Desk, turn: TurnId) -> Option<TurnReport> {
    let (outcome, interruptions) = desk.outcome_in_hand(turn)?;
    Some(TurnReport::of_delivered(turn, desk.name.clone(), &Delivered::new(outcome, false, interruptions)))
}

impl TurnReport {
    /// The report of an outcome that was delivered, as the journal holds it, or would.
    pub fn of_delivered(turn: TurnId, name: SessionName, delivered: &Delivered) -> Self {
        let Delivered { outcome, stored, interruptions } = delivered;
        Self { turn, name, interruptions: *interruptions, outcome: outcome.to_value(), stored: *stored }
    }

    fn new(row: treewarden_store::TurnRow) -> Self {
        let treewarden_store::TurnRow { turn, name, interruptions, outcome, .. } = row;
        Self { turn, name, interruptions, outcome, stored: true }
    }
}

/// The spec's name, or a new one for a session without.
pub(crate) fn name_of(spec: &SessionSpec) -> SessionName {
    spec.name.clone().unwrap_or_else(|| {
        SessionName::new(&format!("session-{}", SessionId::random())).expect("a UUID is a valid segment")
    })
}
