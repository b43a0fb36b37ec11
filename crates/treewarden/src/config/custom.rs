//! Children of types that the embedding program registered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::supervisor::StartChild;

type Factory = dyn Fn(&ChildTable) -> Result<Arc<dyn StartChild>, String> + Send + Sync;

/// The types of children that a program adds to `session` and `supervisor`.
///
/// # Examples
///
/// ```
/// use treewarden::config::{ChildTable, ChildTypes};
/// use treewarden::supervisor::{StartContext, StartFailure, Started};
///
/// let types = ChildTypes::new().with("idle", |_table: &ChildTable| {
///     Ok::<_, std::convert::Infallible>(|_context: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) })
/// });
/// let text = "[[child]]\nname = \"nothing\"\ntype = \"idle\"";
/// let tree = treewarden::config::parse_with(text, "treewarden.toml".as_ref(), &types)?;
/// assert_eq!(tree.root.children[0].name.as_str(), "nothing");
/// # Ok::<(), treewarden::config::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct ChildTypes(BTreeMap<String, Arc<Factory>>);

impl ChildTypes {
    /// No types but `session` and `supervisor`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type: `make` gets the child's table, and returns what starts the child.
    ///
    /// An error of `make` is reported at the child's place in the file. A later type replaces an earlier one of the
    /// same name; `session` and `supervisor` cannot be replaced.
    #[must_use]
    pub fn with<S, E>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&ChildTable) -> Result<S, E> + Send + Sync + 'static,
    ) -> Self
    where
        S: StartChild,
        E: fmt::Display,
    {
        let make = move |table: &ChildTable| match make(table) {
            Ok(start) => Ok(Arc::new(start) as Arc<dyn StartChild>),
            Err(error) => Err(error.to_string()),
        };
        self.0.insert(name.into(), Arc::new(make));
        self
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn make(
        &self,
        type_name: &str,
        table: &ChildTable,
    ) -> Option<Result<Arc<dyn StartChild>, String>> {
        self.0.get(type_name).map(|make| make(table))
    }
}

impl fmt::Debug for ChildTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The table of a child of a registered type, without the keys that every child has.
#[derive(Clone)]
pub struct ChildTable {
    pub(super) name: String,
    pub(super) options: Map<String, Value>,
}

impl ChildTable {
    /// The child's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child's own options; dates are texts.
    pub fn options(&self) -> &Map<String, Value> {
        &self.options
    }

    /// Reads the options into a type; one with `#[serde(deny_unknown_fields)]` refuses unknown keys.
    ///
    /// # Errors
    ///
    /// What serde says; return it from the factory, and it is reported at its place.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Value::Object(self.options.clone()))
    }
}

impl fmt::Debug for ChildTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildTable").field("name", &self.name).field("options", &self.options.keys()).finish()
    }
}
