//! Runs a schedule and collects its trace.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ops::Stage;
use crate::schedule::Schedule;
use crate::tree;
use crate::world::World;

/// How long nothing may happen before a step counts as settled; twice.
const QUIET: Duration = Duration::from_millis(15);

/// Runs a schedule: `{"name": …, "trace": […]}`.
pub async fn run(schedule: &Schedule) -> Value {
    let world = World::new();
    world.emit(json!({"ev": "step", "i": 0, "op": "start_sup"}));
    let sup = if schedule.sup.is_null() { json!({}) } else { schedule.sup.clone() };
    let (root, reply) = tree::root(&world, &sup, &schedule.children).await;
    let mut stage = Stage { world, root, suspended: false, crashed: false };
    settle(&stage).await;
    stage.world.emit(json!({"ev": "reply", "value": reply}));
    for (index, step) in schedule.steps.iter().enumerate() {
        let op = step["op"].as_str().unwrap_or_default();
        let argument = step.get("id").or_else(|| step.get("reason")).cloned().unwrap_or(Value::Null);
        stage.world.emit(json!({"ev": "step", "i": index + 1, "op": op, "arg": argument}));
        let reply = stage.step(op, step).await;
        if step["nosettle"] != true {
            settle(&stage).await;
        }
        if let Some(reply) = reply {
            stage.world.emit(json!({"ev": "reply", "value": reply}));
        }
    }
    stage.world.emit(json!({"ev": "step", "i": "end", "op": "final"}));
    let alive = root_supervisor(&stage).is_some_and(treewarden_otp::supervisor::Supervisor::is_alive);
    stage.world.emit(json!({"ev": "reply", "value": if alive { "sup_alive" } else { "sup_dead" }}));
    let trace = stage.world.take_events();
    if let Some(supervisor) = root_supervisor(&stage) {
        supervisor.cell().kill();
    }
    json!({"name": schedule.name, "trace": trace})
}

fn root_supervisor(stage: &Stage) -> Option<&treewarden_otp::supervisor::Supervisor> {
    stage.root.as_ref()?.supervisor.as_ref()
}

/// Waits until the supervisor answers, or is gone, and nothing has happened for two quiet windows.
async fn settle(stage: &Stage) {
    let (mut seen, mut quiet) = (stage.world.event_count(), 0);
    for _ in 0..400 {
        tokio::time::sleep(QUIET).await;
        if let Some(supervisor) = root_supervisor(stage).filter(|_| !stage.suspended) {
            // Busy is as good as an answer: something will happen.
            let _ = tokio::time::timeout(Duration::from_secs(3), supervisor.count_children()).await;
        }
        let count = stage.world.event_count();
        quiet = if count == seen { quiet + 1 } else { 0 };
        seen = count;
        if quiet == 2 {
            return;
        }
    }
}
