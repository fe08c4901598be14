//! The program `tcp-decode`.

fn main() -> std::process::ExitCode {
    clikit::main(tcp_decode::run)
}
