//! The steps that call a supervisor, with replies as Erlang's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use treewarden_otp::supervisor::{
    AutoShutdown, ChildInfo, ChildSpec, ChildStarted, ChildState, DeleteChildError, FindChildError, Kind,
    RestartChildError, RunId, RunningChild, Shutdown, StartChildError, StartFailure, Supervisor, UpdateError,
};

use crate::term::{exit, noproc, term, verbatim, without_exit};
use crate::world::{Proc, Role, Style, World, pid_of};
use crate::{tree, validate};

/// A supervisor as a step addresses it.
pub(crate) struct Target<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) process: Proc,
    pub(crate) supervisor: Supervisor,
    pub(crate) role: Role,
}

impl Target<'_> {
    /// The id of a child, without its path.
    fn short<'s>(&self, step: &'s Value) -> &'s str {
        let id = step["id"].as_str().unwrap_or_default();
        id.rsplit('/').next().unwrap_or(id)
    }

    fn path(&self) -> String {
        if self.process.is_root() { String::new() } else { format!("{}/", self.process.label) }
    }

    fn running(&self, step: &Value) -> Result<Proc, Value> {
        self.world.find(step["id"].as_str().unwrap_or_default())
    }

    /// The children of a `simple_one_for_one` supervisor are addressed by their pids, which must be of somebody.
    fn known(&self, step: &Value) -> Result<(), Value> {
        if self.role.style == Style::Simple {
            match self.running(step) {
                Err(stillborn) if stillborn == noproc() => {}
                found => drop(found?),
            }
        }
        Ok(())
    }

    /// What Elixir's call to a dead supervisor exits with.
    fn elixir_noproc(&self, request: Value) -> Value {
        exit(json!(["noproc", ["Elixir.GenServer", "call", [self.process.run_id(), request, "infinity"]]]))
    }

    pub(crate) async fn start_child(&self, step: &Value) -> Value {
        let (spec, shown) = match self.role.style {
            Style::Simple => {
                let Some(template) = &self.role.template else { return noproc() };
                {
                    let label = step["id"].as_str().unwrap_or_default();
                    (tree::instance(self.world, template, &self.process.path, label), Value::Null)
                }
            }
            style => (
                tree::child_spec(self.world, &step["spec"], &self.path(), self.role.auto, style),
                step["spec"].clone(),
            ),
        };
        match spec {
            Ok(spec) => self.add(spec, &shown).await,
            Err(_) if self.role.style != Style::Dynamic && !self.supervisor.is_alive() => noproc(),
            // Elixir checks before it calls; the error is its whole reply.
            Err(reply) if self.role.style == Style::Dynamic => reply,
            Err(bad) => json!(["error", bad]),
        }
    }

    async fn add(&self, spec: ChildSpec, shown: &Value) -> Value {
        let id = spec.id().clone();
        let request = json!([
            "start_child",
            [
                ["otp_oracle", "start_child_proc", [verbatim(shown), format!("{}{id}", self.path())]],
                validate::restart_name(spec.restart_type()),
                validate::shutdown_term(spec.shutdown_type()),
                validate::kind_name(spec.child_kind()),
                ["otp_oracle"]
            ]
        ]);
        match self.supervisor.start_child(spec).await {
            Ok(ChildStarted::Ignored) if self.role.style == Style::Dynamic => json!("ignore"),
            Ok(started) => started_term(started),
            Err(StartChildError::AlreadyStarted { child, .. }) => {
                json!(["error", ["already_started", pid_of(&child)]])
            }
            Err(StartChildError::AlreadyPresent(_)) => json!(["error", "already_present"]),
            Err(StartChildError::MaxChildren { .. }) => json!(["error", "max_children"]),
            Err(StartChildError::Failed { reason, .. }) => match self.role.style {
                Style::Normal => json!(["error", [term(&reason), ["child", id.as_str()]]]),
                Style::Simple => json!(["error", term(&reason)]),
                Style::Dynamic => json!(["error", without_exit(term(&reason))]),
            },
            Err(StartChildError::NoProc) if self.role.style == Style::Dynamic => self.elixir_noproc(request),
            Err(StartChildError::NoProc) => noproc(),
            Err(other) => json!(["error", other.to_string()]),
        }
    }

    /// An invalid spec, straight through.
    pub(crate) async fn raw_start_child(&self, step: &Value) -> Value {
        if !self.supervisor.is_alive() {
            return noproc();
        }
        match validate::raw(&step["spec"], self.role.auto) {
            Err(bad) => json!(["error", bad]),
            Ok(checked) => {
                let undef = |_| async {
                    Err(StartFailure::new(treewarden_otp::supervisor::ExitReason::Panic("undef".into())))
                };
                self.add(tree::finish(ChildSpec::new(checked.id.as_str(), undef), &checked), &Value::Null)
                    .await
            }
        }
    }

    pub(crate) async fn terminate_child(&self, step: &Value) -> Result<Value, Value> {
        if let Some(refused) = self.refused_pid(step)? {
            return Ok(find_term(refused));
        }
        let result = match self.role.style {
            Style::Normal => self.supervisor.terminate_child(self.short(step)).await,
            Style::Simple | Style::Dynamic => {
                let process = self.running(step)?;
                let result = match self.run(&process) {
                    Ok(pid) => self.supervisor.terminate_run(pid).await,
                    Err(error) => Err(error),
                };
                if self.role.style == Style::Dynamic && result == Err(FindChildError::NoProc) {
                    return Ok(self.elixir_noproc(json!(["terminate_child", process.run_id()])));
                }
                match result {
                    // OTP says ok for a pid that is dead, whoever's it was.
                    Err(FindChildError::NotFound)
                        if self.role.style == Style::Simple && process.is_gone() =>
                    {
                        Ok(())
                    }
                    other => other,
                }
            }
        };
        Ok(find_term(result.map(|()| json!("ok"))))
    }

    /// The run of this supervisor that a process is, or was when it ended.
    fn run(&self, process: &Proc) -> Result<RunId, FindChildError> {
        if !self.supervisor.is_alive() {
            return Err(FindChildError::NoProc);
        }
        let is_ours = self.world.is_child_of(process, &self.process.path);
        if is_ours { Ok(process.run) } else { Err(FindChildError::NotFound) }
    }

    pub(crate) async fn restart_child(&self, step: &Value) -> Result<Value, Value> {
        self.known(step)?;
        if let Some(refused) = self.refused_pid(step)? {
            return Ok(find_term(refused));
        }
        Ok(self.restart_by_id(step).await)
    }

    async fn restart_by_id(&self, step: &Value) -> Value {
        match self.supervisor.restart_child(self.short(step)).await {
            Ok(started) => started_term(started),
            Err(RestartChildError::NotFound) => json!(["error", "not_found"]),
            Err(RestartChildError::Running) => json!(["error", "running"]),
            Err(RestartChildError::Restarting) => json!(["error", "restarting"]),
            Err(RestartChildError::Failed(reason)) => json!(["error", term(&reason)]),
            Err(RestartChildError::Dynamic) => json!(["error", "simple_one_for_one"]),
            Err(_) => noproc(),
        }
    }

    pub(crate) async fn delete_child(&self, step: &Value) -> Result<Value, Value> {
        self.known(step)?;
        if let Some(refused) = self.refused_pid(step)? {
            return Ok(find_term(refused));
        }
        Ok(self.delete_by_id(step).await)
    }

    /// What a supervisor whose children have ids answers when it is given a pid instead.
    fn refused_pid(&self, step: &Value) -> Result<Option<Result<Value, FindChildError>>, Value> {
        if step["by"] != "pid" || self.role.style != Style::Normal {
            return Ok(None);
        }
        self.running(step)?;
        let alive = self.supervisor.is_alive();
        Ok(Some(Err(if alive { FindChildError::NotFound } else { FindChildError::NoProc })))
    }

    async fn delete_by_id(&self, step: &Value) -> Value {
        match self.supervisor.delete_child(self.short(step)).await {
            Ok(()) => json!("ok"),
            Err(DeleteChildError::NotFound) => json!(["error", "not_found"]),
            Err(DeleteChildError::Running) => json!(["error", "running"]),
            Err(DeleteChildError::Restarting) => json!(["error", "restarting"]),
            Err(DeleteChildError::Dynamic) => json!(["error", "simple_one_for_one"]),
            Err(_) => noproc(),
        }
    }

    pub(crate) async fn get_childspec(&self, step: &Value) -> Result<Value, Value> {
        self.known(step)?;
        if let Some(refused) = self.refused_pid(step)? {
            return Ok(find_term(refused));
        }
        let spec = match (self.role.style, &self.role.template) {
            (Style::Normal, _) => self.supervisor.get_childspec(self.short(step)).await,
            // OTP shows the template for a pid that is dead, whoever's it was.
            (Style::Simple, Some(template))
                if self.running(step)?.is_gone() && self.supervisor.is_alive() =>
            {
                let checked = validate::child(template, AutoShutdown::AnySignificant, Style::Simple);
                return checked.map(|checked| shown(&checked));
            }
            _ => match self.run(&self.running(step)?) {
                Ok(pid) => self.supervisor.get_run_spec(pid).await,
                Err(error) => Err(error),
            },
        };
        Ok(find_term(spec.map(|spec| {
            shown(&validate::Checked {
                id: spec.id.as_str().to_owned(),
                restart: spec.restart,
                significant: spec.significant,
                shutdown: Some(spec.effective_shutdown()),
                kind: spec.kind,
            })
        })))
    }

    pub(crate) async fn which_children(&self) -> Value {
        let Ok(children) = self.supervisor.which_children().await else { return noproc() };
        let mut lines: Vec<Value> = children.iter().map(|child| self.line(child)).collect();
        if self.role.style != Style::Normal {
            lines.sort_by_key(ToString::to_string);
        }
        Value::Array(lines)
    }

    fn line(&self, child: &ChildInfo) -> Value {
        let id = if self.role.style == Style::Normal { child.id.as_str() } else { "undefined" };
        let pid = match &child.state {
            ChildState::Running(_, child) => pid_of(child),
            ChildState::Restarting => json!("restarting"),
            _ => json!("undefined"),
        };
        json!([id, pid, validate::kind_name(child.kind)])
    }

    pub(crate) async fn count_children(&self) -> Value {
        let Ok(counts) = self.supervisor.count_children().await else { return noproc() };
        json!({
            "specs": counts.specs,
            "active": counts.active,
            "supervisors": counts.supervisors,
            "workers": counts.workers,
        })
    }

    /// A release upgrade: `init/1` is called again.
    pub(crate) async fn code_change(&self, step: &Value) -> Value {
        if !self.supervisor.is_alive() {
            return exit(json!(["noproc", "sys:suspend"]));
        }
        let sup = step.get("sup").cloned().unwrap_or_else(|| json!({}));
        if sup["init"] == "ignore" {
            return json!("ok");
        }
        let refused = |bad: Value| json!(["error", ["error", bad]]);
        let flags = match validate::flags(&sup) {
            Ok((flags, _)) => flags,
            Err(bad) => return refused(bad),
        };
        let children = step.get("children").and_then(Value::as_array).cloned().unwrap_or_default();
        let specs = match tree::child_specs(self.world, &children, &self.path(), flags.auto_shutdown) {
            Ok(specs) => specs,
            Err(bad) => return refused(bad),
        };
        // The upgrade also ends a suspension.
        self.supervisor.resume();
        let role = Role {
            auto: flags.auto_shutdown,
            template: children.first().cloned().filter(|_| self.role.style == Style::Simple),
            ..self.role.clone()
        };
        match self.supervisor.code_change(flags, specs).await {
            Ok(()) => {
                self.world.set_role(&self.process.path, role);
                json!("ok")
            }
            // OTP returns the list that it checked.
            Err(UpdateError::Dynamic) => {
                let ids: Vec<&str> = children.iter().filter_map(|child| child["id"].as_str()).collect();
                let by_id = |id: &&str| ((*id).to_owned(), json!(["child", id]));
                let records: serde_json::Map<String, Value> = ids.iter().map(by_id).collect();
                refused(json!(["ok", [ids, records]]))
            }
            Err(other) => refused(json!(other.to_string())),
        }
    }
}

