//! A machine made of namespaces.

use crate::agent::Agent;
use crate::program::program;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SETUP: &str = include_str!("setup.sh");

/// Where the share lies in every sandbox: a file system of its own.
pub const SHARE: &str = "/srv/share";
/// The mount point of [`Sandbox::configure`].
pub const MOUNT_POINT: &str = "/srv/data";

/// What a command gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 and the signal's number if one ended it.
    pub code: i32,
    /// Standard output without the last line's end.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Output {
    /// Standard output of a command that has to succeed.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "it failed: {}{}", self.out, self.err);
        &self.out
    }

    /// Standard error of a command that has to fail.
    ///
    /// # Panics
    /// It succeeded.
    #[track_caller]
    pub fn fails(&self) -> &str {
        assert_ne!(self.code, 0, "it did not fail: {}{}", self.out, self.err);
        &self.err
    }

    /// Whether it succeeded.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// Private mount, process, network and host-name namespaces with a machine's `/etc`, users, homes and share. It ends
/// with this value, or with the process that made it.
#[derive(Debug)]
pub struct Sandbox {
    /// `unshare`: everything in the namespaces ends with it.
    outer: Child,
    /// The first process in the namespaces, as it is seen from outside.
    first: u32,
}

impl Sandbox {
    /// A new machine, or nothing, which is said, when this process is not root's.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this needs root, for namespaces: {name}");
            return None;
        }
        Some(Self::make(name, None, None))
    }

    /// The same with a directory of this machine's at `/run/tools`, which cannot be written in there.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn with_tools(name: &str, tools: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return Self::new(name);
        }
        Some(Self::make(name, None, Some(tools)))
    }

    /// Another machine with the same share. To be called before an agent runs on this one, whose mounts it would get.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn another(&self, name: &str) -> Self {
        Self::make(name, Some(self), None)
    }

    fn make(name: &str, with_share_of: Option<&Self>, tools: Option<&Path>) -> Self {
        let mut command = match with_share_of {
            None => Command::new("unshare"),
            Some(other) => {
                let mut command = Command::new("nsenter");
                command.args([&format!("--mount=/proc/{}/ns/mnt", other.first), "--", "unshare"]);
                command
            }
        };
        let program = match with_share_of {
            None => program(),
            Some(_) => Path::new("/run/bin/dsvm-agent"),
        };
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "--mount-proc"]);
        command.args(["--propagation", "private", "--", "bash", "-c", SETUP, "setup"]).arg(program).arg(name);
        command.arg(if with_share_of.is_some() { "shared" } else { "alone" });
        command.arg(tools.unwrap_or(Path::new("")));
        // Its standard input ends with this process, however that ends, and then so does the machine.
        let mut outer = clean(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut line = String::new();
        BufReader::new(outer.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "the sandbox cannot be made: see above");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let first = fs::read_to_string(&children).expect(&children).trim().parse().expect("one child");
        Self { outer, first }
    }

    /// Where a file of the machine is seen from outside.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new(&format!("/proc/{}/root", self.first)).join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Does something in the machine's network, from outside. Sockets that are made there, and threads, stay there.
    ///
    /// # Panics
    /// This process is not root's, or `work` panics.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.first)).expect("a network namespace");
        // A thread changes its own namespace only.
        let thread = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(kind)).expect("root");
            work()
        });
        thread.join().expect("it is done")
    }

    /// Listens on the machine's own loopback address, from outside.
    ///
    /// # Panics
    /// Something else listens there.
    pub fn listen(&self, port: u16) -> std::net::TcpListener {
        self.inside(move || std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port"))
    }

    /// A command that will run on the machine as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--target={}", self.first), "--mount", "--pid", "--net", "--uts", "--ipc", "--wd=/"]);
        command.args(["--", program]);
        clean(&mut command);
        command
    }

    /// Runs a shell's commands as root, to their end.
    ///
    /// # Panics
    /// The shell cannot be started.
    pub fn sh(&self, commands: &str) -> Output {
        output(self.command("bash").args(["-c", commands]))
    }

    /// Runs a shell's commands as `user`, in their home, to their end.
    ///
    /// # Panics
    /// The shell cannot be started.
    pub fn as_user(&self, user: &str, commands: &str) -> Output {
        output(&mut self.command_as(user, commands))
    }

    /// Starts a shell's commands as `user` and leaves them to themselves. They end with the value, or the machine.
    ///
    /// # Panics
    /// The shell cannot be started.
    pub fn spawn_as(&self, user: &str, commands: &str) -> Process {
        let mut command = self.command_as(user, commands);
        Process(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("nsenter runs"))
    }

    /// A terminal of `user`'s on which a program reads what is typed and shows nothing. What appears on it is in
    /// [`Typist::screen`].
    ///
    /// # Panics
    /// It cannot be started, or does not come.
    #[track_caller]
    pub fn terminal(&self, user: &str) -> Typist<'_> {
        let screen = format!("/tmp/screen-{user}");
        let shell = "stty -echo; tty; exec cat >/dev/null";
        let process = self.spawn_as(user, &format!("exec script --quiet --flush --command '{shell}' {screen}"));
        let typist = Typist { sandbox: self, process, screen };
        crate::wait_for("a terminal is there", crate::SOON, || typist.screen().contains("/dev/pts/"));
        typist
    }

    fn command_as(&self, user: &str, commands: &str) -> Command {
        let mut command = self.command("bash");
        let enter = "exec setpriv --reuid \"$1\" --regid \"$(id -g -- \"$1\")\" --init-groups --reset-env \
                     bash -c 'PATH=/run/bin:$PATH; cd 2>/dev/null; '\"$2\"";
        command.args(["-c", enter, "as-user", user, commands]);
        command
    }

    /// Makes a user with a home.
    ///
    /// # Panics
    /// It cannot be made.
    #[track_caller]
    pub fn user(&self, name: &str) {
        self.sh(&format!("useradd --create-home --shell /bin/bash '{name}'")).ok();
    }

    /// Writes a file as root's, over what is there.
    ///
    /// # Panics
    /// It cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        // As tools do: whoever reads it sees the old one or the new one.
        let new = path.with_extension("new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, &path).expect("a rename");
    }

    /// Reads a file.
    ///
    /// # Panics
    /// It cannot be read as text.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect(path)
    }

    /// Whether something is there, a link that leads nowhere included.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// The names in a directory, in order.
    ///
    /// # Panics
    /// It cannot be listed.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).expect(path);
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes the agent's configuration.
    pub fn config(&self, text: &str) {
        self.write("/etc/dsvm-agent/agent.toml", text);
    }

    /// Configures [`SHARE`] on [`MOUNT_POINT`], and `more`.
    pub fn configure(&self, more: &str) {
        self.config(&format!("[share]\nsource = \"{SHARE}\"\nmount_point = \"{MOUNT_POINT}\"\n{more}"));
    }

    /// Starts the agent and leaves it running.
    pub fn agent_start(&self) -> Agent<'_> {
        Agent::start(self)
    }

    /// One round of the agent.
    pub fn run_once(&self) -> Output {
        self.sh("dsvm-agent run --once")
    }

    /// Puts a file system at `path` that never answers, until the value ends; nothing, which is said, where this kernel
    /// has none (FUSE).
    ///
    /// # Panics
    /// It cannot be mounted.
    pub fn silence(&self, path: &str) -> Option<Process> {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("SKIPPED: there is no /dev/fuse to make {path} silent with");
            return None;
        }
        let _ = fs::remove_file(self.path("/run/silent"));
        // Whoever asks waits for the first word of a server that there is none of.
        let options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other";
        let process = self.spawn_as(
            "root",
            &format!(
                "exec 3<>/dev/fuse && mount -i -t fuse -o {options} silent {path} && echo >/run/silent; read -r _"
            ),
        );
        crate::wait_for("a file system is silent", crate::SOON, || self.exists("/run/silent"));
        Some(process)
    }

    /// Whether the agent has `directory` (of the share) mounted for its user.
    pub fn is_mounted(&self, directory: &str) -> bool {
        let target = format!(" {MOUNT_POINT}/{directory} ");
        self.mounts().lines().any(|line| line.contains(&target))
    }

    /// The machine's mounts (proc(5), mountinfo).
    pub fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.first)).expect("mountinfo")
    }

    /// Runs a command of `userdel(8)` or `usermod(8)`, again while that refuses because a process runs as the user: a
    /// helper of the agent is at work in their home for some milliseconds, and administrators then try again.
    pub fn change_user(&self, command: &str) {
        let mut last = None;
        let mut changed = || {
            let tried = self.sh(command);
            let busy = tried.err.contains("currently used by process");
            last = Some(tried);
            !busy
        };
        crate::wait_for("no helper is at work as the user", crate::SOON, &mut changed);
        last.expect("it was tried").ok();
    }

    /// What the log-in hook does when somebody logs in by SSH.
    pub fn log_in(&self, user: &str) -> Output {
        self.sh(&format!("PAM_TYPE=open_session PAM_SERVICE=sshd PAM_USER='{user}' dsvm-agent login-hook"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// Somebody at a terminal. They are gone with this value.
#[derive(Debug)]
pub struct Typist<'a> {
    sandbox: &'a Sandbox,
    process: Process,
    screen: String,
}

impl Typist<'_> {
    /// They type this.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn types(&mut self, text: &str) {
        self.process.say(text);
    }

    /// All that appeared on the terminal.
    pub fn screen(&self) -> String {
        if self.sandbox.exists(&self.screen) { self.sandbox.read(&self.screen) } else { String::new() }
    }

    /// Refuses others' messages, or allows them again (mesg(1)).
    ///
    /// # Panics
    /// It cannot be changed.
    pub fn mesg(&self, yes: bool) {
        let name = self.screen().lines().find(|l| l.starts_with("/dev/pts/")).map(|l| l.trim().to_owned());
        let mode = if yes { "g+w" } else { "g-w" };
        self.sandbox.sh(&format!("chmod {mode} {}", name.expect("a terminal"))).ok();
    }
}

/// A user's process. It ends with this value.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Writes to its standard input.
    ///
    /// # Panics
    /// It does not take it.
    pub fn say(&mut self, text: &str) {
        let input = self.0.stdin.as_mut().expect("a pipe");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("it reads");
    }

    /// Ends its standard input and waits for its end.
    pub fn finish(mut self) -> i32 {
        drop(self.0.stdin.take());
        self.0.wait().ok().and_then(|s| s.code()).unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nsenter passes no signal on, so its child is ended first. It is gone when it ended by itself.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|p| rustix::process::Pid::from_raw(p.parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing of this machine's environment comes along.
fn clean(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .env("PATH", "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
}

fn output(command: &mut Command) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let output = command.stdin(Stdio::null()).output().expect("nsenter runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Output { code, out: text(output.stdout), err: text(output.stderr) }
}
