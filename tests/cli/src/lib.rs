//! The cli ring: the real program, its text, its exit codes, and what it says about mistakes. Nothing here needs root,
//! and nothing touches the machine outside a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use namespaces::program;

pub mod page;

/// What a run of the program gave.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `command` to its end.
///
/// # Panics
/// It cannot be started, was killed, or wrote what is no text.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.output().expect("the program starts");
    Outcome {
        code: output.status.code().expect("the program ends by itself"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A temporary directory with a configuration in it, which everybody can read and only its owner can write.
#[derive(Debug)]
pub struct Configuration {
    directory: tempfile::TempDir,
}

impl Configuration {
    /// Writes `files`, by their names below the directory, such as `agent.d/10-team.toml`.
    ///
    /// # Panics
    /// The temporary directory cannot be written.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a change of mode");
        };
        open(directory.path(), 0o755);
        for (name, text) in files {
            let path = directory.path().join(name);
            let parent = path.parent().expect("a parent");
            fs::create_dir_all(parent).expect("a directory");
            open(parent, 0o755);
            fs::write(&path, text).expect("a file");
            open(&path, 0o644);
        }
        Self { directory }
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `text` without the name of the directory, which differs from run to run.
    pub fn without_directory(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}
