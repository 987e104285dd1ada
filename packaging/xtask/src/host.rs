//! The machine that runs a task: its packages, its commands, its archive.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{getegid, geteuid};
use vm::cache::{self, Lock};

/// What booting guests takes, by Debian package.
const GUESTS: &[&str] = &["genisoimage", "ipxe-qemu", "openssh-client", "qemu-system-x86", "qemu-utils", "seabios"];

/// Why a task did not get through.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A command could not be started.
    Start(String, io::Error),
    /// A command failed; the second part is what it said, unless it said it to the terminal.
    Failed(String, String),
    /// Something is missing; the sentence says what brings it.
    Missing(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Start(command, error) => write!(f, "cannot start {command}: {error}"),
            Self::Failed(command, output) if output.is_empty() => write!(f, "{command} failed"),
            Self::Failed(command, output) => write!(f, "{command} failed:\n{output}"),
            Self::Missing(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Error {}

/// Puts the path into the error of something that was done to a file.
pub fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::File(path.to_owned(), error))
}

/// Runs a command to its end and returns what it printed. What it said goes into the error.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::Start(words(command), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    // The cause stands at the end, and an installer says a lot before.
    let tail = lines[lines.len().saturating_sub(60)..].join("\n");
    Err(Error::Failed(words(command), tail))
}

/// Runs a command to its end and lets it speak to the terminal.
pub fn stream(mut command: Command) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| Error::Start(words(&command), error))?;
    if status.success() { Ok(()) } else { Err(Error::Failed(words(&command), String::new())) }
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let mut line = words.join(" ");
    if line.len() > 300 {
        line.truncate(line.floor_char_boundary(300));
        line.push('…');
    }
    line
}

/// A command that runs as root: by sudo if this is somebody else.
pub fn as_root(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Who runs the task, as chown(1) takes it.
pub fn owner() -> String {
    format!("{}:{}", geteuid().as_raw(), getegid().as_raw())
}

/// Says what is being done, does it, and says how long it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    eprintln!("{what} …");
    let start = Instant::now();
    let result = work()?;
    eprintln!("{what}: done in {}", seconds(start.elapsed()));
    Ok(result)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Installs the Debian packages that are not there.
pub fn packages(names: &[&str]) -> Result<(), Error> {
    let missing = || names.iter().copied().filter(|name| installed(name).is_none()).collect::<Vec<&str>>();
    if missing().is_empty() {
        return Ok(());
    }
    // apt-get refuses to run while another one does, as what is made ahead of the guests may have it do.
    let lock = cache::directory().join("apt.lock");
    let _lock = at(&lock, Lock::exclusive(&lock))?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if run(Command::new("apt-get").arg("--version")).is_err() {
        return Err(Error::Missing(format!(
            "missing here: {}. Those are Debian's names; there is no apt-get to install them with.",
            missing.join(" ")
        )));
    }
    timed(&format!("installing {}", missing.join(" ")), || {
        run(as_root("apt-get").arg("update"))?;
        let mut wanted: Vec<String> = missing.iter().map(|name| (*name).to_owned()).collect();
        wanted.extend(matching_qemu(&missing));
        let mut install = as_root("env");
        install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"]);
        install.arg("--allow-downgrades").args(&wanted);
        run(&mut install).map(drop).map_err(|error| {
            let root = if geteuid().is_root() { "" } else { "sudo " };
            Error::Missing(format!("{error}\nBy hand: {root}apt-get install --allow-downgrades {}", wanted.join(" ")))
        })
    })
}

/// The parts of QEMU come from one source and refuse each other's versions. A machine that got one part from backports
/// needs the version that fits the others, and apt does not find that by itself.
fn matching_qemu(missing: &[&str]) -> Vec<String> {
    if !missing.contains(&"qemu-system-x86") {
        return Vec::new();
    }
    let Some(version) = candidate("qemu-system-x86") else { return Vec::new() };
    ["qemu-utils", "qemu-system-common", "qemu-system-data"]
        .iter()
        .filter(|part| installed(part).is_some_and(|other| other != version))
        .map(|part| format!("{part}={version}"))
        .collect()
}

fn installed(package: &str) -> Option<String> {
    let format = "--showformat=${db:Status-Status} ${Version}";
    let state = run(Command::new("dpkg-query").args(["--show", format, package])).ok()?;
    state.strip_prefix("installed ").map(str::to_owned)
}

fn candidate(package: &str) -> Option<String> {
    let policy = run(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package])).ok()?;
    policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).map(str::to_owned)
}

/// Installs what booting guests takes.
pub fn guests() -> Result<(), Error> {
    packages(GUESTS)
}

/// Whether a program is on the path.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// The address of Debian's archive that this machine's own package sources use.
pub fn debian_archive() -> Result<String, Error> {
    if let Ok(named) = std::env::var("DSVM_DEBIAN_ARCHIVE") {
        return Ok(named);
    }
    let listed = || {
        let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)";
        run(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))
    };
    let mut targets = listed()?;
    if !targets.contains('|') {
        run(as_root("apt-get").arg("update"))?;
        targets = listed()?;
    }
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|main|"))
        .map(|address| address.trim_end_matches('/').to_owned())
        .ok_or_else(|| {
            Error::Missing(
                "this machine's package sources name no archive of Debian: \
                 set DSVM_DEBIAN_ARCHIVE to the address of one"
                    .to_owned(),
            )
        })
}
