//! What a run remembers: the trace so far, and who is who.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ractor::{ActorCell, ActorId, ActorRef};
use serde_json::{Value, json};
use treewarden_otp::registry::Registry;
use treewarden_otp::supervisor::{
    AutoShutdown, OffenderPid, Reason, Report, RunId, RunningChild, StartContext, SupervisionEvent,
    Supervisor,
};

use crate::kid::KidMsg;
use crate::term::{noproc, term, without_exit};

/// How the oracle addresses a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Normal,
    Simple,
    Dynamic,
}

/// Why a process has ended, once it has.
pub(crate) type Gone = OnceLock<Value>;

/// What the steps must know of a supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) style: Style,
    /// The flag it runs with, for the checks that our types make needless.
    pub(crate) auto: AutoShutdown,
    /// What the children of a `simple_one_for_one` supervisor are made after.
    pub(crate) template: Option<Value>,
}

impl Default for Role {
    fn default() -> Self {
        Self { style: Style::Normal, auto: AutoShutdown::Never, template: None }
    }
}

/// A process of the trace.
#[derive(Debug, Clone)]
pub(crate) struct Proc {
    pub(crate) label: String,
    pub(crate) n: u64,
    /// Where it is in the tree: empty for the root.
    pub(crate) path: String,
    pub(crate) cell: ActorCell,
    pub(crate) kid: Option<ActorRef<KidMsg>>,
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) gone: Arc<Gone>,
    /// Its run, as its supervisor knows it.
    pub(crate) run: RunId,
    /// Who started it: runs are told apart within one run of one supervisor only. A root has nobody.
    pub(crate) starter: Option<ActorId>,
}

impl Proc {
    pub(crate) fn run_id(&self) -> Value {
        json!(format!("{}#{}", self.label, self.n))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get().is_some()
    }
}

#[derive(Debug, Default)]
struct Table {
    counters: HashMap<String, u64>,
    plans: HashMap<String, Vec<Value>>,
    procs: HashMap<(String, u64), Proc>,
    newest: HashMap<String, u64>,
    /// Supervisors that never came up.
    stillborn: HashSet<String>,
    /// By the supervisor's path.
    roles: HashMap<String, Role>,
    /// Who starts children now, by the supervisor's path.
    starters: HashMap<String, ActorId>,
}

