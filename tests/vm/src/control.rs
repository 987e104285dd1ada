//! The control channel: commands as root in a guest, over a server that only tests know.
//!
//! It bypasses PAM and opens no session, so nobody seems to be logged in because of it, and it is there before people
//! may log in and until the very end of a shutdown.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::qemu::{bound, spawn};
use crate::wait::until;

/// What a command in a guest came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, as it was given.
    pub command: String,
    /// Its exit status. 124: it did not end in time. 255: the channel itself failed.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    raw: Vec<u8>,
}

impl Output {
    /// What it printed, without the last line's end, if it succeeded.
    ///
    /// # Panics
    /// If it failed, with all that it said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "{self}");
        self.stdout.trim_end_matches('\n').to_owned()
    }

    /// What it complained of, if it failed.
    ///
    /// # Panics
    /// If it succeeded, or did not end in time, or never ran.
    #[track_caller]
    pub fn fails(self) -> String {
        assert!(!matches!(self.status, 0 | 124 | 255), "this was to fail: {self}");
        self.stderr.trim_end_matches('\n').to_owned()
    }

    /// Whether it succeeded.
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Whether it did not end in time.
    pub fn timed_out(&self) -> bool {
        self.status == 124
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.raw
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.status {
            124 => "did not end in time".to_owned(),
            255 => "255 (the guest did not answer?)".to_owned(),
            status => status.to_string(),
        };
        write!(f, "`{}`: {why}\nstdout: {}\nstderr: {}", self.command, self.stdout.trim(), self.stderr.trim())
    }
}

/// One guest's control channel: a connection that stays, and commands over it.
#[derive(Debug)]
pub(crate) struct Control {
    socket: PathBuf,
    key: PathBuf,
    port: u16,
    master: Option<Child>,
}

impl Control {
    /// To the guest behind a port of this machine. Nothing is connected yet.
    pub fn new(directory: &Path, key: PathBuf, port: u16) -> Self {
        Self { socket: directory.join("control"), key, port, master: None }
    }

    fn ssh(&self, mut command: Command) -> Command {
        command.args(["-F", "none", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=4", "-o", "IdentitiesOnly=yes"]);
        command.args(["-p", &self.port.to_string(), "-i"]).arg(&self.key);
        command.arg("-S").arg(&self.socket);
        command
    }

    /// Connects, however often it takes.
    pub fn connect(&mut self, timeout: Duration) -> io::Result<()> {
        let connected = until(timeout, || self.try_connect().unwrap_or(false));
        if connected {
            return Ok(());
        }
        Err(io::Error::other(format!("the guest's control channel did not answer within {} s", timeout.as_secs())))
    }

    fn try_connect(&mut self) -> io::Result<bool> {
        self.disconnect();
        let mut master = self.ssh(bound("ssh"));
        master.args(["-M", "-N", "root@127.0.0.1"]);
        self.master = Some(spawn(quiet(master))?);
        // The socket is made when the log-in is through.
        let settled = until(Duration::from_secs(10), || self.socket.exists() || !self.is_connected());
        Ok(settled && self.is_connected())
    }

    fn is_connected(&mut self) -> bool {
        self.master.as_mut().is_some_and(|master| matches!(master.try_wait(), Ok(None)))
    }

    /// Ends the connection.
    pub fn disconnect(&mut self) {
        if let Some(mut master) = self.master.take() {
            let _ = master.kill();
            let _ = master.wait();
        }
        let _ = fs::remove_file(&self.socket);
    }

    /// Gives whoever sits at the terminal a shell of root's, until they leave it.
    pub fn shell(&self) -> io::Result<()> {
        let mut command = self.ssh(Command::new("ssh"));
        command.args(["-t", "root@127.0.0.1"]).status().map(drop)
    }

    /// Carries connections to a port of the guest's loopback to one of this machine's, as long as the channel stays.
    pub fn forward(&self, guest: u16, here: u16) -> io::Result<()> {
        let mut command = self.ssh(Command::new("ssh"));
        command.args(["-O", "forward", "-R", &format!("127.0.0.1:{guest}:127.0.0.1:{here}"), "root@127.0.0.1"]);
        let status = quiet(command).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("the channel forwards nothing")) }
    }

    /// Runs a line of shell as root.
    pub fn run(&self, line: &str, input: &[u8], within: Duration) -> io::Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=2", &format!("{:.1}", within.as_secs_f64()), "ssh"]);
        let mut command = self.ssh(command);
        command.args(["root@127.0.0.1", line]);
        // Files, not pipes: the connection's own process holds the command's descriptors as long as the command runs in
        // the guest, and waiting for the end of a pipe would be waiting for a command that hangs.
        let (mut stdin, mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?, tempfile::tempfile()?);
        stdin.write_all(input)?;
        stdin.rewind()?;
        let child = command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).status()?;
        let (mut raw, mut complaints) = (Vec::new(), Vec::new());
        for (file, bytes) in [(&mut stdout, &mut raw), (&mut stderr, &mut complaints)] {
            file.rewind()?;
            file.read_to_end(bytes)?;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = match child.code() {
            // timeout(1) kills itself with the signal that it had to use at last.
            None | Some(137) => 124,
            Some(code) => code,
        };
        let (stdout, stderr) = (text(&raw), text(&complaints));
        Ok(Output { command: line.to_owned(), status, stdout, stderr, raw })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A word that the shell takes as it is.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
