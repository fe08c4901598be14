//! How idle threads of libtorch wait for work.

/// Makes the idle threads of OpenMP sleep, unless the user has set a wait policy.
///
/// By default they spin, which makes training ten times slower on a machine with other load:
/// measured on two cores with a load of nine, 666 tokens per second against 6,950. OpenMP reads the
/// policy before `main`, so that the program replaces itself by a new start of itself, with the
/// policy in its environment. If that fails, the program continues with spinning threads.
pub fn set_passive_wait_policy() {
    const VARIABLES: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];
    if VARIABLES.iter().any(|name| std::env::var_os(name).is_some()) {
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
        let error = again.args(args).env(VARIABLES[0], "passive").exec();
        tracing::debug!("threads spin while they wait: {error}");
    }
}
