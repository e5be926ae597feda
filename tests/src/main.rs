//! The program `ci-cache`, for the tests of this package to run; or one with a defect, which tests have to find.

fn main() -> std::process::ExitCode {
    if std::env::var_os("CI_CACHE_TESTED_LOSES_ALL").is_some() {
        return ci_tests::planted_service::main();
    }
    ci_server::cli::main()
}
