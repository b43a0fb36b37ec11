//! The value of `backoff`: true, false, or a table.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use treewarden_otp_core::Backoff;

use super::check::{Checker, Value, number};
use crate::suggest::{list, nearest};

const KEYS: [&str; 5] = ["initial", "max", "factor", "jitter", "reset_after"];

/// Returns the value in its canonical form: a boolean, or a table of durations as text and of numbers.
pub(super) fn check(checker: &mut Checker<'_, '_>, name: &str, value: &Value<'_>) -> Option<Json> {
    if let Some(flag) = value.get_ref().as_bool() {
        return Some(flag.into());
    }
    let Some(table) = value.get_ref().as_table() else {
        let expected = "true, false or a table such as { initial = \"200ms\", max = \"1m\" }";
        checker.expected(name, expected, value);
        return None;
    };
    let mut checked = Map::new();
    let mut whole = true;
    for (key, value) in table {
        let what = format!("{name}.{}", key.get_ref());
        let good = match key.get_ref().as_ref() {
            "initial" | "max" | "reset_after" => {
                checker.duration(&what, value, false).map(|(text, _)| text.into())
            }
            "factor" => share(checker, &what, value, 1.0, 100.0),
            "jitter" => share(checker, &what, value, 0.0, 1.0),
            other => {
                let near = nearest(other, KEYS).map(|near| format!("did you mean `{near}`?"));
                let message = format!("unknown key `{what}`: expected {}", list(KEYS, '`'));
                checker.faults.add(&key.span(), message).maybe_help(near);
                None
            }
        };
        whole &= good.is_some();
        checked.insert(key.get_ref().to_string(), good.unwrap_or_default());
    }
    let least = |key: &str| {
        let value = table.iter().find(|(name, _)| name.get_ref().as_ref() == key)?.1;
        humantime::parse_duration(value.get_ref().as_str()?).ok().map(|duration| (duration, value))
    };
    // Only where all of them can be read: of a value that is refused by itself nothing more is said.
    if let (true, Some((initial, first)), Some((max, last))) = (whole, least("initial"), least("max"))
        && max < initial
    {
        let message = format!("`{name}.max` is shorter than `{name}.initial`: no restart could wait so long");
        let note = checker.faults.add(&last.span(), message);
        note.related(&first.span(), format!("`{name}.initial` is set here"));
        return None;
    }
    whole.then_some(Json::Object(checked))
}

fn share(
    checker: &mut Checker<'_, '_>,
    what: &str,
    value: &Value<'_>,
    least: f64,
    most: f64,
) -> Option<Json> {
    let number = number(value.get_ref()).filter(|number| (least..=most).contains(number));
    if number.is_none() {
        checker.expected(what, &format!("a number from {least} to {most}"), value);
    }
    number.map(|number| json!(number))
}

/// The back-off that a checked value stands for.
pub(super) fn resolve(value: &Json) -> Option<Backoff> {
    let Json::Object(table) = value else {
        return (*value == Json::Bool(true)).then(Backoff::default);
    };
    let duration = |key: &str, default: Duration| {
        let text = table.get(key).and_then(Json::as_str);
        text.and_then(|text| humantime::parse_duration(text).ok()).unwrap_or(default)
    };
    let initial = duration("initial", Duration::from_millis(200));
    let max = duration("max", Duration::from_secs(60));
    // A default of 60 s for `max` must not be less than an `initial` that the file sets.
    let mut backoff = Backoff::new(initial, max.max(initial));
    if table.contains_key("reset_after") {
        backoff = backoff.reset_after(duration("reset_after", Duration::ZERO));
    }
    if let Some(factor) = table.get("factor").and_then(Json::as_f64) {
        backoff = backoff.factor(factor);
    }
    if let Some(jitter) = table.get("jitter").and_then(Json::as_f64) {
        backoff = backoff.jitter(jitter);
    }
    Some(backoff)
}
