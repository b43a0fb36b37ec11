//! The control protocol: requests and answers, both ways, each one line.
//!
//! [`ControlRequest`] is what the CLI asks, [`Answer`] what we say to it; [`HostRequest`] is what we ask,
//! [`ControlResponse`] what the CLI says to it. Who waits for which answer, and for how long, is not decided here.

mod answer;
mod host;
mod request;
mod response;

pub use answer::{Answer, PermissionAnswer};
pub use host::{HostRequest, cancel_line, update_environment_line};
pub use request::{
    CanUseTool, CliRequest, ControlRequest, Elicitation, HookCallback, HostAuthTokenRefresh, McpMessage,
    OauthTokenRefresh, RequestUserDialog,
};
pub use response::{ControlError, ControlResponse};
