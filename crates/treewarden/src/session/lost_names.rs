//! The names of a host whose records are lost: which there are, of which template each was, and what has them go on.
//!
//! It is for all of them at once, and for those that no session of the program has, such as one of a template that is in no file
//! any more. It is not for one that a session has, whose loss ends with its desk (`desk/lost.rs`). Nothing here may begin a lost
//! name blank unless that is asked for.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{Change, CommitError, LostNames, SessionRecord, StoreError, StoreErrorKind, Told};
use treewarden_transcript as transcript;

use super::desk::{taken_over, to_adopt, whole};
use super::error::QueryError;
use crate::host::Host;

/// How long whoever ends a loss waits for those that do so already.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said where somebody has the name by now who waits for none of the others.
const MEANWHILE: &str = "a session of that name was made meanwhile, or another program took the name, and nothing was stored; look at \
                         `treewarden ps`, and ask again";

/// A name whose record is lost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LostName {
    /// The name.
    pub name: SessionName,
    /// The conversation that it is known to have had.
    pub session_id: Option<SessionId>,
    /// The template of which its session was made, as far as the lease of that conversation says so; those that an earlier
    /// version wrote do not.
    pub template: Option<SessionName>,
}

/// What became of one lost name.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Adopted {
    /// The name.
    pub name: SessionName,
    /// The conversation that it is known to have had.
    pub session_id: Option<SessionId>,
    /// Why it was not taken over; `None` if it was.
    pub refused: Option<String>,
    /// A session of the program has the name. Otherwise whoever makes one of that name finds the record.
    pub is_held: bool,
    /// The template of which its session was made, as far as that is known.
    pub template: Option<SessionName>,
}

