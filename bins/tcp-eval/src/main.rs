//! The program `tcp-eval`.

fn main() -> std::process::ExitCode {
    clikit::main(tcp_eval::run)
}
