//! The help of every command as one Markdown text, for the documentation.

use std::fmt::Write as _;

use clap::CommandFactory;

use super::args::Cli;

/// Columns that the help is wrapped at.
const WIDTH: usize = 100;

/// Gives the help of the program and of each of its commands, as Markdown.
pub fn reference() -> String {
    let mut text = String::new();
    let mut program = Cli::command().term_width(WIDTH);
    program.build();
    section(&mut text, &mut program, "ci-cache");
    let names: Vec<String> = program
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .filter(|name| name != "help")
        .collect();
    for name in names {
        if let Some(command) = program.find_subcommand_mut(&name) {
            section(&mut text, command, &format!("ci-cache {name}"));
        }
    }
    text
}

fn section(text: &mut String, command: &mut clap::Command, title: &str) {
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    // Writing into a text cannot fail.
    let _ = writeln!(
        text,
        "### {title}\n\n```text\n{}\n```\n",
        help.join("\n").trim_end()
    );
}
