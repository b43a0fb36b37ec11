//! What a row of the store holds: a record, a prompt, an outcome. What is read is written so that it is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use treewarden_core::session::{Outcome, OutcomeRecord, Prompt};
use treewarden_proto::frame;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::SessionRecord;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(record) = serde_json::from_str::<SessionRecord>(text) {
        let written = serde_json::to_string(&record).expect("it can be written");
        let again: SessionRecord = serde_json::from_str(&written).expect("it can be read");
        assert_eq!(serde_json::to_string(&again).expect("it can be written"), written);
    }
    if let Ok(prompt) = frame::value(text).and_then(serde_json::from_value::<Prompt>) {
        let written = serde_json::to_string(&prompt).expect("it can be written");
        assert_eq!(serde_json::from_str::<Prompt>(&written).expect("it can be read"), prompt);
    }
    if let Ok(record) = serde_json::from_str::<OutcomeRecord<'_>>(text) {
        let (turn, id) = (TurnId::new(), SessionId::random());
        let outcome = record.into_outcome(turn, id);
        let written = outcome.to_json().expect("it can be written");
        let again: OutcomeRecord<'_> = serde_json::from_str(&written).expect("it can be read");
        let again = again.into_outcome(turn, id);
        assert_eq!(again.word(), outcome.word());
        assert_eq!(words(&again), words(&outcome));
        let _told: Option<Value> = outcome.to_value();
    }
});

fn words(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Completed(answer) => Some(answer.text.clone()),
        Outcome::Failed(failure) => Some(failure.message.clone()),
        _ => None,
    }
}
