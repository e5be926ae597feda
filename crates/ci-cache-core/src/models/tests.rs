//! The test of the models: each is run again with a rule broken, and has to notice.

use std::process::Command;

use super::PLANTED;

/// Runs a model of this program with a rule broken.
///
/// # Panics
/// If the model does not end by a panic that says `symptom`.
pub(super) fn catches(model: &str, rule: &str, symptom: &str) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args([model, "--exact", "--nocapture"])
        .env(PLANTED, rule)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("running 1 test"), "{model} is no model: {said}");
    assert!(
        !output.status.success(),
        "{model} does not notice that {rule} is broken"
    );
    assert!(
        said.contains(symptom),
        "{model} with {rule} broken does not say {symptom:?} but: {said}"
    );
}
