//! The program `ci-cache`, for the tests of this package to run.

fn main() -> std::process::ExitCode {
    ci_server::cli::main()
}
