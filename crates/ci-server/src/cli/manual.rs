//! `ci-cache completions` and `ci-cache man`: made from the arguments, like the help.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::failure::Failure;
use super::output::Output;

pub(crate) fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ci-cache", &mut script);
    // clap_complete 4.6.11 writes the hyphen of a program's name in two ways in the script for bash, so that below the commands nothing
    // would be completed.
    let script = String::from_utf8_lossy(&script).replace("ci__subcmd__cache", "ci__cache");
    output.line(script.trim_end())
}

pub(crate) fn page(names: &[String], output: &mut Output) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let mut command = &program;
    for name in names {
        let found = command.get_subcommands().find(|known| known.get_name() == name);
        command = found.ok_or_else(|| {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            Failure::Input(format!(
                "find the command `{name}`: there are {}",
                known.join(", ")
            ))
        })?;
    }
    let title = std::iter::once("ci-cache").chain(names.iter().map(String::as_str));
    let title = title.collect::<Vec<_>>().join("-");
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(title)
        .render(&mut text)?;
    output.line(String::from_utf8_lossy(&text).trim_end())
}
