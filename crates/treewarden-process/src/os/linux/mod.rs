//! Linux: `/proc`, cgroup v2, and a start that does not copy the host's page tables.

mod cgroup;
mod clone;
mod host;
mod launch;
mod limits;
mod procfs;
mod waiter;

pub(crate) use cgroup::{Cgroup, cgroups, is_in_another_tree, pids_in};
pub(crate) use host::{HostLock, is_held, net_namespace, realm};
pub(crate) use launch::launch;
pub(crate) use limits::{controllers, kernel_kills, limit, make_room};
pub(crate) use procfs::{adopted, environ, name, own_session, own_share, pids, stat, user};
pub(crate) use waiter::when_ended;
