//! Makes supervisors and child specs of what a schedule says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ractor::ActorId;
use serde_json::{Value, json};
use treewarden_otp::supervisor::{
    AutoShutdown, ChildSpec, ExitReason, Resource, RunId, StartContext, StartFailure, Started, Supervisor,
    SupervisorBuilder,
};

use crate::term::{failure, term};
use crate::world::{Gone, Proc, Role, Style, World};
use crate::{kid, validate};

/// Translates a child; `path` is its supervisor's label with a slash, or empty.
pub(crate) fn child_spec(
    world: &Arc<World>,
    spec: &Value,
    path: &str,
    auto: AutoShutdown,
    style: Style,
) -> Result<ChildSpec, Value> {
    let checked = validate::child(spec, auto, style)?;
    let label = format!("{path}{}", checked.id);
    if let Some(plan) = spec.get("plan") {
        world.set_plan(&label, plan, false);
    }
    Ok(with_start(world, spec, label, checked))
}

/// A child of a `simple_one_for_one` supervisor: the template, under a label of its own.
///
/// A restart is made after the template of that time, as a release upgrade may have changed it.
pub(crate) fn instance(
    world: &Arc<World>,
    template: &Value,
    path: &str,
    label: &str,
) -> Result<ChildSpec, Value> {
    let checked = validate::child(template, AutoShutdown::AnySignificant, Style::Simple)?;
    let (world, path, label) = (world.clone(), path.to_owned(), label.to_owned());
    let start = move |context: StartContext| {
        let template = world.role(&path).template.unwrap_or_default();
        kid::start(world.clone(), Arc::new(template), label.clone(), context)
    };
    Ok(finish(ChildSpec::new(checked.id.as_str(), start), &checked))
}

fn with_start(world: &Arc<World>, spec: &Value, label: String, checked: validate::Checked) -> ChildSpec {
    let (world, shared) = (world.clone(), Arc::new(spec.clone()));
    let start = move |context: StartContext| -> Pin<Box<dyn Future<Output = _> + Send>> {
        let (world, spec, label) = (world.clone(), shared.clone(), label.clone());
        if spec.get("sup").is_some() {
            Box::pin(nested(world, spec, label, context))
        } else {
            Box::pin(kid::start(world, spec, label, context))
        }
    };
    finish(ChildSpec::new(checked.id.as_str(), start), &checked)
}

/// The rest of a spec.
pub(crate) fn finish(spec: ChildSpec, checked: &validate::Checked) -> ChildSpec {
    let spec = spec.restart(checked.restart).significant(checked.significant).kind(checked.kind);
    match checked.shutdown {
        Some(shutdown) => spec.shutdown(shutdown),
        None => spec,
    }
}

/// `init/1` of a supervisor: its flags and children, or what it fails with. Its role is noted under its path.
pub(crate) fn builder(
    world: &Arc<World>,
    sup: &Value,
    children: &[Value],
    label: &str,
) -> Result<SupervisorBuilder, Value> {
    let path = if label.is_empty() { String::new() } else { format!("{label}/") };
    let path = path.as_str();
    let (flags, style) = validate::flags(sup).map_err(|bad| json!(["supervisor_data", bad]))?;
    let auto = flags.auto_shutdown;
    let builder = Supervisor::builder().flags(flags);
    let builder = match style {
        Style::Dynamic => {
            let max = validate::max_children(sup).map_err(|bad| json!(["supervisor_data", bad]))?;
            builder.dynamic(max)
        }
        Style::Simple => {
            let [template] = children else { return Err(json!(["bad_start_spec", children.len()])) };
            let spec = child_spec(world, template, path, auto, style);
            builder.template(spec.map_err(|bad| json!(["start_spec", bad]))?)
        }
        Style::Normal => {
            let specs = child_specs(world, children, path, auto).map_err(|bad| json!(["start_spec", bad]))?;
            builder.children(specs)
        }
    };
    let template = children.first().filter(|_| style == Style::Simple).cloned();
    world.set_role(label, Role { style, auto, template });
    Ok(builder)
}

