//! One service over one tree: who may ask, who has a place, and who carries a request out.
//!
//! It must never know what is behind a [`Sink`]: no socket, exit code, terminal or argument of a command is named here. A door
//! that misses something here gets it here, so that the next door has it too.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Mutex, RwLock, SemaphorePermit};
use treewarden::session::{LostName, Status};
use treewarden::{Prompt, SessionName, Tree};

use crate::access::Caller;
use crate::answer::{Answer, Hello, OfTemplate, Progress, Reloaded, Sessions, StoreProblem};
use crate::limits::{LASTING, Places, WAITING};
use crate::message::{Request, VERSION};
use crate::refusal::{Code, Refusal, Unanswered};
use crate::reload::{self, Reload};
use crate::sink::{Gone, Sink};
use crate::{control, events, turns, unsaved};

/// So many problems of the store are shown with the sessions, the newest.
const PROBLEMS: usize = 8;

/// How long `ps` waits for the store to say which names are lost.
const LOST: Duration = Duration::from_secs(1);

/// What can be asked of one tree, for any number of doors.
#[derive(Debug)]
pub struct Service {
    pub(crate) tree: Tree,
    places: Places,
    /// Read by each request that comes to an end by itself, until its end is told.
    telling: RwLock<()>,
    /// The config file, by its absolute path.
    pub(crate) file: Option<PathBuf>,
    /// Held by whoever reads the file again and changes the tree.
    pub(crate) reloading: Mutex<()>,
}

