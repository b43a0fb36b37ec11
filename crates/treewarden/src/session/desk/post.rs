//! Where a session stands among its supervisor's children, and what is asked of the supervisor there.
//!
//! A supervisor with a list finds a child by its id, and keeps the spec of one that is stopped. One whose children come and go
//! finds a child by its run, and forgets one that is stopped. Nothing but this file has to know which of the two a session has.

use treewarden_otp_core::supervisor::{ChildSpec, FindChildError, RestartChildError};

use super::Desk;
use crate::supervisor::{ChildStarted, RunId, Supervisor};

impl Desk {
    /// How the session is supervised.
    pub(crate) async fn child_spec(&self, supervisor: &Supervisor) -> Result<ChildSpec<()>, FindChildError> {
        match supervisor.get_childspec(self.name.as_str()).await {
            Err(FindChildError::NotFound) => self.run_spec(supervisor).await,
            found => found,
        }
    }

    /// The same, by its run alone: under a supervisor whose children come and go.
    pub(crate) async fn run_spec(&self, supervisor: &Supervisor) -> Result<ChildSpec<()>, FindChildError> {
        let unknown = |error: &FindChildError| *error == FindChildError::NotFound;
        let found = self.by_run(|run| supervisor.get_run_spec(run), unknown).await;
        found.unwrap_or(Err(FindChildError::NotFound))
    }

    /// Has its supervisor stop it, and keep its spec if it is one that does.
    pub(crate) async fn terminate(&self, supervisor: &Supervisor) -> Result<(), FindChildError> {
        match supervisor.terminate_child(self.name.as_str()).await {
            Err(FindChildError::NotFound) => {
                let unknown = |error: &FindChildError| *error == FindChildError::NotFound;
                let ended = self.by_run(|run| supervisor.terminate_run(run), unknown).await;
                ended.unwrap_or(Err(FindChildError::NotFound))
            }
            ended => ended,
        }
    }

    /// Has it ended and started by a supervisor whose children come and go; also one that was given up.
    pub(crate) async fn restart_run(
        &self,
        supervisor: &Supervisor,
    ) -> Result<ChildStarted, RestartChildError> {
        let unknown = |error: &RestartChildError| matches!(error, RestartChildError::NotFound);
        let started = self.by_run(|run| supervisor.restart_run(run), unknown).await;
        started.unwrap_or(Err(RestartChildError::NotFound))
    }

    /// Asks by the session's run; `None` if it never had one.
    async fn by_run<T, E, A: Future<Output = Result<T, E>>>(
        &self,
        ask: impl Fn(RunId) -> A,
        is_unknown: impl Fn(&E) -> bool,
    ) -> Option<Result<T, E>> {
        let mut run = self.run()?;
        loop {
            let answer = ask(run).await;
            let is_stale = answer.as_ref().is_err_and(&is_unknown);
            match self.run() {
                // Its supervisor has restarted it meanwhile, and knows it by the next run.
                Some(next) if is_stale && next != run => run = next,
                _ => return Some(answer),
            }
        }
    }
}
