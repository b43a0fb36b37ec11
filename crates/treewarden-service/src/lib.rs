#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod control;
mod events;
mod limits;
mod message;
mod refusal;
mod reload;
mod service;
mod sink;
mod turns;
mod unsaved;

pub use access::{Access, Caller, VERBS};
pub use answer::{
    Answer, Hello, Item, NotReloaded, OfTemplate, Progress, Reloaded, Sessions, StoreProblem, TurnAnswer,
};
pub use limits::{LASTING, WAITING};
pub use message::{Reply, Request, Streaming, VERSION};
pub use refusal::{Code, Refusal};
pub use reload::invalid;
pub use service::Service;
pub use sink::{Gone, Sink};
