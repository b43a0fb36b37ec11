//! A name that something can be started under and found by, whatever registry and key it stands for.
//!
//! It is for who starts or finds an actor and need not know the types of a registry. It is not a registration: that begins when the
//! actor [registers](Name::register), and ends with it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ractor::ActorCell;

use super::error::AlreadyRegistered;
use super::table::Attachment;
use super::types::{Key, Registry, Value};

/// A key of some registry: Elixir's `{:via, …}`.
///
/// A cheap clone. Keys of a registry with duplicate keys never resolve.
///
/// # Examples
///
/// A supervisor that is found by a number:
///
/// ```
/// use treewarden_otp::registry::Registry;
/// use treewarden_otp::supervisor::{ExitReason, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tenants: Registry<u32> = Registry::unique().build();
/// let seven = tenants.name(7, ());
/// assert!(Supervisor::via(&seven).is_none(), "a name that nobody has finds nobody");
///
/// let started = Supervisor::builder().via(seven.clone()).start().await?;
/// let found = Supervisor::via(&seven).expect("it was started under that name");
/// assert_eq!(found.count_children().await?.specs, 0);
/// assert!(Supervisor::builder().via(seven).start().await.is_err(), "the name has an owner");
/// started.stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Name(Arc<dyn Resolve>);

trait Resolve: Send + Sync {
    fn register(&self, owner: &ActorCell) -> Result<(), AlreadyRegistered>;
    fn unregister(&self, owner: &ActorCell);
    fn whereis(&self) -> Option<ActorCell>;
    fn attach(&self, owner: &ActorCell, what: Attachment);
    fn attached(&self, owner: &ActorCell) -> Option<Attachment>;
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

struct Via<K, V> {
    registry: Registry<K, V>,
    key: K,
    value: V,
}

impl<K: Key + fmt::Debug, V: Value> Resolve for Via<K, V> {
    fn register(&self, owner: &ActorCell) -> Result<(), AlreadyRegistered> {
        self.registry.register(owner, self.key.clone(), self.value.clone())
    }

    fn unregister(&self, owner: &ActorCell) {
        self.registry.unregister(owner, &self.key);
    }

    fn whereis(&self) -> Option<ActorCell> {
        self.registry.whereis(&self.key).ok().flatten()
    }

    fn attach(&self, owner: &ActorCell, what: Attachment) {
        self.registry.attach(owner, what);
    }

    fn attached(&self, owner: &ActorCell) -> Option<Attachment> {
        self.registry.attached(owner)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

impl Name {
    pub(super) fn new<K: Key + fmt::Debug, V: Value>(registry: Registry<K, V>, key: K, value: V) -> Self {
        Self(Arc::new(Via { registry, key, value }))
    }

    /// Gives the name to an actor.
    ///
    /// # Errors
    ///
    /// Another actor has it.
    pub fn register(&self, owner: &ActorCell) -> Result<(), AlreadyRegistered> {
        self.0.register(owner)
    }

    /// Gives the name to an actor, with a value for whoever finds it by a name of the same registry.
    ///
    /// An actor has one such value in a registry, the last; it goes with the actor.
    ///
    /// # Errors
    ///
    /// Another actor has it.
    pub fn register_with<T: Any + Send + Sync>(
        &self,
        owner: &ActorCell,
        value: T,
    ) -> Result<(), AlreadyRegistered> {
        self.0.register(owner)?;
        self.0.attach(owner, Arc::new(value));
        Ok(())
    }

    /// The value that the actor with this name was [registered with](Self::register_with); none if it is of another type.
    #[must_use]
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.attached(&self.whereis()?)?.downcast().ok()
    }

    /// Takes the name from an actor, if that has it.
    pub fn unregister(&self, owner: &ActorCell) {
        self.0.unregister(owner);
    }

    /// Finds the actor that has the name.
    #[must_use]
    pub fn whereis(&self) -> Option<ActorCell> {
        self.0.whereis()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(")?;
        self.0.describe(f)?;
        f.write_str(")")
    }
}
