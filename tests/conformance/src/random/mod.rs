//! Makes schedules at random: small trees, odd children, and steps in any order.
//!
//! A seed makes the same schedule for ever. What it writes stays within what both sides can do: no step that crashes
//! Elixir's `DynamicSupervisor` by calling what it does not know, and no two things that race in Erlang.

mod deep;
mod raw;

use serde_json::{Value, json};

/// A source of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }

    fn reason(&mut self) -> Value {
        [
            json!("normal"),
            json!("shutdown"),
            json!({"shutdown": "x"}),
            json!("boom"),
            json!("boom"),
            json!("killed"),
        ][self.roll(6)]
        .clone()
    }
}

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn plan(dice: &mut Dice) -> Value {
    let mut outcomes = vec![json!("ok")];
    for _ in 0..dice.roll(4) {
        outcomes.push(match dice.roll(12) {
            0 => json!({"error": "no"}),
            1 => json!({"raise": "bad"}),
            2 => json!({"return": "junk"}),
            3 => json!({"init_exit": "ie"}),
            4 => json!("ignore"),
            5 => json!({"ok_info": "extra"}),
            6 => json!({"error": {"shutdown": "why"}}),
            7 => json!({"slow": 20}),
            8 => json!({"exit_after": [5, dice.reason()]}),
            _ => json!("ok"),
        });
    }
    if dice.chance(12) {
        outcomes.remove(0);
    }
    outcomes.push(json!("ok"));
    Value::Array(outcomes)
}

fn child(dice: &mut Dice, id: &str, auto: bool, depth: usize) -> Value {
    let mut spec = json!({"id": id});
    let restart = *dice.pick(&["permanent", "permanent", "transient", "temporary"]);
    if restart != "permanent" || dice.chance(20) {
        spec["restart"] = json!(restart);
    }
    if auto && restart != "permanent" && dice.chance(50) {
        spec["significant"] = json!(true);
    }
    if depth > 1 && dice.chance(20) {
        spec["type"] = json!("supervisor");
        let (sup, auto) = flags(dice, false);
        spec["sup"] = sup;
        let ids = &["x", "y", "z"][..1 + dice.roll(3)];
        spec["children"] = ids.iter().map(|id| child(dice, id, auto, 1)).collect();
        return spec;
    }
    match dice.roll(8) {
        0 => spec["on_stop"] = json!("trap"),
        1 => spec["on_stop"] = json!({"exit": dice.reason()}),
        2 => {
            spec["on_stop"] = json!({"delay": 5});
            spec["shutdown"] = json!(2000);
        }
        3 => {
            spec["on_stop"] = json!("trap");
            spec["shutdown"] = json!("brutal_kill");
        }
        4 => spec["shutdown"] = json!(*dice.pick(&["infinity", "brutal_kill"])),
        _ => {}
    }
    // Below the root, the oracle would not wait for it.
    if depth != 1 && dice.chance(8) {
        spec["on_stop"] = json!("hang");
        spec["shutdown"] = json!(60);
    }
    // One that hangs in its stop hook gets none: in OTP it keeps its name until it is killed, and here whoever stops is not
    // found any more (`docs/otp.md`, trap 10).
    if dice.chance(15) && spec["on_stop"] != "hang" {
        spec["name"] = json!(*dice.pick(&["N", "M"]));
    }
    if dice.chance(45) {
        spec["plan"] = plan(dice);
    }
    if dice.chance(2) {
        let (key, bad) =
            invalid(dice, &[("restart", "r"), ("shutdown", "s"), ("type", "t"), ("significant", "x")]);
        spec[key] = bad;
    }
    spec
}

