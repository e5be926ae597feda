//! The program `ci-cache`, for the tests of this package to run; or one with a defect, which tests have to find.

fn main() -> std::process::ExitCode {
    ci_tests::planted_service::main().unwrap_or_else(ci_server::cli::main)
}
