//! The child process of the schedules: a ractor actor that starts, behaves and ends as it is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use serde_json::{Value, json};
use treewarden_otp::supervisor::{Child, ExitReason, ExitReasons, Info, StartContext, StartFailure, Started};

use crate::term::{failure, normalized, raised, reason, term};
use crate::world::{Gone, Proc, World};

#[derive(Debug)]
pub(crate) enum KidMsg {
    Die {
        mode: String,
        reason: Value,
    },
    /// An exit signal from a stranger.
    Signal(Value),
    Echo(Value, RpcReplyPort<Value>),
}

/// What a kid is: its place in the tree and its manners.
pub(crate) struct Kid {
    pub(crate) world: Arc<World>,
    label: String,
    n: u64,
    name: Option<String>,
    on_stop: Value,
    outcome: Value,
    context: StartContext,
    exit_reasons: ExitReasons,
    gone: Arc<Gone>,
    /// How it ends by itself, once that is decided.
    decided: Mutex<Option<ExitReason>>,
}

/// Dropped last of all, whatever ended the kid; knows how it ended unless it was killed.
pub(crate) struct Fate {
    world: Arc<World>,
    label: String,
    n: u64,
    gone: Arc<Gone>,
    reason: Option<Value>,
}

impl Drop for Fate {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or_else(|| json!("killed"));
        self.world.exited(&self.label, self.n, &self.gone, &reason);
    }
}

impl Kid {
    fn is_trapping(&self) -> bool {
        self.on_stop != json!("obey")
    }

    /// The terminate callback; the reason it leaves with.
    async fn terminate(&self, reason: ExitReason) -> ExitReason {
        self.world.emit(json!({"ev": "terminate", "id": self.label, "n": self.n, "reason": term(&reason)}));
        if let Some(ms) = self.on_stop.get("delay").and_then(Value::as_u64) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        } else if let (Some(other), ExitReason::Shutdown) = (self.on_stop.get("exit"), &reason) {
            return crate::term::reason(other);
        } else if self.on_stop == json!("hang") {
            std::future::pending::<()>().await;
        }
        reason
    }

    fn decide(&self, reason: ExitReason) {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

impl Actor for Kid {
    type Msg = KidMsg;
    type State = Fate;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<KidMsg>, (): ()) -> Result<Fate, ActorProcessingErr> {
        if let Some(name) = &self.name {
            let registered = self.world.names.register(&myself.get_cell(), name.clone(), ());
            registered.map_err(|taken| name_taken(&self.world, taken.owner.as_ref()))?;
        }
        if let Some(ms) = self.outcome.get("slow").and_then(Value::as_u64) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        self.world.emit(json!({"ev": "start", "id": self.label, "n": self.n, "kind": "child"}));
        if let Some([ms, reason]) =
            self.outcome.get("exit_after").and_then(Value::as_array).map(Vec::as_slice)
        {
            let (ms, reason) = (ms.as_u64().unwrap_or(0), reason.clone());
            let mode = "stop".to_owned();
            drop(myself.send_after(Duration::from_millis(ms), move || KidMsg::Die { mode, reason }));
        }
        let (world, label, gone) = (self.world.clone(), self.label.clone(), self.gone.clone());
        Ok(Fate { world, label, n: self.n, gone, reason: None })
    }

    async fn handle(
        &self,
        me: ActorRef<KidMsg>,
        message: KidMsg,
        fate: &mut Fate,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KidMsg::Echo(value, reply) => {
                // The caller may have given up.
                let _ = reply.send(json!(["echo", value]));
            }
            KidMsg::Signal(signal) => {
                let signal = reason(&signal);
                if !self.is_trapping() && !matches!(signal, ExitReason::Normal) {
                    fate.reason = Some(term(&signal));
                    return Err(Box::new(signal));
                }
            }
            // An error has a stack in Erlang: it is abnormal even when its term is `normal`.
            KidMsg::Die { mode, reason } if mode == "error" => {
                let end = self.terminate(raised(normalized(&reason))).await;
                fate.reason = Some(term(&end));
                return Err(Box::new(end));
            }
            KidMsg::Die { mode, reason: why } => {
                if mode == "unlink" {
                    me.get_cell().unlink(self.context.supervisor());
                }
                self.decide(reason(&why));
                me.stop(None);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<KidMsg>, fate: &mut Fate) -> Result<(), ActorProcessingErr> {
        let decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner).take();
        let told = self.exit_reasons.told();
        let end = match (decided, told) {
            (Some(own), _) => self.terminate(own).await,
            (None, told) => {
                let told = told.unwrap_or(ExitReason::Shutdown);
                if self.is_trapping() { self.terminate(told).await } else { told }
            }
        };
        fate.reason = Some(term(&end));
        self.exit_reasons.exit_with(end);
        Ok(())
    }
}

