//! Finds processes by the marks in their environment.

use crate::pid::Process;
use crate::program::Cookie;

/// The live processes that carry `cookie`.
pub(crate) fn with_cookie(cookie: &Cookie) -> Vec<Process> {
    let wanted = format!("{}={}", crate::program::COOKIE, cookie.as_str());
    marked(|variables| variables.contains(&wanted.as_bytes()))
}

/// The live processes of this user whose environment `is_marked`.
#[cfg(target_os = "linux")]
pub(crate) fn marked(is_marked: impl Fn(&[&[u8]]) -> bool) -> Vec<Process> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    all.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|raw| *raw != own)
        .filter_map(crate::pid::Pid::new)
        .filter_map(|pid| {
            // The start time comes first: a process that takes the id over in between is then not signalled.
            let process = Process::find(pid)?;
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let variables: Vec<&[u8]> = environ.split(|byte| *byte == 0).collect();
            is_marked(&variables).then_some(process)
        })
        .collect()
}

/// Environments of other processes cannot be read here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn marked(_is_marked: impl Fn(&[&[u8]]) -> bool) -> Vec<Process> {
    Vec::new()
}

/// The name of a process, for a person to read.
pub(crate) fn name(process: Process) -> String {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", process.pid));
    name.map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}