/// One run of one schedule.
#[derive(Debug)]
pub(crate) struct World {
    events: Mutex<Vec<Value>>,
    table: Mutex<Table>,
    pub(crate) names: Registry<String>,
    pub(crate) registry: Mutex<Option<Registry<String, Value>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            table: Mutex::default(),
            names: Registry::<String>::unique().build(),
            registry: Mutex::default(),
        })
    }

    pub(crate) fn emit(&self, event: Value) {
        lock(&self.events).push(event);
    }

    pub(crate) fn event_count(&self) -> usize {
        lock(&self.events).len()
    }

    pub(crate) fn take_events(&self) -> Vec<Value> {
        std::mem::take(&mut lock(&self.events))
    }

    pub(crate) fn next_n(&self, label: &str) -> u64 {
        let mut table = lock(&self.table);
        let counter = table.counters.entry(label.to_owned()).or_default();
        *counter += 1;
        *counter
    }

    pub(crate) fn set_plan(&self, label: &str, plan: &Value, replace: bool) {
        let plan = plan.as_array().cloned().unwrap_or_default();
        let mut table = lock(&self.table);
        if replace {
            table.plans.insert(label.to_owned(), plan);
        } else {
            table.plans.entry(label.to_owned()).or_insert(plan);
        }
    }

    /// The outcome of the next start; the last one of a plan repeats.
    pub(crate) fn next_outcome(&self, label: &str) -> Value {
        match lock(&self.table).plans.get_mut(label) {
            None => json!("ok"),
            Some(plan) if plan.is_empty() => json!("ok"),
            Some(plan) if plan.len() == 1 => plan[0].clone(),
            Some(plan) => plan.remove(0),
        }
    }

    pub(crate) fn add(&self, process: Proc) {
        let mut table = lock(&self.table);
        let key = (process.label.clone(), process.n);
        if process.is_root() && table.procs.contains_key(&key) {
            // A dynamic supervisor below the root has its label, and came later: Erlang's root is known from its `init`.
            return;
        }
        table.newest.insert(process.label.clone(), process.n);
        table.procs.insert(key, process);
    }

    /// The process with a label: the newest one, or `a#2`.
    pub(crate) fn find(&self, id: &str) -> Result<Proc, Value> {
        let table = lock(&self.table);
        let (label, n) = match id.split_once('#') {
            Some((label, n)) => (label, n.parse().ok()),
            None => (id, table.newest.get(id).copied()),
        };
        let found = n.and_then(|n| table.procs.get(&(label.to_owned(), n)).cloned());
        found.ok_or_else(|| {
            if table.stillborn.contains(id) {
                return noproc();
            }
            if id.contains('#') {
                json!(["EXIT", ["badmatch", []]])
            } else {
                json!(["EXIT", ["no_such_label", id]])
            }
        })
    }

    pub(crate) fn add_stillborn(&self, label: &str) {
        lock(&self.table).stillborn.insert(label.to_owned());
    }

    pub(crate) fn set_role(&self, path: &str, role: Role) {
        lock(&self.table).roles.insert(path.to_owned(), role);
    }

    /// Notes who starts a child, and so for which supervisor.
    pub(crate) fn starter(&self, context: &StartContext) -> ActorId {
        let (path, id) = (context.path(), context.supervisor().get_id());
        let parent = path.strip_suffix(context.id().as_str()).unwrap_or_default().trim_end_matches('/');
        lock(&self.table).starters.insert(parent.to_owned(), id);
        id
    }

    /// Whether a process was started by the supervisor that runs at a path.
    pub(crate) fn is_child_of(&self, process: &Proc, path: &str) -> bool {
        process.starter.is_some() && process.starter == lock(&self.table).starters.get(path).copied()
    }

    pub(crate) fn role(&self, path: &str) -> Role {
        lock(&self.table).roles.get(path).cloned().unwrap_or_default()
    }

    pub(crate) fn find_cell(&self, cell: &ActorCell) -> Option<Proc> {
        lock(&self.table).procs.values().find(|known| known.cell.get_id() == cell.get_id()).cloned()
    }

    /// Notes that a process is gone; only the first word counts.
    pub(crate) fn exited(&self, label: &str, n: u64, gone: &Gone, reason: &Value) {
        if gone.set(reason.clone()).is_ok() {
            self.emit(json!({"ev": "exit", "id": label, "n": n, "reason": reason}));
        }
    }

    /// A supervision report as an event of the trace.
    pub(crate) fn report(&self, event: &SupervisionEvent) {
        let style = self.role(&event.supervisor).style;
        match &event.report {
            Report::Progress(child) => {
                self.emit(json!({"ev": "progress", "id": child.id.as_str(), "pid": pid_term(&child.pid)}));
            }
            Report::Error(context, reason, child) => {
                let reason = match reason {
                    Reason::Exit(reason) if style == Style::Dynamic => without_exit(term(reason)),
                    Reason::Exit(reason) => term(reason),
                    _ => json!("reached_max_restart_intensity"),
                };
                let id = if style == Style::Dynamic { "undefined" } else { child.id.as_str() };
                let (context, pid) = (context.as_str(), pid_term(&child.pid));
                self.emit(json!({"ev": "sup_report", "context": context, "reason": reason, "offender": id, "pid": pid}));
            }
            Report::UnexpectedMessage if style != Style::Dynamic => {
                let text = "Supervisor received unexpected message: ";
                self.emit(json!({"ev": "log", "level": "error", "text": text}));
            }
            _ => {}
        }
    }
}

/// The trace's name of a running child.
pub(crate) fn pid_of(child: &RunningChild) -> Value {
    child.extension::<Proc>().map_or_else(|| json!("?#0"), Proc::run_id)
}

fn pid_term(pid: &OffenderPid<RunningChild>) -> Value {
    match pid {
        OffenderPid::Running(_, child) => pid_of(child),
        OffenderPid::Restarting(Some((_, child))) => json!(["restarting", pid_of(child)]),
        OffenderPid::Restarting(None) => json!(["restarting", "undefined"]),
        OffenderPid::Many(count) => json!(["nb_children", count]),
        _ => json!("undefined"),
    }
}