/// `{error, {already_started, Pid}}`.
fn name_taken(world: &World, owner: Option<&ractor::ActorCell>) -> ExitReason {
    let pid = owner
        .and_then(|owner| world.find_cell(owner))
        .map_or_else(|| json!("?#0"), |process| process.run_id());
    failure(json!(["already_started", pid]))
}

/// The start function: OTP's `start_link` with the outcome that the plan has for this start.
pub(crate) async fn start(
    world: Arc<World>,
    spec: Arc<Value>,
    label: String,
    context: StartContext,
) -> Result<Started, StartFailure> {
    let n = world.next_n(&label);
    let starter = Some(world.starter(&context));
    let outcome = world.next_outcome(&label);
    let name = spec.get("name").and_then(Value::as_str).map(str::to_owned);
    let failed = |world: &World| world.emit(json!({"ev": "start_failed", "id": label, "n": n}));
    if outcome == json!("ignore") {
        world.emit(json!({"ev": "start_ignored", "id": label, "n": n}));
        taken(&world, name.as_ref())?;
        return Ok(Started::Ignore);
    }
    if let Some(term) = outcome.get("error").or_else(|| outcome.get("init_exit")) {
        failed(&world);
        taken(&world, name.as_ref())?;
        return Err(StartFailure::new(reason(term)));
    }
    if let Some(term) = outcome.get("raise") {
        failed(&world);
        // A panic without the hook's noise.
        std::panic::resume_unwind(Box::new(normalized(term).to_string()));
    }
    if let Some(term) = outcome.get("return") {
        failed(&world);
        if term == "ignore" {
            return Ok(Started::Ignore);
        }
        return Err(StartFailure::new(reason(term)));
    }
    let is_known = ["ok_info", "slow", "exit_after"].iter().any(|key| outcome.get(key).is_some());
    if outcome != "ok" && !is_known {
        let term = json!(["case_clause", normalized(&outcome)]);
        std::panic::resume_unwind(Box::new(term.to_string()));
    }
    let kid = Kid {
        world: world.clone(),
        label: label.clone(),
        n,
        name: name.clone(),
        on_stop: spec.get("on_stop").cloned().unwrap_or_else(|| json!("obey")),
        outcome: outcome.clone(),
        exit_reasons: context.exit_reasons(),
        context: context.clone(),
        gone: Arc::default(),
        decided: Mutex::default(),
    };
    let gone = kid.gone.clone();
    let spawned = Kid::spawn_linked(None, kid, (), context.supervisor()).await;
    let (kid, task) = spawned.map_err(|error| {
        if outcome == json!("ok") {
            failed(&world);
        }
        match error {
            ractor::SpawnErr::StartupFailed(error) => StartFailure::new(ExitReason::from_boxed(error)),
            other => StartFailure::from(other),
        }
    })?;
    let process = Proc {
        path: label.clone(),
        label: label.clone(),
        n,
        cell: kid.get_cell(),
        kid: Some(kid),
        supervisor: None,
        gone,
        run: context.run_id(),
        starter,
    };
    world.add(process.clone());
    let child = Child::new(process.cell.clone(), task).extension(process);
    Ok(match outcome.get("ok_info") {
        Some(info) => Started::RunningWith(child, Info::new(info.clone())),
        None => Started::Running(child),
    })
}

fn taken(world: &World, name: Option<&String>) -> Result<(), StartFailure> {
    let owner = name.and_then(|name| world.names.whereis(name).ok().flatten());
    owner.map_or(Ok(()), |owner| Err(StartFailure::new(name_taken(world, Some(&owner)))))
}
