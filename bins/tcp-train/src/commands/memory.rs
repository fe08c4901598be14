//! Memory use of the process, as Linux reports it in /proc/self/status.

/// Returns the peak resident set size of the process, in octets, if the system reports it.
pub(crate) fn peak_memory() -> Option<u64> {
    status_octets("VmHWM:")
}

/// Returns the current resident set size of the process, in octets, if the system reports it.
pub(crate) fn resident_memory() -> Option<u64> {
    status_octets("VmRSS:")
}

/// Returns a field of /proc/self/status, which is in KiB there, in octets.
fn status_octets(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