/// A key with a value that OTP refuses.
fn invalid(dice: &mut Dice, keys: &[(&'static str, &str)]) -> (&'static str, Value) {
    let (key, text) = *dice.pick(keys);
    (key, if dice.chance(50) { json!(text) } else { json!(-1) })
}

fn flags(dice: &mut Dice, root: bool) -> (Value, bool) {
    let mut sup = json!({});
    let strategies: &[&str] = &["one_for_one", "one_for_all", "rest_for_one"];
    sup["strategy"] = json!(*dice.pick(strategies));
    sup["intensity"] = json!(if root { dice.roll(9) } else { dice.roll(4) });
    sup["period"] = json!(3600);
    let auto = *dice.pick(&["never", "never", "any_significant", "all_significant"]);
    sup["auto_shutdown"] = json!(auto);
    if dice.chance(2) {
        let keys = [("strategy", "s"), ("intensity", "i"), ("period", "p"), ("auto_shutdown", "a")];
        let (key, bad) = invalid(dice, &keys);
        sup[key] = bad;
    }
    if dice.chance(1) {
        sup["init"] = json!("ignore");
    }
    (sup, auto != "never")
}

/// The labels of a tree's children, and of its supervisors.
fn labels(children: &[Value], path: &str, kids: &mut Vec<String>, supervisors: &mut Vec<String>) {
    for child in children {
        let label = format!("{path}{}", child["id"].as_str().unwrap_or_default());
        if let Some(below) = child["children"].as_array() {
            supervisors.push(label.clone());
            labels(below, &format!("{label}/"), kids, supervisors);
        } else {
            kids.push(label);
        }
    }
}

/// Makes the schedule of a seed.
#[must_use]
pub fn schedule(seed: u64) -> Value {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        dice.roll(2);
    }
    let name = format!("random_{seed}");
    match dice.roll(20) {
        14..=19 => deep::schedule(&mut dice, &name),
        0 | 1 => loose(&mut dice, &name, "dynamic"),
        2 | 3 => loose(&mut dice, &name, "simple_one_for_one"),
        4 => keys(&mut dice, &name),
        5 => window(&mut dice, &name),
        _ => fixed(&mut dice, &name),
    }
}

/// A registry, its owners, and their ends.
fn keys(dice: &mut Dice, name: &str) -> Value {
    let restart = *dice.pick(&["temporary", "permanent"]);
    let children: Vec<Value> = IDS[..4].iter().map(|id| json!({"id": id, "restart": restart})).collect();
    let (kind, partitions) = (*dice.pick(&["unique", "duplicate"]), *dice.pick(&[1, 4]));
    let mut steps = vec![json!({"op": "reg_start", "keys": kind, "partitions": partitions})];
    for _ in 0..10 + dice.roll(15) {
        let id = *dice.pick(&IDS[..4]);
        let key = *dice.pick(&["k", "l", "m"]);
        let value =
            [json!("1"), json!(2), json!(["x", 1]), json!({"a": "b"}), Value::Null][dice.roll(5)].clone();
        steps.push(match dice.roll(16) {
            0..=4 => json!({"op": "reg_register", "id": id, "key": key, "value": value}),
            5 => json!({"op": "reg_unregister", "id": id, "key": key}),
            6 => json!({"op": "reg_update", "id": id, "key": key, "value": "new"}),
            7 => json!({"op": "reg_lookup", "key": key}),
            8 => json!({"op": "reg_keys", "id": id}),
            9 => json!({"op": "reg_count"}),
            10 => json!({"op": "reg_match", "key": key, "value": "1"}),
            11 => json!({"op": "reg_select_all"}),
            12 => json!({"op": "reg_whereis", "key": key}),
            13 => json!({"op": "kill", "id": id}),
            14 => json!({"op": "exit", "id": id, "reason": dice.reason()}),
            _ => json!({"op": "terminate_child", "id": id}),
        });
    }
    let sup = json!({"intensity": 50, "period": 3600});
    json!({"name": name, "sup": sup, "children": children, "steps": steps, "unordered": true})
}

/// Restarts in bursts, with pauses that are surely shorter or longer than the window, whatever the clock's phase.
fn window(dice: &mut Dice, name: &str) -> Value {
    let sup = json!({"strategy": *dice.pick(&["one_for_one", "one_for_all", "rest_for_one"]), "intensity": 1 + dice.roll(3), "period": 1});
    let mut steps = Vec::new();
    for _ in 0..3 {
        for _ in 0..1 + dice.roll(3) {
            steps.push(json!({"op": "exit", "id": *dice.pick(&IDS[..2]), "reason": "boom"}));
        }
        steps.push(json!({"op": "sleep", "ms": 2200}));
    }
    json!({"name": name, "sup": sup, "children": [{"id": "a"}, {"id": "b"}], "steps": steps})
}

fn fixed(dice: &mut Dice, name: &str) -> Value {
    let (sup, auto) = flags(dice, true);
    let count = 1 + dice.roll(5);
    let children: Vec<Value> = IDS[..count].iter().map(|id| child(dice, id, auto, 2)).collect();
    let (mut kids, mut supervisors) = (Vec::new(), Vec::new());
    labels(&children, "", &mut kids, &mut supervisors);
    let named = with_names(&children);
    let mut steps = Vec::new();
    for _ in 0..6 + dice.roll(16) {
        fixed_step(dice, auto, &named, &mut kids, &supervisors, &mut steps);
    }
    steps.push(json!({"op": "stop_sup"}));
    // A kill's effects on a tree race each other in Erlang; so do deaths within a group that stops, the end of a
    // supervisor that never came up and its report, and a child that ends while others start.
    let text = json!([children, steps]).to_string();
    let unordered = steps
        .iter()
        .any(|step| step["op"] == "kill_sup" || step["op"] == "kill" && is_in(&supervisors, step))
        || text.contains("exit_after")
        || !supervisors.is_empty()
        || text.contains("\"sup\":{");
    // What Erlang logs about the oracle's own process, when the tree never came up, comes or does not come in time.
    // A stray message is logged in both; a schedule with one keeps its logs.
    let drop = if text.contains("stray_message") { json!([]) } else { json!(["log"]) };
    let mut doc = json!({"name": name, "sup": sup, "children": children, "steps": steps});
    doc["unordered"] = json!(unordered);
    doc["drop"] = drop;
    doc
}

/// The supervisors that have named children.
fn with_names(children: &[Value]) -> Vec<String> {
    let has_name = |child: &&Value| child["children"].to_string().contains("\"name\":");
    children.iter().filter(has_name).filter_map(|child| child["id"].as_str().map(str::to_owned)).collect()
}

fn is_in(labels: &[String], step: &Value) -> bool {
    step["id"].as_str().is_some_and(|id| labels.iter().any(|label| label == id))
}

fn fixed_step(
    dice: &mut Dice,
    auto: bool,
    named: &[String],
    kids: &mut Vec<String>,
    supervisors: &[String],
    steps: &mut Vec<Value>,
) {
    let any = |dice: &mut Dice| (*dice.pick(&IDS)).to_owned();
    if !supervisors.is_empty() && dice.chance(20) {
        let sup = dice.pick(supervisors).clone();
        steps.push(below(dice, &sup, kids));
        return;
    }
    let kid = |dice: &mut Dice, kids: &[String]| {
        if kids.is_empty() { "a".to_owned() } else { dice.pick(kids).clone() }
    };
    let step = match dice.roll(31) {
        0..=7 => {
            let mode = *dice.pick(&["stop", "stop", "stop", "error", "exit", "unlink"]);
            json!({"op": "exit", "id": kid(dice, kids), "reason": dice.reason(), "mode": mode})
        }
        8..=10 => json!({"op": "kill", "id": kid(dice, kids)}),
        11 => json!({"op": "signal", "id": kid(dice, kids), "reason": dice.reason()}),
        12 if dice.chance(15) => {
            let op = *dice.pick(&["terminate_child", "restart_child", "delete_child", "get_childspec"]);
            json!({"op": op, "id": kid(dice, kids), "by": "pid"})
        }
        12 | 13 => json!({"op": "terminate_child", "id": any(dice)}),
        14 | 15 => json!({"op": "restart_child", "id": any(dice)}),
        16 => json!({"op": "delete_child", "id": any(dice)}),
        17 => json!({"op": "get_childspec", "id": any(dice)}),
        18 | 19 => {
            let id = any(dice);
            if !kids.contains(&id) && !supervisors.contains(&id) {
                kids.push(id.clone());
            }
            json!({"op": "start_child", "spec": child(dice, &id, auto, 0)})
        }
        20 => json!({"op": "count_children"}),
        30 if !supervisors.is_empty() && dice.chance(30) => {
            json!({"op": "raw_start_child", "sup": dice.pick(supervisors).clone(), "spec": raw::spec(dice)})
        }
        30 => json!({"op": "raw_start_child", "spec": raw::spec(dice)}),
        21 if !supervisors.is_empty() => json!({"op": "which_children", "sup": dice.pick(supervisors)}),
        // In Erlang nobody waits for the children of a supervisor that is killed, so that their names are free when it
        // is started again, or are not: other supervisors are killed, those with named children are not.
        22 if supervisors.iter().any(|label| !named.contains(label)) => {
            let others: Vec<&String> = supervisors.iter().filter(|label| !named.contains(label)).collect();
            json!({"op": "kill", "id": dice.pick(&others)})
        }
        23 if !supervisors.is_empty() => {
            let sup = dice.pick(supervisors).clone();
            json!({"op": "terminate_child", "sup": sup, "id": *dice.pick(&["x", "y", "z"])})
        }
        24 => {
            steps.push(json!({"op": "suspend_sup"}));
            for _ in 0..1 + dice.roll(4) {
                // Only the root is suspended: supervisors below it would act at any time.
                let id = kid(dice, kids);
                if !id.contains('/') {
                    steps.push(if dice.chance(60) {
                        json!({"op": "kill", "id": id, "nosettle": true})
                    } else {
                        json!({"op": "exit", "id": id, "reason": dice.reason(), "nosettle": true})
                    });
                }
            }
            json!({"op": if dice.chance(5) { "stop_sup" } else { "resume_sup" }})
        }
        25 => json!({"op": "set_plan", "id": kid(dice, kids), "plan": plan(dice)}),
        26 if dice.chance(30) => json!({"op": "stop_sup", "reason": dice.reason()}),
        26 if dice.chance(10) => json!({"op": "sup_stop_call", "reason": dice.reason()}),
        26 => json!({"op": *dice.pick(&["stray_message", "stranger_exit"]), "reason": dice.reason()}),
        27 => json!({"op": "call", "id": kid(dice, kids), "msg": "hello"}),
        28 => json!({"op": "whereis", "name": "N"}),
        29 if dice.chance(30) => {
            let ids = &IDS[..1 + dice.roll(3)];
            let children: Value = ids.iter().map(|id| child(dice, id, auto, 0)).collect();
            json!({"op": "code_change", "sup": flags(dice, true).0, "children": children})
        }
        _ => json!({"op": "which_children"}),
    };
    steps.push(step);
    if dice.chance(30) {
        steps.push(json!({"op": "which_children"}));
    }
}

/// A step for a supervisor below the root.
fn below(dice: &mut Dice, sup: &str, kids: &mut Vec<String>) -> Value {
    let id = *dice.pick(&["x", "y", "z", "n"]);
    let label = format!("{sup}/{id}");
    match dice.roll(9) {
        0 | 1 => {
            if !kids.contains(&label) {
                kids.push(label);
            }
            let mut spec = child(dice, id, false, 1);
            // Its supervisor may be killed.
            spec.as_object_mut().map(|spec| spec.remove("name"));
            json!({"op": "start_child", "sup": sup, "spec": spec})
        }
        2 => json!({"op": "terminate_child", "sup": sup, "id": label}),
        3 => json!({"op": "restart_child", "sup": sup, "id": label}),
        4 => json!({"op": "delete_child", "sup": sup, "id": label}),
        5 => json!({"op": "get_childspec", "sup": sup, "id": label}),
        6 => json!({"op": "count_children", "sup": sup}),
        7 if dice.chance(30) => json!({"op": "sup_stop_call", "sup": sup, "reason": dice.reason()}),
        7 => {
            json!({"op": *dice.pick(&["stray_message", "stranger_exit"]), "sup": sup, "reason": dice.reason()})
        }
        _ => json!({"op": "which_children", "sup": sup}),
    }
}

/// A supervisor whose children come and go.
fn loose(dice: &mut Dice, name: &str, strategy: &str) -> Value {
    let mut sup = json!({"strategy": strategy, "intensity": dice.roll(9), "period": 3600});
    let mut children = Vec::new();
    let is_dynamic = strategy == "dynamic";
    if is_dynamic {
        if dice.chance(30) {
            sup["max_children"] = json!(1 + dice.roll(4));
        }
    } else {
        let mut template = child(dice, "tmpl", false, 0);
        for key in ["name", "plan", "significant", "sup", "children"] {
            template.as_object_mut().map(|map| map.remove(key));
        }
        template["template"] = json!(true);
        children.push(template);
    }
    let mut steps = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for _ in 0..6 + dice.roll(14) {
        let id = (*dice.pick(&IDS)).to_owned();
        let old = if known.is_empty() { id.clone() } else { dice.pick(&known).clone() };
        let step = match dice.roll(14) {
            11 if !known.is_empty() => {
                steps.push(json!({"op": "suspend_sup"}));
                for _ in 0..1 + dice.roll(3) {
                    steps.push(json!({"op": "kill", "id": dice.pick(&known).clone(), "nosettle": true}));
                }
                json!({"op": "resume_sup"})
            }
            12 if !is_dynamic => json!({"op": "get_childspec", "id": old}),
            12 | 13 => json!({"op": "call", "id": old, "msg": "hello"}),
            0..=3 => {
                if known.contains(&id) {
                    continue;
                }
                known.push(id.clone());
                if is_dynamic {
                    json!({"op": "start_child", "spec": child(dice, &id, false, 0)})
                } else {
                    let mut plan = plan(dice);
                    // OTP 25 keeps a phantom when a restart is ignored; see the excused schedule.
                    if let Some(plan) = plan.as_array_mut() {
                        plan.retain(|outcome| outcome != "ignore");
                    }
                    steps.push(json!({"op": "set_plan", "id": id, "plan": plan}));
                    json!({"op": "start_child", "id": id})
                }
            }
            4..=6 => json!({"op": "exit", "id": old, "reason": dice.reason()}),
            7 => json!({"op": "kill", "id": old}),
            8 | 9 => json!({"op": "terminate_child", "id": old}),
            10 => json!({"op": "count_children"}),
            _ if dice.chance(25) => json!({"op": "stop_sup", "reason": "shutdown"}),
            _ => json!({"op": "which_children"}),
        };
        steps.push(step);
    }
    steps.push(json!({"op": "which_children"}));
    steps.push(json!({"op": "stop_sup"}));
    json!({"name": name, "sup": sup, "children": children, "steps": steps, "unordered": true})
}
