//! The program `tcp-encode`.

fn main() -> std::process::ExitCode {
    clikit::main(tcp_encode::run)
}