impl Host {
    /// The names whose records are lost.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn lost(&self) -> Result<LostNames, StoreError> {
        self.store().lost().await
    }

    /// The same, each with the template of which its session was made, as its lease says.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn lost_names(&self) -> Result<Vec<LostName>, StoreError> {
        let names = self.lost().await?.names;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.state().clone();
        let known = tokio::task::spawn_blocking(move || {
            let of = |(name, session_id): (SessionName, Option<SessionId>)| {
                let template = session_id.and_then(|id| state.template_of(&name, id));
                LostName { name, session_id, template }
            };
            names.into_iter().map(of).collect()
        });
        Ok(known.await.unwrap_or_default())
    }

    /// The template of which the session of a lost name was made.
    pub(crate) async fn template_of(&self, name: &SessionName, id: Option<SessionId>) -> Option<SessionName> {
        let (state, name, id) = (self.state().clone(), name.clone(), id?);
        tokio::task::spawn_blocking(move || state.template_of(&name, id)).await.unwrap_or_default()
    }

    /// Has every lost name begin anew; returns how many were known.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if that cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped they may begin anew all the same, some of them after the next start of the host.
    pub async fn clear_lost(&self) -> Result<usize, StoreError> {
        let one = self.one_ending().await.map_err(|why| StoreError::new(StoreErrorKind::Busy, why))?;
        let known = self.store().forgive_lost().await?;
        drop(one);
        for desk in self.desks() {
            if desk.lost().is_some() {
                desk.forgive().await;
            }
        }
        Ok(known)
    }

    /// Takes over the conversation of every lost name of which it is known which one that was, as far as its transcript is whole;
    /// of the others it is said why not.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the names cannot be read.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped some may have been taken over.
    pub async fn adopt_lost(&self) -> Result<Vec<Adopted>, StoreError> {
        let others = self.lost().await?.others;
        let mut names = self.lost_names().await?;
        // Where nobody knows which names there were, those are lost that somebody has.
        let is_known = |name: &SessionName| names.iter().any(|known| known.name == *name);
        let more = self.desks().into_iter().filter(|desk| others.is_some() && desk.lost().is_some());
        let more: Vec<_> = more.map(|desk| desk.name.clone()).filter(|name| !is_known(name)).collect();
        names.extend(more.into_iter().map(|name| LostName { name, session_id: None, template: None }));
        let mut all = Vec::new();
        for LostName { name, session_id, template } in names {
            let session = self.session(name.as_str());
            let is_held = session.is_some();
            let adopted = match (session_id, session) {
                (None, _) => Err(format!(
                    "no lease file says which conversation it had{}; {}",
                    self.why_lost(&name).await,
                    to_adopt(&name, None)
                )),
                (Some(id), Some(session)) => session.adopt(id).await.map_err(|error| error.to_string()),
                // One of a template, or of a program that has not made it yet: whoever opens it finds the record.
                (Some(id), None) => {
                    self.adopt_unheld(&name, id).await.map(drop).map_err(|error| error.to_string())
                }
            };
            all.push(Adopted { name, session_id, refused: adopted.err(), is_held, template });
        }
        Ok(all)
    }

    /// What is known of the loss of a name of which it is not known which conversation it had, as a clause behind others.
    async fn why_lost(&self, name: &SessionName) -> String {
        match self.store().record(name.clone()).await {
            Ok(Told::Lost { why, .. }) => format!(": {why}"),
            // Found lost, and read here for a person alone.
            _ => String::new(),
        }
    }

    /// Takes a conversation over for a lost name that no session of the program has, by the config directory that this process
    /// would give a CLI; returns what is known of the name then.
    ///
    /// # Errors
    ///
    /// [`QueryError`] as of [`Session::adopt`](crate::Session::adopt); also if the name began anew, or took a conversation over,
    /// before this.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the conversation may be taken over all the same.
    pub async fn adopt_unheld(&self, name: &SessionName, id: SessionId) -> Result<LostName, QueryError> {
        let refused = |why: String| QueryError::not_adopted(name, id, &why);
        self.refuse_anothers(name, id).await.map_err(refused)?;
        let config_dir = own_config_dir().map_err(refused)?;
        let seen = whole(self, config_dir.clone(), id).await.map_err(refused)?;
        // That of the name, also where it takes over another conversation than it had.
        let template = match self.known(name).await.and_then(|known| known.template) {
            None => self.template_of(name, Some(id)).await,
            known => known,
        };
        let of = template.clone();
        let change = move |record: &mut SessionRecord| {
            record.template = of;
            taken_over(record, id, &config_dir, seen);
        };
        self.end_unheld(name, id, change).await.map_err(refused)?;
        Ok(LostName { name: name.clone(), session_id: Some(id), template })
    }

    /// What is known of a lost name.
    async fn known(&self, name: &SessionName) -> Option<LostName> {
        self.lost_names().await.unwrap_or_default().into_iter().find(|lost| lost.name == *name)
    }

    /// Refuses a conversation that another name has, or had before its record was lost: both would ask in it.
    pub(crate) async fn refuse_anothers(&self, name: &SessionName, id: SessionId) -> Result<(), String> {
        let holders = self.desks().into_iter().filter(|desk| desk.status().session_id == Some(id));
        let mut others: Vec<SessionName> = holders.map(|desk| desk.name.clone()).collect();
        // What cannot be read is no other name's as far as anybody knows.
        let lost = self.lost_names().await.unwrap_or_default();
        others.extend(lost.into_iter().filter(|lost| lost.session_id == Some(id)).map(|lost| lost.name));
        match others.into_iter().find(|other| other != name) {
            Some(other) => Err(format!("it is the conversation of {other}")),
            None => Ok(()),
        }
    }

    /// Has a lost name begin anew that no session of the program has.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if its record is there, as of one that took a conversation over before this, or that cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may begin anew all the same.
    pub async fn clear_unheld(&self, name: &SessionName) -> Result<(), QueryError> {
        let known = self.known(name).await;
        let lost = known.as_ref().and_then(|lost| lost.session_id).unwrap_or_else(SessionId::random);
        let change = move |record: &mut SessionRecord| {
            record.template = known.and_then(|lost| lost.template);
            record.follow(SessionId::random());
        };
        let ended = self.end_unheld(name, lost, change).await;
        ended.map_err(|why| QueryError::not_noted(&format!("{name} is not cleared"), &why))
    }

    /// Stores a record in the place of the one that is lost.
    async fn end_unheld(
        &self,
        name: &SessionName,
        id: SessionId,
        change: impl FnOnce(&mut SessionRecord),
    ) -> Result<(), String> {
        let _one = self.one_ending().await?;
        let taken = self.store().take(name.clone()).await.map_err(|error| error.to_string())?;
        if let Some(why) = not_lost(&taken.told) {
            return Err(why);
        }
        let mut record = SessionRecord::new(name.clone(), id);
        change(&mut record);
        let change = Change { record: Some(record), ..Change::default() };
        match self.store().commit(taken.tenure, change).await {
            Ok(_) => Ok(()),
            Err(CommitError::LeaseLost { .. }) => Err(MEANWHILE.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Has this one alone end losses, for as long as the permit is held.
    async fn one_ending(&self) -> Result<SemaphorePermit<'_>, String> {
        let waited = tokio::time::timeout(PATIENCE, self.inner.endings.acquire()).await;
        waited.ok().and_then(Result::ok).ok_or_else(|| {
            format!(
                "another `adopt` or `clear` of a lost name has not ended within {} s, and nothing was done; ask again",
                PATIENCE.as_secs()
            )
        })
    }

    /// Why nothing is to be ended of a name that no session of the program has: its record is there. `None` if it is lost, or
    /// there never was one.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn why_not_lost(&self, name: &SessionName) -> Option<String> {
        match self.store().record(name.clone()).await {
            Ok(told @ Told::Record(_)) => not_lost(&told),
            _ => None,
        }
    }
}

/// Why the loss of a name cannot be ended, in words, if it is not lost: whoever came before may have ended it.
fn not_lost(told: &Told) -> Option<String> {
    match told {
        Told::Lost { .. } => None,
        Told::Record(record) => Some(format!(
            "its record is not lost any more, or never was: it has the conversation {}",
            record.session_id
        )),
        Told::Never => Some("nothing of it is lost any more: a session of that name begins anew".to_owned()),
    }
}

fn own_config_dir() -> Result<PathBuf, String> {
    let cwd =
        std::env::current_dir().map_err(|error| format!("the program has no working directory: {error}"))?;
    transcript::config_dir(|name| std::env::var_os(name), &cwd).map_err(|error| error.to_string())
}
