//! How the threads inside libtorch wait for each other.

/// By default they spin, which on a machine that does anything else makes training ten times
/// slower: measured on two cores with a load of nine, 666 tokens per second against 6,950. OpenMP
/// reads how to wait before `main`, so the program begins again with it said, unless the user has
/// said it. Where that fails, it goes on as it is.
pub fn set_passive_wait_policy() {
    const SAID: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];
    if SAID.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;
        let mut args = std::env::args_os();
        let mut again = std::process::Command::new(program);
        if let Some(name) = args.next() {
            again.arg0(name);
        }
        let error = again.args(args).env(SAID[0], "passive").exec();
        tracing::debug!("threads spin while they wait: {error}");
    }
}
