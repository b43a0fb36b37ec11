//! Trees of any depth and kind, and every step of the oracle on any of their supervisors and children.

use serde_json::{Value, json};

use super::{Dice, plan};

/// A supervisor of the tree, as steps address it.
struct Known {
    label: String,
    strategy: String,
    /// Whether a child of it, however far below, has a name.
    has_names: bool,
    /// Ids of its children, and some that it has not.
    ids: Vec<String>,
}

#[derive(Default)]
struct Shape {
    supervisors: Vec<Known>,
    kids: Vec<String>,
    /// Whether there is a `DynamicSupervisor`: the oracle calls each of them `sup`, so that one tree has only one.
    has_dynamic: bool,
}

const STRATEGIES: [&str; 3] = ["one_for_one", "one_for_all", "rest_for_one"];

/// Makes a tree and steps for it. Many deaths happen at once in it, so the events of a step have no order.
pub(super) fn schedule(dice: &mut Dice, name: &str) -> Value {
    let mut shape = Shape::default();
    let (sup, children) = supervisor(dice, "", 3, &mut shape);
    let mut steps = Vec::new();
    for _ in 0..8 + dice.roll(16) {
        step(dice, &mut shape, &mut steps);
    }
    steps.push(json!({"op": "which_children"}));
    steps.push(json!({"op": "stop_sup"}));
    json!({"name": name, "sup": sup, "children": children, "steps": steps, "unordered": true, "drop": ["log"]})
}

fn supervisor(dice: &mut Dice, label: &str, depth: usize, shape: &mut Shape) -> (Value, Vec<Value>) {
    let is_root = label.is_empty();
    let simple = !is_root && dice.chance(20);
    let strategy = if simple { "simple_one_for_one" } else { *dice.pick(&STRATEGIES) };
    let auto = *dice.pick(&["never", "never", "any_significant", "all_significant"]);
    let mut sup = json!({"strategy": strategy, "intensity": dice.roll(6), "period": 3600});
    if auto != "never" && !simple {
        sup["auto_shutdown"] = json!(auto);
    }
    let mut known = Known {
        label: label.to_owned(),
        strategy: strategy.to_owned(),
        has_names: false,
        ids: vec!["q".into()],
    };
    let at = shape.supervisors.len();
    shape.supervisors.push(Known {
        label: String::new(),
        strategy: String::new(),
        has_names: false,
        ids: Vec::new(),
    });
    let mut children = Vec::new();
    if simple {
        let mut template = worker(dice, "t", false);
        template["template"] = json!(true);
        children.push(template);
    } else {
        for id in &["a", "b", "c", "d"][..1 + dice.roll(if is_root { 4 } else { 3 })] {
            if !shape.has_dynamic && dice.chance(10) {
                shape.has_dynamic = true;
                let sup = json!({"strategy": "dynamic", "intensity": dice.roll(6), "period": 3600, "max_children": 1 + dice.roll(4)});
                let mut child = json!({"id": id, "type": "supervisor", "sup": sup});
                decorate(dice, &mut child, auto != "never");
                children.push(child);
                continue;
            }
            let path = if is_root { (*id).to_owned() } else { format!("{label}/{id}") };
            known.ids.push((*id).to_owned());
            if depth > 0 && dice.chance(35) {
                let (sup, below) = supervisor(dice, &path, depth - 1, shape);
                let mut child = json!({"id": id, "type": "supervisor", "sup": sup, "children": below});
                decorate(dice, &mut child, auto != "never");
                children.push(child);
            } else {
                children.push(worker(dice, id, auto != "never"));
                shape.kids.push(path);
            }
        }
    }
    known.has_names = json!(children).to_string().contains("\"name\":");
    shape.supervisors[at] = known;
    (sup, children)
}

fn decorate(dice: &mut Dice, child: &mut Value, auto: bool) {
    let restart = *dice.pick(&["permanent", "permanent", "transient", "temporary"]);
    child["restart"] = json!(restart);
    if auto && restart != "permanent" && dice.chance(60) {
        child["significant"] = json!(true);
    }
}

fn worker(dice: &mut Dice, id: &str, auto: bool) -> Value {
    let mut child = json!({"id": id});
    decorate(dice, &mut child, auto);
    match dice.roll(7) {
        0 => child["on_stop"] = json!("trap"),
        1 => child["on_stop"] = json!({"exit": dice.reason()}),
        2 => child["on_stop"] = json!({"delay": 5}),
        3 => child["shutdown"] = json!(*dice.pick(&["infinity", "brutal_kill"])),
        _ => {}
    }
    if dice.chance(30) {
        child["plan"] = plan(dice);
    }
    if dice.chance(5) {
        child["name"] = json!(*dice.pick(&["N", "M", "O"]));
    }
    child
}

