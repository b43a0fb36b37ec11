//! The config file `treewarden.toml`: one file, one tree.
//!
//! A file is read in two steps. The first holds every key against one table of keys, which says for each where it may
//! stand, what its value may be and what it means; that table makes the JSON Schema for editors as well. The second
//! resolves what was read into a [`TreeSpec`]: defaults merged, paths made absolute, options checked against each
//! other. A `TreeSpec` holds nothing that could still be refused.
//!
//! What is wrong with a file is reported all at once, each fault with file, line and column, what was expected, and a
//! suggestion. Values that may be secret (those of `env`, `settings`, `mcp_config` and `extra_args`) never stand in a report.
//!
//! A file that is valid may still name what is not there: [`check()`] holds it against a machine, through a [`Look`].
//!
//! It is not for starting anything (that is [`crate::tree`]), and but for [`Here`] it looks at no file but the one it is given.

mod against;
mod backoff;
mod check;
mod custom;
mod effect;
mod error;
#[cfg(test)]
mod every_key;
mod expansion;
mod file;
pub(crate) mod forms;
mod key;
mod keys;
mod read;
mod reference;
mod resolve;
mod schema;
#[cfg(test)]
mod secret_keys;
mod source;
mod spec;

pub(crate) use key::{Key, Scope};
pub(crate) use keys::find;

pub use against::{Checked, Found, Here, Look};
pub use custom::{ChildTable, ChildTypes};
pub use effect::Effect;
pub use error::{ConfigError, Fault, Place, Warnings};
pub use file::{check, load, load_regular, load_with, parse, parse_with};
pub use reference::reference;
pub use schema::schema;
pub use spec::{ChildDecl, ChildKind, SupervisorDecl, TemplateDecl, TemplateLimits, TreeSpec};

pub use crate::supervision::Supervision;
