//! The `ci-cache` program.

fn main() -> std::process::ExitCode {
    ci_server::cli::main()
}