/// `{ok, ChildSpec}`, with the default of `shutdown` filled in.
fn shown(checked: &validate::Checked) -> Value {
    let shutdown = checked.shutdown.unwrap_or(match checked.kind {
        Kind::Worker => Shutdown::Timeout(Duration::from_secs(5)),
        Kind::Supervisor => Shutdown::Infinity,
    });
    json!(["ok", {
        "id": checked.id,
        "restart": validate::restart_name(checked.restart),
        "significant": checked.significant.to_string(),
        "shutdown": validate::shutdown_term(shutdown),
        "type": validate::kind_name(checked.kind),
    }])
}

fn find_term(result: Result<Value, FindChildError>) -> Value {
    match result {
        Ok(value) => value,
        Err(FindChildError::NotFound) => json!(["error", "not_found"]),
        Err(_) => noproc(),
    }
}

fn started_term(started: ChildStarted) -> Value {
    match started {
        ChildStarted::Running(child, info) => {
            let pid = running_pid(&child);
            match info.and_then(|info| info.downcast::<Value>().ok()) {
                Some(info) => json!(["ok", pid, info]),
                None => json!(["ok", pid]),
            }
        }
        _ => json!(["ok", "undefined"]),
    }
}

fn running_pid(child: &RunningChild) -> Value {
    pid_of(child)
}
