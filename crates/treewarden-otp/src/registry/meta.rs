//! What a program keeps beside its keys: Elixir's `Registry.meta`.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

type Values = HashMap<Arc<str>, Arc<dyn Any + Send + Sync>>;

/// Values of any type by name.
#[derive(Default)]
pub(super) struct Meta(RwLock<Values>);

impl Meta {
    pub(super) fn get<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        values.get(name).cloned()?.downcast().ok()
    }

    pub(super) fn put(&self, name: Arc<str>, value: Arc<dyn Any + Send + Sync>) {
        let old = self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, value);
        // The lock is free here: the drop of what stood there may use the registry.
        drop(old);
    }

    pub(super) fn delete(&self, name: &str) {
        let old = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        drop(old);
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(values.keys()).finish()
    }
}
