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
use treewarden_core::session::Outcome;
use treewarden_proto::spec::SessionSpec;
use treewarden_proto::{SessionId, SessionName, TurnId};

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
    pub fn look_again(&self) -> Vec<Missing> {
        for desk in self.desks() {
            // What a lost lease means is shown in the status of its session, whose turns it refuses.
            let _shown_in_its_status = desk.look_at_lease();
            desk.look_at_transcript();
        }
        // The guards keep why turns are refused; what is new comes by `take_news`.
        let _kept = self.inner.guards.look(&self.inner.store);
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

    /// The outcome of a turn, as far as it has one: also of a turn that an earlier host settled.
    ///
    /// # Errors
    ///
    /// [`treewarden_store::StoreError`] if the journal cannot be read.
    pub fn turn(&self, turn: TurnId) -> Result<Option<TurnReport>, treewarden_store::StoreError> {
        Ok(self.inner.store.turn(turn)?.map(TurnReport::new))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Desk>> {
        let name = SessionName::new(name).ok()?;
        self.names().lookup(&name).first()?.value.who()
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
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
}

impl TurnReport {
    /// The report of an outcome that was delivered, as the journal would hold it: a host that stores no turns has no other.
    pub fn of_outcome(turn: TurnId, name: SessionName, outcome: &Outcome) -> Self {
        let interruptions = outcome.answer().map_or(0, |answer| answer.interruptions);
        Self { turn, name, interruptions, outcome: outcome.to_value() }
    }

    fn new(row: treewarden_store::TurnRow) -> Self {
        Self { turn: row.turn, name: row.name, interruptions: row.interruptions, outcome: row.outcome }
    }
}

/// The spec's name, or a new one for a session without.
pub(crate) fn name_of(spec: &SessionSpec) -> SessionName {
    spec.name.clone().unwrap_or_else(|| {
        SessionName::new(&format!("session-{}", SessionId::random())).expect("a UUID is a valid segment")
    })
}
