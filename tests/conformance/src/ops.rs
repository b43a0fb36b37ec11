//! The steps of a schedule.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use treewarden_otp::supervisor::{CallError, ExitReason, call};

use crate::kid::KidMsg;
use crate::registry_ops;
use crate::supervisor_ops::Target;
use crate::term::{exit, noproc, reason, term};
use crate::world::{Proc, World};

/// The run of a schedule, as the steps see it.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) root: Option<Proc>,
    pub(crate) suspended: bool,
    /// Whether the oracle's root process would have crashed by now.
    pub(crate) crashed: bool,
}

/// A step's reply; `None` where the oracle has none.
type Outcome = Result<Option<Value>, Value>;

impl Stage {
    /// Runs one step. What the oracle's step would exit with is its reply.
    pub(crate) async fn step(&mut self, op: &str, step: &Value) -> Option<Value> {
        let outcome = match op {
            "exit" | "kill" | "signal" | "call" | "set_plan" | "sleep" => self.on_child(op, step).await,
            "whereis" => Ok(Some(self.whereis(step))),
            "reg_start" => Ok(Some(registry_ops::start(&self.world, step))),
            op if op.starts_with("reg_") => registry_ops::step(&self.world, op, step).map(Some),
            _ => self.on_supervisor(op, step).await,
        };
        outcome.unwrap_or_else(Some)
    }

    fn find(&self, step: &Value) -> Result<Proc, Value> {
        self.world.find(step["id"].as_str().unwrap_or_default())
    }

