//! OTP's checks of flags and child specs that are not terms of our types, in OTP's order and with OTP's errors.

use std::time::Duration;

use serde_json::{Value, json};
use treewarden_otp::supervisor::{AutoShutdown, Flags, Kind, Restart, Shutdown, Strategy};

use crate::term::{exit, normalized};
use crate::world::Style;

/// What a spec says, apart from its start.
pub(crate) struct Checked {
    pub(crate) id: String,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) kind: Kind,
}

fn text<'a>(value: &'a Value, key: &str, default: &'a str) -> Result<&'a str, Value> {
    match value.get(key) {
        None => Ok(default),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(normalized(other)),
    }
}

/// `check_flags`; left-out keys take OTP's defaults, or Elixir's.
pub(crate) fn flags(sup: &Value) -> Result<(Flags, Style), Value> {
    let mut flags = Flags::default();
    let style = match text(sup, "strategy", "one_for_one").map_err(|bad| json!(["invalid_strategy", bad]))? {
        "one_for_one" => Style::Normal,
        "one_for_all" => {
            flags.strategy = Strategy::OneForAll;
            Style::Normal
        }
        "rest_for_one" => {
            flags.strategy = Strategy::RestForOne;
            Style::Normal
        }
        "simple_one_for_one" => Style::Simple,
        "dynamic" => Style::Dynamic,
        other => return Err(json!(["invalid_strategy", other])),
    };
    let default = if style == Style::Dynamic { 3 } else { 1 };
    flags.max_restarts =
        number(sup, "intensity", default, 0).map_err(|bad| json!(["invalid_intensity", bad]))?;
    flags.max_seconds = number(sup, "period", 5, 1).map_err(|bad| json!(["invalid_period", bad]))?;
    if style == Style::Dynamic {
        return Ok((flags, style));
    }
    flags.auto_shutdown = match text(sup, "auto_shutdown", "never") {
        Ok("never") => AutoShutdown::Never,
        Ok("any_significant") => AutoShutdown::AnySignificant,
        Ok("all_significant") => AutoShutdown::AllSignificant,
        Ok(other) => return Err(json!(["invalid_auto_shutdown", other])),
        Err(bad) => return Err(json!(["invalid_auto_shutdown", bad])),
    };
    Ok((flags, style))
}

fn number(value: &Value, key: &str, default: u32, least: u64) -> Result<u32, Value> {
    match value.get(key) {
        None => Ok(default),
        Some(found) => match found.as_u64().filter(|number| *number >= least) {
            Some(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
            None => Err(normalized(found)),
        },
    }
}

/// How many children Elixir's `DynamicSupervisor` may have: only a number that is not valid is refused.
pub(crate) fn max_children(sup: &Value) -> Result<Option<usize>, Value> {
    match sup.get("max_children") {
        Some(Value::Number(number)) => match number.as_u64() {
            Some(max) => Ok(Some(usize::try_from(max).unwrap_or(usize::MAX))),
            None => Err(json!(["invalid_max_children", number])),
        },
        _ => Ok(None),
    }
}

/// Elixir's checks of a `DynamicSupervisor`'s child; the first is not meant as one, and crashes the caller.
fn elixir_child(spec: &Value) -> Result<Checked, Value> {
    match spec.get("type") {
        Some(bad) if *bad != "worker" && *bad != "supervisor" => {
            Err(exit(json!(["case_clause", normalized(bad)])))
        }
        _ => {
            let mut spec = spec.clone();
            // Elixir 1.14 does not look at it.
            spec.as_object_mut().map(|map| map.remove("significant"));
            child(&spec, AutoShutdown::Never, Style::Normal).map_err(|bad| json!(["error", bad]))
        }
    }
}

/// `do_check_childspec`, after id and start.
pub(crate) fn child(spec: &Value, auto: AutoShutdown, style: Style) -> Result<Checked, Value> {
    if style == Style::Dynamic {
        return elixir_child(spec);
    }
    let restart = match text(spec, "restart", "permanent") {
        Ok("permanent") => Restart::Permanent,
        Ok("transient") => Restart::Transient,
        Ok("temporary") => Restart::Temporary,
        Ok(other) => return Err(json!(["invalid_restart_type", other])),
        Err(bad) => return Err(json!(["invalid_restart_type", bad])),
    };
    let significant = match spec.get("significant") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(other) => return Err(json!(["invalid_significant", normalized(other)])),
    };
    let combination = |key, value| json!(["bad_combination", [[key, value], ["significant", "true"]]]);
    if significant && auto == AutoShutdown::Never {
        return Err(combination("auto_shutdown", "never"));
    }
    if significant && restart == Restart::Permanent {
        return Err(combination("restart", "permanent"));
    }
    let kind = match text(spec, "type", "worker") {
        Ok("worker") => Kind::Worker,
        Ok("supervisor") => Kind::Supervisor,
        Ok(other) => return Err(json!(["invalid_child_type", other])),
        Err(bad) => return Err(json!(["invalid_child_type", bad])),
    };
    let shutdown = match spec.get("shutdown") {
        None => None,
        Some(Value::String(text)) if text == "infinity" => Some(Shutdown::Infinity),
        Some(Value::String(text)) if text == "brutal_kill" => Some(Shutdown::BrutalKill),
        Some(other) => match other.as_u64() {
            Some(ms) => Some(Shutdown::Timeout(Duration::from_millis(ms))),
            None => return Err(json!(["invalid_shutdown", normalized(other)])),
        },
    };
    let id = spec.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Checked { id, restart, significant, shutdown, kind })
}

/// `check_childspec` of a term that may be anything.
pub(crate) fn raw(spec: &Value, auto: AutoShutdown) -> Result<Checked, Value> {
    let Value::Object(map) = spec else { return Err(json!(["invalid_child_spec", normalized(spec)])) };
    if !map.contains_key("id") {
        return Err(json!("missing_id"));
    }
    let Some(start) = map.get("start") else { return Err(json!("missing_start")) };
    if *start != json!(["mfa"]) {
        return Err(json!(["invalid_mfa", normalized(start)]));
    }
    let checked = child(spec, auto, Style::Normal)?;
    match map.get("modules") {
        Some(Value::Array(modules)) => match modules.iter().find(|module| !module.is_boolean()) {
            Some(bad) => Err(json!(["invalid_module", normalized(bad)])),
            None => Ok(checked),
        },
        None => Ok(checked),
        Some(dynamic) if dynamic == "dynamic" => Ok(checked),
        Some(other) => Err(json!(["invalid_modules", normalized(other)])),
    }
}

/// The spec's id as Erlang shows it, which may be any term.
pub(crate) fn restart_name(restart: Restart) -> &'static str {
    match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    }
}

/// How Erlang writes a shutdown.
pub(crate) fn shutdown_term(shutdown: Shutdown) -> Value {
    match shutdown {
        Shutdown::BrutalKill => json!("brutal_kill"),
        Shutdown::Infinity => json!("infinity"),
        Shutdown::Timeout(time) => json!(time.as_millis() as u64),
    }
}

/// How Erlang writes a child's type.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Worker => "worker",
        Kind::Supervisor => "supervisor",
    }
}