/// `check_startspec`: each spec, and no id twice.
pub(crate) fn child_specs(
    world: &Arc<World>,
    children: &[Value],
    path: &str,
    auto: AutoShutdown,
) -> Result<Vec<ChildSpec>, Value> {
    let mut specs: Vec<ChildSpec> = Vec::new();
    for child in children {
        let spec = child_spec(world, child, path, auto, Style::Normal)?;
        if specs.iter().any(|known| known.id() == spec.id()) {
            return Err(json!(["duplicate_child_name", spec.id().as_str()]));
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn ignores(sup: &Value) -> bool {
    sup.get("init").is_some_and(|init| init == "ignore")
}

fn exit_event(world: &World, label: &str, n: u64, reason: &Value) {
    world.exited(label, n, &Gone::new(), reason);
}

/// Starts a supervisor that is a child.
async fn nested(
    world: Arc<World>,
    spec: Arc<Value>,
    label: String,
    context: StartContext,
) -> Result<Started, StartFailure> {
    if spec["sup"]["strategy"] == "dynamic" {
        return nested_dynamic(world, &spec["sup"], label, context).await;
    }
    let n = world.next_n(&label);
    world.emit(json!({"ev": "start", "id": label, "n": n, "kind": "sup"}));
    let children = spec.get("children").and_then(Value::as_array).cloned().unwrap_or_default();
    if ignores(&spec["sup"]) {
        world.add_stillborn(&label);
        exit_event(&world, &label, n, &json!("normal"));
        return Ok(Started::Ignore);
    }
    let started = match builder(&world, &spec["sup"], &children, &label) {
        Err(reason) => Err(StartFailure::new(failure(reason))),
        Ok(builder) => builder.start_child_of(&context).await,
    };
    match started {
        Err(failed) => {
            world.add_stillborn(&label);
            exit_event(&world, &label, n, &term(failed.reason()));
            Err(failed)
        }
        Ok((supervisor, child)) => {
            let (path, starter) = (label.clone(), Some(world.starter(&context)));
            let process = adopt(&world, label, n, path, (context.run_id(), starter), supervisor);
            let ended = Ended { world, process: process.clone() };
            Ok(Started::Running(child.extension(process).resource(Arc::new(ended))))
        }
    }
}

/// Starts a `DynamicSupervisor` that is a child. It has no `init/1` of the oracle's, which therefore knows it only once
/// it runs, and calls each of them `sup#1`, as it does a root.
async fn nested_dynamic(
    world: Arc<World>,
    sup: &Value,
    path: String,
    context: StartContext,
) -> Result<Started, StartFailure> {
    let builder = builder(&world, sup, &[], &path).map_err(|reason| StartFailure::new(failure(reason)))?;
    let (supervisor, child) = builder.start_child_of(&context).await?;
    let (label, starter) = (String::from("sup"), Some(world.starter(&context)));
    world.emit(json!({"ev": "start", "id": label, "n": 1, "kind": "sup"}));
    let process = adopt(&world, label, 1, path, (context.run_id(), starter), supervisor);
    let ended = Ended { world, process: process.clone() };
    Ok(Started::Running(child.extension(process).resource(Arc::new(ended))))
}

/// Says that a supervisor is gone, before its parent acts on that.
struct Ended {
    world: Arc<World>,
    process: Proc,
}

impl Resource for Ended {
    fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(report_end(&self.world, &self.process))
    }
}

async fn report_end(world: &World, process: &Proc) {
    if let Some(supervisor) = &process.supervisor {
        let reason: ExitReason = supervisor.wait().await;
        world.exited(&process.label, process.n, &process.gone, &term(&reason));
    }
}

fn adopt(
    world: &Arc<World>,
    label: String,
    n: u64,
    path: String,
    (run, starter): (RunId, Option<ActorId>),
    supervisor: Supervisor,
) -> Proc {
    let cell = supervisor.cell();
    let (supervisor, gone) = (Some(supervisor), Arc::default());
    let process = Proc { label, n, path, cell, kid: None, supervisor, gone, run, starter };
    world.add(process.clone());
    let (watched, by) = (process.clone(), world.clone());
    tokio::spawn(async move { report_end(&by, &watched).await });
    process
}

/// Starts the root; what `start_link` returned.
pub(crate) async fn root(world: &Arc<World>, sup: &Value, children: &[Value]) -> (Option<Proc>, Value) {
    let label = "sup";
    let is_dynamic = sup.get("strategy").is_some_and(|strategy| strategy == "dynamic");
    let start = || {
        let n = world.next_n(label);
        world.emit(json!({"ev": "start", "id": label, "n": n, "kind": "sup"}));
        n
    };
    let n = if is_dynamic { 1 } else { start() };
    if ignores(sup) && !is_dynamic {
        world.add_stillborn(label);
        exit_event(world, label, n, &json!("normal"));
        return (None, json!("ignore"));
    }
    let started = match builder(world, sup, children, "") {
        Err(reason) => Err(reason),
        Ok(builder) => {
            let observer = world.clone();
            let started = builder.on_report(move |event| observer.report(event)).start().await;
            started.map_err(|error| match error {
                treewarden_otp::supervisor::StartError::Init(
                    treewarden_otp::supervisor::InitError::Child(failed),
                ) => term(&ExitReason::shutdown_with(failed)),
                other => json!(other.to_string()),
            })
        }
    };
    match started {
        Ok(supervisor) => {
            if is_dynamic {
                start();
            }
            let process = adopt(
                world,
                label.to_owned(),
                n,
                String::new(),
                (RunId { slot: 0, incarnation: 0 }, None),
                supervisor,
            );
            let reply = json!(["ok", process.run_id()]);
            (Some(process), reply)
        }
        Err(reason) => {
            if !is_dynamic {
                world.add_stillborn(label);
                exit_event(world, label, n, &reason);
            }
            (None, json!(["error", reason]))
        }
    }
}