    async fn on_child(&self, op: &str, step: &Value) -> Outcome {
        // A supervisor that never came up has a pid that one may signal.
        if op != "sleep" && !step["id"].is_string() {
            return Err(exit(json!(["badkey", "id"])));
        }
        let signals = matches!(op, "exit" | "kill" | "signal");
        if signals && self.find(step).is_err_and(|error| error == noproc()) {
            return Ok(None);
        }
        match op {
            "sleep" if step["ms"].as_i64().is_some_and(i64::is_negative) => Err(exit(json!("timeout_value"))),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(step["ms"].as_u64().unwrap_or(0))).await;
                Ok(None)
            }
            "set_plan" => {
                self.world.set_plan(step["id"].as_str().unwrap_or_default(), &step["plan"], true);
                Ok(None)
            }
            "exit" => {
                let process = self.find(step)?;
                let mode = step["mode"].as_str().unwrap_or("stop").to_owned();
                if process.supervisor.is_some() && !process.is_gone() {
                    crash(&process).await;
                }
                send(&process, KidMsg::Die { mode, reason: step["reason"].clone() });
                Ok(wait_gone(&process).await)
            }
            "kill" => {
                let process = self.find(step)?;
                process.cell.kill();
                Ok(wait_gone(&process).await)
            }
            "signal" => {
                let process = self.find(step)?;
                if step["reason"] == "kill" {
                    process.cell.kill();
                } else {
                    send(&process, KidMsg::Signal(step["reason"].clone()));
                }
                Ok(None)
            }
            _ => self.call(step).await.map(Some),
        }
    }

    /// `gen_server:call`: the reply, or what the caller exits with.
    async fn call(&self, step: &Value) -> Result<Value, Value> {
        let process = self.find(step)?;
        if process.is_gone() {
            return Ok(noproc());
        }
        let exited = |reason: Value| exit(json!([reason, "gen_server:call"]));
        let Some(kid) = &process.kid else {
            return Ok(exited(crash(&process).await));
        };
        let limit = Duration::from_millis(step["timeout"].as_u64().unwrap_or(1000));
        Ok(match call(kid, limit, |reply| KidMsg::Echo(step["msg"].clone(), reply)).await {
            Ok(reply) => reply,
            Err(CallError::NoProc) => noproc(),
            Err(CallError::Exited(_)) => {
                wait_gone(&process).await;
                exited(process.gone.get().cloned().unwrap_or_default())
            }
            Err(_) => exited(json!("timeout")),
        })
    }

    fn whereis(&self, step: &Value) -> Value {
        let name = step["name"].as_str().unwrap_or_default();
        let owner = self.world.names.whereis(name).ok().flatten();
        let owner = owner.and_then(|cell| self.world.find_cell(&cell));
        owner.map_or_else(|| json!("undefined"), |process| process.run_id())
    }

    /// The supervisor that a step is for.
    fn target(&self, step: &Value) -> Result<Target<'_>, Value> {
        let process = match step["sup"].as_str() {
            Some(label) => self.world.find(label)?,
            None => self.root.clone().ok_or_else(noproc)?,
        };
        let supervisor = process.supervisor.clone().ok_or_else(noproc)?;
        let role = self.world.role(&process.path);
        Ok(Target { world: &self.world, process, supervisor, role })
    }

    async fn on_supervisor(&mut self, op: &str, step: &Value) -> Outcome {
        if matches!(op, "suspend_sup" | "resume_sup") {
            return self.suspend(op);
        }
        if step["sup"].as_str().is_none() && self.root.is_none() {
            if op == "stop_sup" && !std::mem::replace(&mut self.crashed, true) {
                // The oracle's own root process crashes, once.
                let text = "Error in process ~p with exit value:~n~p";
                self.world.emit(json!({"ev": "log", "level": "error", "text": text}));
            }
            if step["by"] == "pid" {
                self.find(step)?;
            }
            if op == "start_child" && step.get("spec").is_none() {
                return Ok(Some(exit(json!(["badkey", "spec"]))));
            }
            return Ok(without_root(op));
        }
        let addressed = step["sup"].as_str().and_then(|label| self.world.find(label).ok());
        if let Some(worker) = addressed.filter(|process| process.kid.is_some()) {
            return on_worker(&worker, op, step).await;
        }
        let target = match self.target(step) {
            // A supervisor below the root that never came up has a pid that one may send to.
            Err(error) if error == noproc() => {
                return Ok(match op {
                    "kill_sup" | "stranger_exit" | "stray_message" => None,
                    _ => without_root(op),
                });
            }
            target => target?,
        };
        let is_root = target.process.is_root();
        Ok(Some(match op {
            "start_child" => target.start_child(step).await,
            "raw_start_child" => target.raw_start_child(step).await,
            "terminate_child" => target.terminate_child(step).await?,
            "restart_child" => target.restart_child(step).await?,
            "delete_child" => target.delete_child(step).await?,
            "get_childspec" => target.get_childspec(step).await?,
            "which_children" => target.which_children().await,
            "count_children" => target.count_children().await,
            "code_change" => {
                let reply = target.code_change(step).await;
                if is_root {
                    self.suspended = false;
                }
                reply
            }
            "stop_sup" => stop(&target, step).await,
            "sup_stop_call" => stop_call(&target, step).await,
            "kill_sup" => {
                if !target.supervisor.is_alive() {
                    return Ok(Some(json!(["sup_down", "noproc"])));
                }
                target.supervisor.cell().kill();
                json!(["sup_down", term(&target.supervisor.wait().await)])
            }
            "stranger_exit" => {
                if step["reason"] == "kill" {
                    target.supervisor.cell().kill();
                }
                return Ok(None);
            }
            "stray_message" => {
                // A dead supervisor takes no messages.
                let _ = target.supervisor.cell().send_message(());
                return Ok(None);
            }
            other => json!(["unknown_op", other]),
        }))
    }

    fn suspend(&mut self, op: &str) -> Outcome {
        if self.root.is_none() {
            return Ok(without_root(op));
        }
        let target = self.target(&Value::Null)?;
        let (supervisor, suspends) = (target.supervisor.clone(), op == "suspend_sup");
        if !supervisor.is_alive() {
            return Ok(Some(exit(json!(["noproc", if suspends { "sys:suspend" } else { "sys:resume" }]))));
        }
        if suspends {
            supervisor.suspend();
        } else {
            supervisor.resume();
        }
        self.suspended = suspends;
        Ok(None)
    }
}

