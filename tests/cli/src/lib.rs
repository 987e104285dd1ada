//! The cli ring: the real program, its text, its exit codes, and what it says about mistakes. Nothing here needs root,
//! and nothing touches the machine outside a temporary directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program under test: `DSVM_AGENT_BIN` if that is set, otherwise the one beside this test in the target
/// directory, after it was brought up to date.
///
/// # Panics
/// It cannot be built or found.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("DSVM_AGENT_BIN") {
            return given.into();
        }
        // target/PROFILE/deps/this-test
        let test = std::env::current_exe().expect("this test's own path");
        let profile = test.ancestors().nth(2).expect("a target directory");
        let target = profile.parent().expect("a target directory");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--package", "dsvm-agent", "--bin", "dsvm-agent", "--target-dir"]).arg(target);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // A program that was left over from an earlier build would be tested instead of this one.
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(built.success(), "dsvm-agent does not build");
        profile.join("dsvm-agent")
    })
}

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