/// A step for the `DynamicSupervisor`. Its children are started under new labels, so that each is one process.
fn dynamic_step(dice: &mut Dice, kids: &mut Vec<String>) -> Value {
    let id = format!("k{}", dice.roll(6));
    let label = format!("sup/{id}");
    let is_known = kids.contains(&label);
    let mut step = match dice.roll(8) {
        0..=3 if !is_known => {
            kids.push(label);
            let mut spec = worker(dice, &id, false);
            spec.as_object_mut().map(|spec| spec.remove("name"));
            json!({"op": "start_child", "spec": spec})
        }
        4 | 5 => json!({"op": "terminate_child", "id": label}),
        6 => json!({"op": "count_children"}),
        7 if dice.chance(20) => return json!({"op": "kill", "id": "sup"}),
        _ => json!({"op": "which_children"}),
    };
    step["sup"] = json!("sup");
    step
}

fn step(dice: &mut Dice, shape: &mut Shape, steps: &mut Vec<Value>) {
    if shape.has_dynamic && dice.chance(25) {
        steps.push(dynamic_step(dice, &mut shape.kids));
        return;
    }
    let at = dice.roll(shape.supervisors.len());
    let (label, strategy) = (shape.supervisors[at].label.clone(), shape.supervisors[at].strategy.clone());
    let simple = strategy == "simple_one_for_one";
    let id = dice.pick(&shape.supervisors[at].ids).clone();
    let kid = if shape.kids.is_empty() { "a".to_owned() } else { dice.pick(&shape.kids).clone() };
    // The children of a killed supervisor die while it is started again: in Erlang, their names are free or not.
    let kill = dice.chance(50) && !shape.supervisors[at].has_names;
    let mut step = match dice.roll(24) {
        0..=4 => {
            json!({"op": "exit", "id": kid, "reason": dice.reason(), "mode": *dice.pick(&["stop", "stop", "error", "exit", "unlink"])})
        }
        5 => json!({"op": "kill", "id": kid}),
        6 => json!({"op": "signal", "id": kid, "reason": dice.reason()}),
        7 => json!({"op": "call", "id": kid, "msg": "m"}),
        8..=10 => {
            let op = *dice.pick(&["terminate_child", "restart_child", "delete_child", "get_childspec"]);
            // A child of a simple_one_for_one supervisor is addressed by its pid, and so is any that has one.
            let id = if simple { kid } else { id };
            json!({"op": op, "id": id})
        }
        11 | 12 => json!({"op": "terminate_child", "id": if simple { kid } else { id }}),
        13 => json!({"op": "restart_child", "id": if simple { kid } else { id }}),
        14 | 15 if simple => {
            let new = format!("{label}_{}", dice.roll(5));
            // A label names one process at a time.
            if shape.kids.contains(&new) {
                json!({"op": "count_children"})
            } else {
                shape.kids.push(new.clone());
                json!({"op": "start_child", "id": new})
            }
        }
        14 | 15 => {
            let path = if label.is_empty() { id.clone() } else { format!("{label}/{id}") };
            if !shape.kids.contains(&path) {
                shape.kids.push(path);
            }
            let mut spec = worker(dice, &id, false);
            // A name below a supervisor that may be killed would be taken when it is started again.
            spec.as_object_mut().map(|spec| spec.remove("name"));
            json!({"op": "start_child", "spec": spec})
        }
        16 => json!({"op": "count_children"}),
        17 if kill && !label.is_empty() => {
            steps.push(json!({"op": "kill", "id": label}));
            return;
        }
        17 if kill && dice.chance(20) => json!({"op": "kill_sup"}),
        18 if dice.chance(30) => json!({"op": "sup_stop_call", "reason": dice.reason()}),
        19 => json!({"op": "stranger_exit", "reason": dice.reason()}),
        20 => json!({"op": "set_plan", "id": kid, "plan": plan(dice)}),
        21 if dice.chance(30) && label.is_empty() => json!({"op": "stop_sup", "reason": dice.reason()}),
        22 => json!({"op": "exit", "id": format!("{kid}#{}", 1 + dice.roll(3)), "reason": dice.reason()}),
        _ => json!({"op": "which_children"}),
    };
    let named = ["exit", "kill", "signal", "call", "set_plan"].iter().any(|op| step["op"] == *op);
    if !named && !label.is_empty() {
        step["sup"] = json!(label);
    }
    steps.push(step);
    if dice.chance(30) {
        steps.push(if label.is_empty() {
            json!({"op": "which_children"})
        } else {
            json!({"op": "which_children", "sup": label})
        });
    }
}
