//! `cargo xtask size`: what the package takes, in one table, each figure by the tool that knows it.

use crate::host::{self, Error, run};
use crate::{deb, program, unit};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What is measured beside the sizes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Also build the program from nothing, elsewhere, and say how long that took.
    #[arg(long)]
    build: bool,
}

/// Builds the package and prints the table.
///
/// # Errors
/// Something cannot be built or measured.
pub fn measure(options: &Options) -> Result<(), Error> {
    let package = deb::build(Path::new("dist"))?;
    let program = program::path();
    let mut rows = vec![
        ("to download", kibibytes(length(&package)?)),
        ("installed", kibibytes(installed(&package)? * 1024)),
        ("the program", kibibytes(length(&program)?)),
    ];
    let bill: Value = serde_json::from_str(&deb::bill(env!("CARGO_PKG_VERSION"))?)
        .map_err(|error| Error::Failed("the bill of materials".to_owned(), error.to_string()))?;
    let (inside, building) = crates(&bill);
    rows.push(("crates in the program", inside.to_string()));
    rows.push(("crates that only run while it is built", building.to_string()));
    rows.push(("systemd's exposure level", unit::check(&deb::target().join("size-unit"), &program)?));
    let lintian = run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "none", "--display-info", "--pedantic"])
        .arg(&package));
    rows.push(("lintian: errors, warnings, remarks", remarks(&lintian?)));
    if options.build {
        rows.push(("built from nothing, with everything at hand", seconds(from_nothing()?)));
    }
    print!("{}", table(&rows));
    Ok(())
}

fn length(path: &Path) -> Result<u64, Error> {
    host::at(path, std::fs::metadata(path)).map(|metadata| metadata.len())
}

/// What dpkg says that it takes on a disk, in KiB.
fn installed(package: &Path) -> Result<u64, Error> {
    let said = run(Command::new("dpkg-deb").arg("--field").arg(package).arg("Installed-Size"))?;
    said.trim().parse().map_err(|_| Error::Failed("Installed-Size".to_owned(), said))
}

/// How many components of the bill are in the program, and how many only help to build it.
fn crates(bill: &Value) -> (usize, usize) {
    let all = bill["components"].as_array().map_or(&[][..], Vec::as_slice);
    let inside = all.iter().filter(|component| component["scope"] == "required").count();
    (inside, all.len() - inside)
}

/// Counts lintian's lines by their first letter: E, W, and whatever is less.
fn remarks(said: &str) -> String {
    let count = |letters: &[&str]| said.lines().filter(|line| letters.iter().any(|l| line.starts_with(l))).count();
    format!("{}, {}, {}", count(&["E: "]), count(&["W: "]), count(&["I: ", "P: ", "X: "]))
}

/// Builds into an empty directory. What has to be downloaded is there already, since the package was built.
fn from_nothing() -> Result<Duration, Error> {
    let place = deb::target().join("from-nothing");
    deb::fresh_directory(&place)?;
    let began = Instant::now();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--locked", "--offline", "--package=dsvm-agent", "--target-dir"]).arg(&place);
    run(build.current_dir(deb::root()))?;
    let took = began.elapsed();
    host::at(&place, std::fs::remove_dir_all(&place))?;
    Ok(took)
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Two columns, as Markdown has them.
fn table(rows: &[(&str, String)]) -> String {
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or_default();
    let left = widest(&mut rows.iter().map(|(what, _)| what.chars().count()));
    let right = widest(&mut rows.iter().map(|(_, value)| value.chars().count()));
    let head = format!("| {:<left$} | {:>right$} |\n| {:-<left$} | {:->right$} |\n", "", "", "", ":");
    rows.iter().fold(head, |table, (what, value)| format!("{table}| {what:<left$} | {value:>right$} |\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_counted() {
        let bill = json!({"components": [{"scope": "required"}, {"scope": "excluded"}, {"scope": "required"}]});
        assert_eq!(crates(&bill), (2, 1));
        assert_eq!(remarks("W: x\nI: y\nP: z\nN: no tag\n"), "0, 1, 2");
        assert_eq!(kibibytes(1025), "2 KiB");
        let rows = [("a", "10 KiB".to_owned()), ("long", "7".to_owned())];
        assert_eq!(table(&rows), "|      |        |\n| ---- | -----: |\n| a    | 10 KiB |\n| long |      7 |\n");
    }
}
