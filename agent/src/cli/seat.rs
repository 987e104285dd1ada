//! Where somebody sits who asks for the status: what is around the command, as arguments.

use super::terminal::Terminal;
use crate::status::age::Moment;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing is wrong.
pub const READY: u8 = 0;
/// Something is, or is not there yet.
pub const DEGRADED: u8 = 1;
/// The command was not used rightly.
pub const USAGE: u8 = 2;
/// No agent runs, or its status is stale.
pub const NO_AGENT: u8 = 3;

/// The surroundings of a command.
pub struct Seat<'a> {
    /// Where the agent publishes.
    pub dir: PathBuf,
    /// The clock. An error ends the command.
    pub now: &'a dyn Fn() -> io::Result<Moment>,
    /// Waits.
    pub sleep: &'a dyn Fn(Duration),
    /// The terminal as it is now: windows change.
    pub terminal: &'a dyn Fn() -> Terminal,
    /// The home of the user who asks.
    pub home: Option<String>,
    /// The log-in name of the user who asks, as the session says; nothing rests on it but a better message.
    pub name: Option<String>,
    /// Whether root asks.
    pub is_root: bool,
}

impl std::fmt::Debug for Seat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("dir", &self.dir).field("is_root", &self.is_root).finish_non_exhaustive()
    }
}

impl Seat<'_> {
    /// This process's own.
    pub fn real(dir: &Path) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            dir: dir.to_owned(),
            now: &Moment::now,
            sleep: &std::thread::sleep,
            terminal: &Terminal::of_stdout,
            home: set("HOME"),
            name: set("USER").or_else(|| set("LOGNAME")),
            is_root: rustix::process::geteuid().is_root(),
        }
    }
}

/// The exit code of a command, which says what stopped it if something did: the clock, or a full disk.
pub fn exit(command: &str, result: io::Result<u8>) -> u8 {
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to be done when that cannot be written either.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("dsvm-agent {command}: {error}\n"));
            DEGRADED
        }
    }
}
