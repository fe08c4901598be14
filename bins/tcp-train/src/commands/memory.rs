//! How much memory the program has used.

/// The most that was resident at one time, in octets, where the system says so.
pub(crate) fn peak_memory() -> Option<u64> {
    field("VmHWM:")
}

/// What is resident now, in octets.
pub(crate) fn memory() -> Option<u64> {
    field("VmRSS:")
}

fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