impl Service {
    /// Serves a tree.
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            places: Places::new(LASTING, WAITING),
            telling: RwLock::default(),
            file: None,
            reloading: Mutex::default(),
        }
    }

    /// Names the file that a reload reads unless it names another, by its absolute path.
    #[must_use]
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Serves so many asks, waits and followers at once, of all doors, and has so many more wait, instead of
    /// [`LASTING`] and [`WAITING`].
    ///
    /// For a program that may not have as many connections as that: all that it has would be theirs, and `stop` would wait
    /// outside.
    #[must_use]
    pub fn places(mut self, lasting: usize, waiting: usize) -> Self {
        self.places = Places::new(lasting, waiting);
        self
    }

    /// The tree that is served.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Carries a request out, and tells the caller's sink: some items, then one end.
    ///
    /// A request whose caller has gone is not carried out later: not after it waited for a place, for a lock, for the disk or
    /// for a look at a conversation. One that has begun is carried through, but for a turn that nobody waits for any more,
    /// which is interrupted.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the caller went before the end was told. A refusal is no error: it is an end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future interrupts a turn that is asked for. Whatever else it does may be left half done, as the methods of
    /// [`Session`](treewarden::Session) and [`Tree`] say.
    pub async fn answer(&self, request: Request, caller: Caller, sink: &mut impl Sink) -> Result<(), Gone> {
        // A follower has no end that anybody could wait for.
        let ends = !matches!(request, Request::Events { follow: true, .. });
        let _telling = if ends { Some(self.telling.read().await) } else { None };
        let (place, answered) = match self.admit(&request, caller, sink).await {
            Ok(place) => (place, self.carry_out(request, sink).await),
            Err(refused) => (None, Err(refused)),
        };
        let end = match answered {
            Ok(answer) => Ok(answer),
            Err(Unanswered::Refused(refusal)) => Err(refusal),
            Err(Unanswered::Gone) => return Err(Gone),
        };
        let told = sink.end(end).await;
        // The place is given back when the end is told, and not before: callers who read their ends slowly
        // would fill the door, and keep control out.
        drop(place);
        told
    }

    /// Looks whether the caller may ask this, says that it has begun if it takes its time, and finds a place for what lasts.
    async fn admit(
        &self,
        request: &Request,
        caller: Caller,
        sink: &mut impl Sink,
    ) -> Result<Option<SemaphorePermit<'_>>, Unanswered> {
        // A caller who went while the request was read is not obeyed.
        still_there(sink)?;
        // The right is looked at before anything is told or taken: a caller who may not use a verb holds no
        // place for it.
        if !caller.may(request) {
            let text =
                format!("this caller may not use {:?}, which takes {:?}", request.op(), request.access());
            return Err(Refusal::new(Code::Forbidden, text).into());
        }
        // A caller waits for a sign of life, and not for the end.
        if request.takes_its_time() {
            sink.item(Progress::Begun.into()).await?;
        }
        let lasts = match request {
            // Whoever does not wait for the answer needs no place among those who do.
            Request::Ask { detach, .. } => !detach,
            Request::Turn { turn, wait } => *wait && turns::is_open(self, *turn).await,
            Request::Events { follow, .. } => *follow,
            _ => false,
        };
        if lasts { self.places.take(sink).await.map(Some) } else { Ok(None) }
    }

    async fn carry_out(&self, request: Request, sink: &mut impl Sink) -> Result<Answer, Unanswered> {
        // It may have waited for a place, or for its caller to take that it has begun.
        still_there(sink)?;
        match request {
            Request::Hello {} => Ok(Answer::Hello(self.hello())),
            Request::Ps {} => Ok(Answer::Sessions(self.sessions().await)),
            Request::Tree {} => Ok(Answer::Tree(Box::new(self.tree.outline().await))),
            Request::Ask { name, prompt, command, stream, detach } => {
                let prompt = if command { Prompt::command(prompt) } else { prompt.into() };
                turns::ask(self, sink, name, prompt, stream, detach).await
            }
            Request::Turn { turn, wait: true } => turns::wait(self, sink, turn).await,
            Request::Turn { turn, wait: false } => Ok(turns::report(self, turn).await?),
            Request::Cancel { turn } => control::cancel(self, turn).await,
            Request::Interrupt { name } => control::interrupt(self, &name).await,
            Request::Clear { name } => control::clear(self, &name).await,
            Request::ClearLost {} => control::clear_lost(self).await,
            Request::Adopt { name, session_id } => control::adopt(self, &name, session_id).await,
            Request::AdoptLost {} => control::adopt_lost(self).await,
            Request::Start { name } => control::start(self, &name).await,
            Request::New { template, name } => control::new(self, &template, &name).await,
            Request::Remove { name, force } => control::remove(self, sink, &name, force).await,
            Request::Stop { name, force } => control::stop(self, sink, &name, force).await,
            Request::Restart { name, force } => control::restart(self, sink, &name, force).await,
            Request::Reload { file, dry_run, allow_empty, force } => {
                reload::asked(self, sink, file, Reload { dry_run, allow_empty, force }).await
            }
            Request::Backup { to } => control::backup(self, to).await,
            Request::Events { follow, since } => events::tell(self, sink, follow, since).await,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: VERSION,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state_dir: self.tree.host().state_dir().to_owned(),
        }
    }

    async fn sessions(&self) -> Sessions {
        let host = self.tree.host();
        // As long as a person reads: all are events, and in the log.
        let mut problems = host.problems().await;
        let newest = problems.split_off(problems.len().saturating_sub(PROBLEMS));
        let sessions = host.sessions();
        Sessions {
            lost: self.lost(&sessions).await,
            sessions,
            warm: host.warm(),
            removed: host.removed(),
            problems: newest.into_iter().map(StoreProblem::from).collect(),
        }
    }

    /// The lost names that none of these has; none while the store does not say.
    async fn lost(&self, sessions: &[Status]) -> Vec<OfTemplate<LostName>> {
        let names = tokio::time::timeout(LOST, self.tree.host().lost_names()).await;
        let mut names = names.ok().and_then(Result::ok).unwrap_or_default();
        // They are in the order of their names.
        names.retain(|lost| sessions.binary_search_by(|session| session.name.cmp(&lost.name)).is_err());
        let of =
            |name: LostName| OfTemplate { has_template: self.has_template(name.template.as_ref()), name };
        names.into_iter().map(of).collect()
    }

    /// Tells whether the tree has this template now: a file that was read again may have it no more.
    pub(crate) fn has_template(&self, template: Option<&SessionName>) -> bool {
        let spec = self.tree.spec();
        template.is_some_and(|template| spec.templates().any(|(known, _)| known == template))
    }

    /// Reads the config file again and makes the tree what it says, once whoever does that now is done.
    ///
    /// As `reload` without a field, for whoever is no caller, such as a signal.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the file is not valid or declares no child, a conversation would be lost, or the tree is stopping.
    ///
    /// # Cancel safety
    ///
    /// A change of the tree that has begun goes on when the future is dropped.
    pub async fn reload(&self) -> Result<Reloaded, Refusal> {
        reload::unasked(self).await
    }

    /// Waits until everybody is told the end of what they asked for, but for those who follow the events.
    ///
    /// For a door that is about to be shut when the tree has ended: whoever waits for a turn is told by then that it stays
    /// open. A caller who takes nothing keeps it waiting for as long as its door does.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn all_told(&self) {
        drop(self.telling.write().await);
    }

    /// Says, in the log and the events, which conversations are lost with the tree's end, since an end cannot be refused.
    ///
    /// It takes five seconds at most.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn say_unsaved(&self) {
        unsaved::say(self).await;
    }
}

/// Leaves a request alone whose caller has gone: to be asked after each wait and before each effect.
pub(crate) fn still_there(sink: &impl Sink) -> Result<(), Gone> {
    if sink.is_gone() { Err(Gone) } else { Ok(()) }
}
