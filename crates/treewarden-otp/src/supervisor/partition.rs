//! Many copies of one child, with work routed to them by key: Elixir's `PartitionSupervisor`.
//!
//! It is for work that has to run in order for each key, and side by side for different ones. It is not for keeping anything: a
//! partition is a child like any other, and what it held is gone when it is restarted.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::FindChildError;

use super::builder::SupervisorBuilder;
use super::child::RunningChild;
use super::handle::{StartError, Supervisor};
use super::spec::ChildSpec;

/// A supervisor of `n` children with the ids `0` to `n - 1`; a cheap clone.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use treewarden_otp::supervisor::{ChildSpec, ExitReason, PartitionSupervisor, Supervisor};
/// # use treewarden_otp::supervisor::{StartContext, StartFailure, Started};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let start = |_: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) };
/// let four = NonZeroUsize::new(4).expect("it is not zero");
/// let make = move |id: String, _number: usize| ChildSpec::new(id, start);
/// let workers = PartitionSupervisor::start(Supervisor::builder(), four, make).await?;
/// assert_eq!(workers.partition_of("ann"), workers.partition_of("ann"));
/// assert_eq!(workers.partition_of_number(-7), 3, "the remainder, whatever the sign");
/// workers.supervisor().stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PartitionSupervisor {
    supervisor: Supervisor,
    partitions: NonZeroUsize,
}

impl PartitionSupervisor {
    /// Starts one child for each partition; `make` is given the partition's id and number.
    ///
    /// # Errors
    ///
    /// As [`SupervisorBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was started is stopped.
    pub async fn start(
        builder: SupervisorBuilder,
        partitions: NonZeroUsize,
        make: impl Fn(String, usize) -> ChildSpec,
    ) -> Result<Self, StartError> {
        let children = (0..partitions.get()).map(|number| make(number.to_string(), number));
        Ok(Self { supervisor: builder.children(children).start().await?, partitions })
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions.get()
    }

    /// The partition of a key: the same for equal keys, in every run of one build of a program.
    ///
    /// Another release of Rust, or another platform, may hash a key otherwise. What is kept for longer than a process, such
    /// as a file for each partition, goes by [a number](Self::partition_of_number).
    #[must_use]
    pub fn partition_of(&self, key: &(impl Hash + ?Sized)) -> usize {
        // Made so, it has the same keys each time. `RandomState` would send a key to another partition for
        // each call. A hasher that is fixed for good would promise no more: what a type feeds to it, std says,
        // is not.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % self.partitions.get() as u64) as usize
    }

    /// The partition of a number, as Elixir has it: the remainder, and so the same everywhere and for good.
    #[must_use]
    pub fn partition_of_number(&self, number: i64) -> usize {
        (number.unsigned_abs() % self.partitions.get() as u64) as usize
    }

    /// Finds the child that a key's work goes to.
    ///
    /// # Errors
    ///
    /// That child does not run now.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn child(&self, key: &(impl Hash + ?Sized)) -> Result<RunningChild, FindChildError> {
        let partition = self.partition_of(key);
        self.supervisor.child(partition.to_string()).await
    }

    /// Stops the children of the partitions from `running` on, and starts those before it.
    ///
    /// Keys are routed as before: those of a stopped partition find nobody.
    ///
    /// # Errors
    ///
    /// More partitions than there were at first, or a child that did not start.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a part of the change is made.
    pub async fn resize(&self, running: usize) -> Result<(), ResizeError> {
        if running > self.partitions.get() {
            return Err(ResizeError::TooMany { asked: running, most: self.partitions.get() });
        }
        for number in 0..self.partitions.get() {
            let id = number.to_string();
            if number >= running {
                self.supervisor.terminate_child(id).await?;
            } else {
                match self.supervisor.restart_child(id).await {
                    Ok(_) | Err(super::RestartChildError::Running | super::RestartChildError::Restarting) => {
                    }
                    Err(error) => {
                        return Err(ResizeError::Start {
                            partition: number,
                            reason: ExitReason::error(error),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The supervisor of the partitions.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}

/// Says why the number of running partitions is not what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// There never were so many.
    #[error("run {asked} partitions: there are {most}")]
    TooMany {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        most: usize,
    },
    /// A child did not start.
    #[error("start partition {partition}: {reason}")]
    Start {
        /// Which one.
        partition: usize,
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor has ended.
    #[error("{0}")]
    Find(#[from] FindChildError),
}
