//! Pages that people read, taken apart for the tests that hold them to what is so.

use std::fs;
use std::path::{Path, PathBuf};

/// What a sentence may call.
const CALLED: [&str; 11] =
    ["apt-get", "az", "cargo", "cloud-init", "dsvm-agent", "gpg", "journalctl", "man", "sudo", "systemctl", "umount"];

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the repository.
///
/// # Panics
/// There is none.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a page that are marked as `kind`.
pub fn blocks(page: &str, kind: &str) -> Vec<String> {
    let parts: Vec<&str> = page.split("```").collect();
    let marked = parts.iter().skip(1).step_by(2).filter_map(|block| block.strip_prefix(kind)?.strip_prefix('\n'));
    marked.map(str::to_owned).collect()
}

/// What stands between backticks outside the fenced blocks.
pub fn spans(page: &str) -> Vec<String> {
    let prose: String = page.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
}

/// Every command of the page, in blocks and in sentences, without `sudo`.
pub fn commands(page: &str) -> Vec<String> {
    let lines = blocks(page, "sh").join("").lines().map(str::to_owned).collect::<Vec<_>>();
    let written = spans(page).into_iter().filter(|span| {
        let first = span.split(' ').next().unwrap_or_default();
        span.contains(' ') && CALLED.contains(&first)
    });
    lines.into_iter().chain(written).map(|line| line.trim_start_matches("sudo ").to_owned()).collect()
}
