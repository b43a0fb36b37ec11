//! Which turns a CLI is not sent, since it would act on words that are no command to it.
//!
//! From 2.1.248 on a CLI takes a prompt as it is (`client_composed`). An older one reads the file behind an `@` and obeys a `/` at
//! the start all the same, and says nothing of the field that it does not know; so its version is asked, once, and only for
//! a prompt on which it would act. A prompt must never be changed here: it is sent as it was asked, or not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use treewarden_core::session::{Permanent, PermanentKind};
use treewarden_proto::TurnId;
use treewarden_proto::control::{ControlResponse, HostRequest};

use super::control::Purpose;
use super::{Engine, Event};
use crate::binaries::Binary;
use crate::session::desk::Shown;
use crate::session::status::{VERBATIM_FROM, takes_verbatim};

/// How long a CLI may take to say its version; it answered `initialize` just now.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a CLI's version.
#[derive(Debug, Default)]
pub(super) enum Version {
    /// It has not said it, and was not asked.
    #[default]
    Unknown,
    /// It is asked, and waited for until then.
    Asked(Instant, Arc<Notify>),
    /// It has said it.
    Said(Box<str>),
    /// It was asked, and did not say it.
    Unsaid,
}

impl Version {
    /// It is known to take a prompt as it is.
    fn takes_verbatim(&self) -> bool {
        matches!(self, Self::Said(version) if takes_verbatim(version))
    }
}

impl Engine {
    /// Holds the turn back, or refuses it, if the CLI would act on what is no command to it; `true` if it is not to be sent now.
    pub(super) fn keeps_from(&mut self, turn: TurnId) -> bool {
        // Of a turn that is woven in or overtaken the prompt is not sent.
        if self.is_woven(turn) || self.is_overtaken(turn) {
            return false;
        }
        let (Some(cli), Some(prompt)) = (&mut self.cli, self.desk.prompt(turn)) else { return false };
        if prompt.may_be_sent(cli.version.takes_verbatim()) {
            return false;
        }
        if matches!(cli.version, Version::Unknown) {
            cli.version = Version::Asked(Instant::now() + PATIENCE, Arc::default());
            self.request(Purpose::Version, HostRequest::GetBinaryVersion);
        }
        match self.cli.as_ref().map(|cli| &cli.version) {
            Some(Version::Asked(until, said)) if *until > Instant::now() => {
                let (until, said) = (*until, Arc::clone(said));
                let wait = async move {
                    // Either way the turn is looked at again, and refused if the version is still not known.
                    let _said = tokio::time::timeout_at(until, said.notified()).await;
                    Ok(())
                };
                self.sending = Some((turn, Box::pin(wait)));
                self.handle(Event::Held(turn));
            }
            Some(Version::Said(version)) => {
                let cli = format!("this CLI ({version})");
                self.refuse(turn, &cli);
            }
            _ => self.refuse(turn, "this CLI, which did not say its version,"),
        }
        true
    }

    fn refuse(&mut self, turn: TurnId, cli: &str) {
        let text = format!(
            "{cli} is not known to take a prompt as it is: it would act on a `/` at the start of a text or an `@` before a \
             name in it. So the turn was not sent; use a CLI from {VERBATIM_FROM} on, or, if the CLI is to act on it, ask it \
             as a command (`Prompt::command`, `ask --command`)"
        );
        self.handle(Event::Unsent(turn, Permanent::new(PermanentKind::WouldAct, text)));
    }

    /// What the CLI says of its version when it is asked.
    pub(super) fn version_answered(&mut self, response: &ControlResponse) {
        let version = response.outcome.as_ref().ok().and_then(|answer| answer.get("version")?.as_str());
        if let Some(version) = version {
            return self.note_version(version.to_owned());
        }
        if let Some(cli) = &mut self.cli {
            set(&mut cli.version, Version::Unsaid);
        }
    }

    pub(super) fn note_version(&mut self, version: String) {
        let Some(cli) = &mut self.cli else { return };
        set(&mut cli.version, Version::Said(version.as_str().into()));
        // So that the program need not be run to be asked: what stands in its place may do more than to start a CLI.
        if let Some(binary) = cli.path.as_deref().and_then(Binary::of) {
            self.desk.host.inner.binaries.set_version(binary, version.clone());
        }
        self.desk.note(Shown::Version(version));
    }
}

/// Whoever waits for it looks again.
fn set(of: &mut Version, version: Version) {
    if let Version::Asked(_, said) = std::mem::replace(of, version) {
        said.notify_one();
    }
}
