//! The steps that use a registry, with replies as Elixir's.

use std::cmp::Ordering;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};
use treewarden_otp::registry::{Registry, RegistryEvent, UpdateError};

use crate::term::{exit, verbatim};
use crate::world::{Proc, World};

fn key(step: &Value) -> String {
    step["key"].as_str().map_or_else(|| step["key"].to_string(), str::to_owned)
}

fn pid(world: &World, owner: Option<&ractor::ActorCell>) -> Value {
    owner.and_then(|owner| world.find_cell(owner)).map_or_else(|| json!("?#0"), |process| process.run_id())
}

fn argument_error(message: &str) -> Value {
    exit(json!({"__exception__": "true", "__struct__": "Elixir.ArgumentError", "message": message}))
}

fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by(compare);
    Value::Array(values)
}

/// Erlang's order of terms: numbers, maps, lists, binaries.
fn compare(one: &Value, other: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::Object(_) => 1,
        Value::Array(_) => 2,
        _ => 3,
    };
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Value::Array(one), Value::Array(other)) => {
            let pairs = one.iter().zip(other).map(|(one, other)| compare(one, other));
            pairs.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&other.len()))
        }
        _ => rank(one).cmp(&rank(other)).then_with(|| one.to_string().cmp(&other.to_string())),
    }
}

/// Starts the registry. Elixir's reports the start of each partition; ours are not processes.
pub(crate) fn start(world: &Arc<World>, step: &Value) -> Value {
    let builder = if step["keys"] == "duplicate" {
        Registry::<String, Value>::duplicate()
    } else {
        Registry::<String, Value>::unique()
    };
    let partitions = step["partitions"].as_u64().unwrap_or(1);
    let registry: Registry<String, Value> =
        builder.partitions(usize::try_from(partitions).unwrap_or(1)).build();
    let mut listener = registry.listen();
    *world.registry.lock().unwrap_or_else(PoisonError::into_inner) = Some(registry);
    for partition in 0..partitions {
        let id = format!("Elixir.oracle_reg.PIDPartition{partition}");
        world.emit(json!({"ev": "progress", "id": id, "pid": "?#0"}));
    }
    let listening = world.clone();
    tokio::spawn(async move {
        while let Ok(event) = listener.next().await {
            listening.emit(match event {
                RegistryEvent::Registered { key, owner, value } => {
                    json!({"ev": "reg_event", "what": "register", "key": key, "pid": pid(&listening, owner.as_ref()), "value": shown(&value)})
                }
                RegistryEvent::Unregistered { key, owner } => {
                    json!({"ev": "reg_event", "what": "unregister", "key": key, "pid": pid(&listening, owner.as_ref())})
                }
                _ => continue,
            });
        }
    });
    json!("ok")
}

/// A step with a registry that runs.
pub(crate) fn step(world: &Arc<World>, op: &str, step: &Value) -> Result<Value, Value> {
    let registry = world.registry.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let registry = registry.ok_or_else(|| argument_error("unknown registry: :oracle_reg"))?;
    let owner = || -> Result<Proc, Value> { world.find(step["id"].as_str().unwrap_or_default()) };
    let living = || -> Result<Proc, Value> {
        let process = owner()?;
        if process.is_gone() { Err(crate::term::noproc()) } else { Ok(process) }
    };
    let key = key(step);
    let value = step.get("value").cloned().unwrap_or(Value::Null);
    let entries = |entries: Vec<treewarden_otp::registry::Entry<Value>>| {
        sorted(
            entries
                .into_iter()
                .map(|entry| json!([pid(world, entry.owner.as_ref()), shown(&entry.value)]))
                .collect(),
        )
    };
    Ok(match op {
        "reg_register" => match registry.register(&living()?.cell, key, value) {
            Ok(()) => json!("ok"),
            Err(taken) => json!(["error", ["already_registered", pid(world, taken.owner.as_ref())]]),
        },
        "reg_unregister" => {
            registry.unregister(&living()?.cell, &key);
            json!("ok")
        }
        "reg_update" => match registry.update_value(&living()?.cell, &key, |_| value.clone()) {
            Ok((new, old)) => json!([shown(&new), shown(&old)]),
            Err(UpdateError::DuplicateKeys) => {
                argument_error("Registry.update_value/3 is not supported for duplicate registries")
            }
            Err(_) => json!("error"),
        },
        "reg_lookup" => entries(registry.lookup(&key)),
        "reg_match" => entries(registry.matching(&key, |known| *known == value)),
        "reg_keys" => sorted(registry.keys(&owner()?.cell).into_iter().map(Value::from).collect()),
        "reg_count" => json!(registry.count()),
        "reg_select_all" => {
            sorted(registry.select(|key, owner, value| Some(json!([key, pid(world, owner), shown(value)]))))
        }
        "reg_whereis" => match registry.whereis(&key) {
            Ok(Some(owner)) => pid(world, Some(&owner)),
            Ok(None) => json!("nil"),
            Err(_) => argument_error(":via is not supported for duplicate registries"),
        },
        other => json!(["unknown_op", other]),
    })
}

/// A value as the trace shows it.
fn shown(value: &Value) -> Value {
    if value.is_null() { json!("null") } else { verbatim(value) }
}