/// A supervisor's step on a worker: it takes signals, and knows no call of a supervisor's.
async fn on_worker(worker: &Proc, op: &str, step: &Value) -> Outcome {
    let why = step.get("reason").cloned();
    let gone = worker.is_gone();
    Ok(match op {
        "stray_message" => None,
        "stranger_exit" => {
            send(worker, KidMsg::Signal(why.unwrap_or_default()));
            None
        }
        "kill_sup" if gone => Some(json!(["sup_down", "noproc"])),
        "kill_sup" => {
            worker.cell.kill();
            wait_gone(worker).await;
            Some(json!(["sup_down", worker.gone.get()]))
        }
        "sup_stop_call" if gone => Some(exit(json!("noproc"))),
        "sup_stop_call" => {
            let reason = why.unwrap_or_else(|| json!("normal"));
            send(worker, KidMsg::Die { mode: "stop".to_owned(), reason });
            Some(wait_gone(worker).await.unwrap_or_else(|| json!("ok")))
        }
        _ if gone => Some(noproc()),
        _ => {
            let reason = json!("function_clause");
            send(worker, KidMsg::Die { mode: "error".to_owned(), reason: reason.clone() });
            wait_gone(worker).await;
            Some(exit(json!([reason, "gen_server:call"])))
        }
    })
}

/// What a step does when the root never came up.
fn without_root(op: &str) -> Option<Value> {
    match op {
        "suspend_sup" | "code_change" => Some(exit(json!(["noproc", "sys:suspend"]))),
        "resume_sup" => Some(exit(json!(["noproc", "sys:resume"]))),
        "stop_sup" => Some(json!(["sup_down", "noproc"])),
        "sup_stop_call" => Some(exit(json!("noproc"))),
        "kill_sup" | "stranger_exit" | "stray_message" => Some(exit(json!("badarg"))),
        _ => Some(noproc()),
    }
}

/// What a message that it does not know does to a supervisor of Erlang: it ends with that error, children first.
async fn crash(process: &Proc) -> Value {
    let reason = reason(&json!("function_clause"));
    match &process.supervisor {
        Some(supervisor) => term(&supervisor.stop(reason).await),
        None => term(&reason),
    }
}

fn send(process: &Proc, message: KidMsg) -> bool {
    process.kid.as_ref().is_some_and(|kid| kid.cast(message).is_ok())
}

/// Waits for a process to be gone: no reply, or `timeout`.
async fn wait_gone(process: &Proc) -> Option<Value> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !process.is_gone() {
        if Instant::now() > deadline {
            return Some(json!("timeout"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    None
}

/// An exit signal from the parent.
async fn stop(target: &Target<'_>, step: &Value) -> Value {
    let why = step.get("reason").cloned().unwrap_or_else(|| json!("shutdown"));
    if !target.supervisor.is_alive() {
        return json!(["sup_down", "noproc"]);
    }
    if why == "kill" {
        target.supervisor.cell().kill();
    } else if !target.process.is_root() {
        // The driver's root is not this supervisor's parent: a stranger's signal is ignored.
        return json!("timeout");
    }
    let reason: ExitReason = reason(&why);
    let ended = async {
        if why == "kill" { target.supervisor.wait().await } else { target.supervisor.stop(reason).await }
    };
    match timeout(Duration::from_secs(10), ended).await {
        Ok(reason) => json!(["sup_down", term(&reason)]),
        Err(_) => json!("timeout"),
    }
}

/// `gen_server:stop/3`.
async fn stop_call(target: &Target<'_>, step: &Value) -> Value {
    if !target.supervisor.is_alive() {
        return exit(json!("noproc"));
    }
    let why = step.get("reason").map_or(ExitReason::Normal, reason);
    match timeout(Duration::from_secs(10), target.supervisor.stop(why)).await {
        Ok(_) => json!("ok"),
        Err(_) => exit(json!("timeout")),
    }
}
