//! `cargo xtask manual`: the manual pages and the completions of shells.
//!
//! The pages in `packaging/man` are written by hand but for what the code knows: each `@WORD@` there, on a line of its
//! own, is replaced by text made from it. So a command, a setting or a problem is described in one place only.

use crate::host::{self, Error, at, run};
use clap::CommandFactory;
use clap_complete::Shell;
use dsvm_agent::cli::arguments::Arguments;
use dsvm_agent::cli::log::limit;
use dsvm_agent::problem::registry::PROBLEMS;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod command;
mod idle;
mod problems;
mod roff;
mod settings;

/// The pages, each with its section as the end of its name.
pub const PAGES: &[&str] = &["dsvm-agent.1", "dsvm-agent.toml.5", "dsvm-agent-idle.7", "dsvm-agent-problems.7"];

/// What each shell's completions are called where the distribution looks for them.
pub const COMPLETIONS: &[(Shell, &str)] =
    &[(Shell::Bash, "dsvm-agent"), (Shell::Zsh, "_dsvm-agent"), (Shell::Fish, "dsvm-agent.fish")];

/// What checking takes, by Debian package.
const HOST_PACKAGES: &[&str] = &["bash", "fish", "groff", "man-db", "mandoc", "zsh"];

/// Writes all pages to `out`, and the completions to a directory below it for each shell. `date` is the pages' own.
///
/// # Errors
/// A page has a word that nothing is known for, or a file cannot be read or written.
pub fn write(out: &Path, root: &Path, version: &str, date: &str) -> Result<(), Error> {
    at(out, fs::create_dir_all(out))?;
    for name in PAGES {
        let path = root.join("packaging/man").join(name);
        let page = fill(&at(&path, fs::read_to_string(&path))?, &values(root, version, date)?);
        if let Some(word) = left(&page) {
            return Err(Error::Failed(path.display().to_string(), format!("nothing is known for {word}")));
        }
        at(out, fs::write(out.join(name), page))?;
    }
    let program = command::without_hidden(&Arguments::command());
    for (shell, name) in COMPLETIONS {
        let directory = out.join(shell.to_string());
        at(&directory, fs::create_dir_all(&directory))?;
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut program.clone(), "dsvm-agent", &mut text);
        at(&directory, fs::write(directory.join(name), text))?;
    }
    Ok(())
}

/// Makes everything and holds it to what its readers say: no page is rendered with a warning, and every shell can read
/// its completions.
///
/// # Errors
/// One of them complains.
pub fn check(out: &Path, root: &Path) -> Result<(), Error> {
    host::packages(HOST_PACKAGES)?;
    write(out, root, env!("CARGO_PKG_VERSION"), "2026-01-01")?;
    for name in PAGES {
        let page = out.join(name);
        silent(Command::new("groff").args(["-ww", "-z", "-k", "-t", "-man", "-Tutf8"]).arg(&page))?;
        silent(Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&page))?;
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file", "--troff-device=utf8", "--ditroff"]);
        silent(man.arg(&page).env("LC_ALL", "C.UTF-8").env("MANROFFSEQ", "").env("MANWIDTH", "80"))?;
    }
    for (shell, name) in COMPLETIONS {
        let file = out.join(shell.to_string()).join(name);
        silent(Command::new(shell.to_string()).arg("-n").arg(&file))?;
    }
    Ok(())
}

/// Runs a command that says nothing to standard error when all is well.
fn silent(command: &mut Command) -> Result<(), Error> {
    let said = command.output().map_err(|error| Error::Start(format!("{command:?}"), error))?;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    // mandoc(1) speaks on standard output, and only then fails.
    let words = if said.status.success() { words } else { words + &String::from_utf8_lossy(&said.stdout) };
    if said.status.success() && words.is_empty() { Ok(()) } else { Err(Error::Failed(format!("{command:?}"), words)) }
}

/// The day of a time in seconds since 1970, as the pages are dated.
///
/// # Errors
/// date(1) does not know it.
pub fn day(epoch: &str) -> Result<String, Error> {
    Ok(run(Command::new("date").args(["--utc", "+%Y-%m-%d", &format!("--date=@{epoch}")]))?.trim().to_owned())
}

fn values(root: &Path, version: &str, date: &str) -> Result<Vec<(&'static str, String)>, Error> {
    let program = Arguments::command();
    let example: PathBuf = root.join("packaging/deb/agent.toml");
    let example = at(&example, fs::read_to_string(&example))?;
    let problems = problems::problems(PROBLEMS)
        .map_err(|missing| Error::Failed("dsvm-agent-problems.7".to_owned(), format!("there is no {missing}")))?;
    let mut values = vec![
        ("@DATE@", date.to_owned()),
        ("@VERSION@", roff::escape(version)),
        ("@COMMANDS@", command::commands(&program)),
        ("@OPTIONS@", command::options(&program)),
        ("@SETTINGS@", settings::settings(&example)),
        ("@PROBLEMS@", problems),
        ("@LINES@", limit::BURST.to_string()),
        ("@LINESAMINUTE@", (60.0 / limit::EACH.as_secs_f64()).to_string()),
    ];
    values.extend(idle::values(&settings::section(&example, "idle")));
    Ok(values)
}

/// A word in the title stays in its line; one on a line of its own is replaced with the line.
fn fill(page: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(page.to_owned(), |page, (word, text)| {
        let line = format!("\n{word}\n");
        page.replace(&line, &format!("\n{}\n", text.trim_end())).replace(word, text)
    })
}

/// A word that was not replaced.
fn left(page: &str) -> Option<&str> {
    page.split(char::is_whitespace).map(|word| word.trim_matches('"')).find(|word| {
        let inner = word.strip_prefix('@').and_then(|word| word.strip_suffix('@')).unwrap_or_default();
        !inner.is_empty() && inner.chars().all(|c| c.is_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_and_one_that_is_left_is_named() {
        let values = [("@DATE@", "2026-01-02".to_owned()), ("@COMMANDS@", ".TP\na\n".to_owned())];
        let page = fill(".TH X 1 \"@DATE@\"\n.SH C\n@COMMANDS@\n.SH D\n@MORE@\n", &values);
        assert_eq!(page, ".TH X 1 \"2026-01-02\"\n.SH C\n.TP\na\n.SH D\n@MORE@\n");
        assert_eq!(left(&page), Some("@MORE@"));
        assert_eq!(left("mail@example.com and names or @groups"), None);
    }
}
