//! Linux: `/proc`, cgroup v2, and a start that does not copy the host's page tables.

mod cgroup;
mod clone;
mod launch;
mod placing;
mod procfs;

pub(crate) use cgroup::{Cgroup, leftover_cgroups};
pub(crate) use launch::launch;
pub(crate) use procfs::{environ, name, namespace, pids, stat};
