//! Entry point of the program `tcp-train`.

fn main() -> std::process::ExitCode {
    tcp_train::set_passive_wait_policy();
    clikit::main(tcp_train::run)
}
