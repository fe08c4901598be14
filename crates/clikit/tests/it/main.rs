//! Tests of exit codes, streams and signals on processes of the example `copy`.

mod paths;

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Returns a command that runs the example, which cargo builds together with the tests.
fn copy() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program: PathBuf = path.join("examples/copy");
    assert!(program.exists(), "{} is built by `cargo test -p clikit`", program.display());
    Command::new(program)
}

fn run(args: &[&str]) -> Output {
    copy().args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(text(&output.stderr), stderr);
    assert_eq!(text(&output.stdout), stdout);
    assert_eq!(output.status.code(), Some(code));
}

/// Creates a folder with a file `a` of three octets. Returns it with the paths of `a` and of a file
/// `b` that does not exist.
fn folder() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a"), "abc").unwrap();
    let (a, b) = (path("a"), path("b"));
    (dir, a, b)
}

#[test]
fn all_done_is_0() {
    let (_dir, a, b) = folder();
    check(&run(&[&a, &b]), 0, "octets  3\n", "");
    assert_eq!(std::fs::read(&b).unwrap(), b"abc");
}

#[test]
fn json_is_one_line() {
    let (_dir, a, b) = folder();
    check(&run(&[&a, &b, "--json", "-q"]), 0, "{\"octets\":3}\n", "");
}

#[test]
fn quiet_prints_nothing() {
    let (_dir, a, b) = folder();
    check(&run(&[&a, &b, "-q"]), 0, "", "");
}

#[test]
fn verbose_prints_events() {
    let (_dir, a, b) = folder();
    check(&run(&[&a, &b, "-v"]), 0, "octets  3\n", "copy: info: a\n");
}

#[test]
fn something_left_out_is_1_and_named() {
    let (dir, _, b) = folder();
    std::fs::write(dir.path().join("empty"), "").unwrap();
    check(
        &run(&[dir.path().to_str().unwrap(), &b]),
        1,
        "octets  3\n",
        "copy: left out: empty: empty\n",
    );
}

#[test]
fn failed_is_2_with_one_line() {
    let (_dir, _, b) = folder();
    check(
        &run(&["/no/such", &b]),
        2,
        "",
        "copy: /no/such: No such file or directory (os error 2)\n",
    );
    assert!(!PathBuf::from(b).exists());
}

#[test]
fn a_wrong_command_line_is_2() {
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn data_on_stdout_sends_the_summary_to_stderr() {
    let (_dir, a, _) = folder();
    check(&run(&[&a, "-"]), 0, "abc", "octets  3\n");
}

#[test]
fn a_closed_pipe_is_success() {
    let (dir, a, _) = folder();
    std::fs::write(dir.path().join("a"), vec![7; 1 << 20]).unwrap();
    let mut child =
        copy().args([&a, "-"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn completions_and_man_need_no_other_argument() {
    for (args, expected) in [
        (&["--completions", "bash"][..], "complete -F"),
        (&["--completions=zsh"], "#compdef copy"),
        (&["--man"], ".TH copy 1"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains(expected), "{args:?}");
    }
    let expected =
        "copy: --completions: expected one of bash, elvish, fish, powershell, zsh, found 'csh'\n";
    check(&run(&["--completions", "csh"]), 2, "", expected);
}

#[cfg(unix)]
#[test]
fn a_signal_removes_what_is_unfinished() {
    let (dir, a, b) = folder();
    let count = || std::fs::read_dir(dir.path()).unwrap().count();
    for signal in ["INT", "TERM"] {
        let mut child =
            copy().args([&a, &b, "--wait", "60000"]).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while count() == 1 {
            assert!(Instant::now() < deadline, "no temporary appeared");
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill =
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "copy: interrupted, unfinished outputs removed\n");
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(count(), 1);
    }
}
