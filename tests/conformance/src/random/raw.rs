//! Child specs as terms of any kind, mostly with something about them that OTP refuses.

use serde_json::{Value, json};

use super::{Dice, IDS};

/// A spec for `raw_start_child`. Its start names a function that there is none of, so that nothing ever runs.
pub(super) fn spec(dice: &mut Dice) -> Value {
    if dice.chance(8) {
        return term(dice);
    }
    let mut spec = json!({});
    if dice.chance(92) {
        spec["id"] = json!(*dice.pick(&IDS));
    }
    if dice.chance(92) {
        spec["start"] = if dice.chance(92) { json!(["mfa"]) } else { term(dice) };
    }
    let good: [(&str, &[Value]); 5] = [
        ("restart", &["permanent", "transient", "temporary"].map(Value::from)),
        ("significant", &[json!(true), json!(false)]),
        ("shutdown", &[json!("infinity"), json!("brutal_kill"), json!(0), json!(2000)]),
        ("type", &["worker", "supervisor"].map(Value::from)),
        ("modules", &[json!("dynamic"), json!([]), json!([true]), json!([false, "m"])]),
    ];
    for (key, values) in good {
        match dice.roll(10) {
            0..=2 => spec[key] = dice.pick(values).clone(),
            3 => spec[key] = term(dice),
            _ => {}
        }
    }
    if dice.chance(10) {
        spec["extra"] = term(dice);
    }
    spec
}

/// A term that is valid hardly anywhere.
fn term(dice: &mut Dice) -> Value {
    let terms = [
        json!("bad"),
        json!(-1),
        json!(7),
        json!(true),
        json!([]),
        json!(["m"]),
        json!([1, "m"]),
        json!("dynamic"),
    ];
    dice.pick(&terms).clone()
}
