//! Counts tests from what the test programs say about themselves.

use std::fmt;

/// The sum over all test programs of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// The names of the tests that failed, in order of appearance.
    pub(crate) failures: Vec<String>,
}

impl Counts {
    /// Takes one line of the output into account.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (
                words.next().and_then(|word| word.parse::<u64>().ok()),
                words.next(),
            ) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Why this run is no proof, if it is none.
    pub(crate) fn objection(&self) -> Option<String> {
        if self.failed > 0 {
            return Some(format!("{} tests failed", self.failed));
        }
        if self.passed == 0 {
            return Some("no test was executed".to_owned());
        }
        // Also an `ignore`d example of the documentation: what is not run is not shown to be true.
        (self.ignored > 0).then(|| format!("{} tests were ignored", self.ignored))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str) -> Counts {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn sums_over_programs() {
        let counts = count(
            "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.96s\n\
             test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 1.00s\n",
        );
        assert_eq!((counts.passed, counts.failed, counts.ignored), (41, 1, 2));
        assert_eq!(counts.failures, ["b::c"]);
        assert_eq!(counts.to_string(), "41 passed, 1 failed");
    }

    #[test]
    fn a_run_without_tests_is_no_proof() {
        let none = count(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0s",
        );
        assert_eq!(none.objection().as_deref(), Some("no test was executed"));
        assert!(count("").objection().is_some());
    }

    #[test]
    fn an_ignored_or_failed_test_is_an_objection() {
        let objection = |passed, failed, ignored| {
            Counts {
                passed,
                failed,
                ignored,
                failures: Vec::new(),
            }
            .objection()
            .is_some()
        };
        assert!(!objection(3, 0, 0));
        assert!(objection(3, 0, 1));
        assert!(objection(3, 1, 0));
    }

    #[test]
    fn other_lines_do_not_count() {
        assert_eq!(
            count("test result\nthe test result: ok. 5 passed\ntest x ... ok\n"),
            Counts::default()
        );
    }
}
