//! The agent running in a sandbox.

use crate::sandbox::{Output, Sandbox};
use crate::wait::wait_for;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take here: this machine may be busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// `dsvm-agent run`, with a socket of its own that systemd would listen on.
#[derive(Debug)]
pub struct Agent<'a> {
    sandbox: &'a Sandbox,
    child: Child,
    told: Arc<Mutex<String>>,
    /// The launcher's process id in the sandbox.
    pub pid: u32,
}

impl<'a> Agent<'a> {
    pub(crate) fn start(sandbox: &'a Sandbox) -> Self {
        let socket = sandbox.path("/run/notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("a socket");
        let told = listen(notify);
        let _ = std::fs::remove_file(sandbox.path("/run/agent.pid"));
        let start = "echo $$ >/run/agent.pid.new; mv /run/agent.pid.new /run/agent.pid; \
                     NOTIFY_SOCKET=/run/notify exec dsvm-agent run >>/run/agent.log 2>&1";
        let child = sandbox.command("bash").args(["-c", start]).stdin(Stdio::null()).spawn().expect("nsenter runs");
        wait_for("the agent is started", SOON, || sandbox.exists("/run/agent.pid"));
        let pid = sandbox.read("/run/agent.pid").trim().parse().expect("a process id");
        Self { sandbox, child, told, pid }
    }

    /// What it logged, with what agents before it logged.
    pub fn log(&self) -> String {
        self.sandbox.read("/run/agent.log")
    }

    /// What it told systemd since this was asked last.
    pub fn told(&self) -> String {
        std::mem::take(&mut *self.told.lock().expect("nobody panics with it"))
    }

    /// Waits until it told systemd that it is ready.
    ///
    /// # Panics
    /// It does not say so.
    #[track_caller]
    pub fn wait_started(&self) {
        let mut told = String::new();
        wait_for("the agent says READY=1 to systemd", SOON, || {
            told.push_str(&self.told());
            told.contains("READY=1")
        });
    }

    /// Waits until the share and everybody's notebooks are there.
    ///
    /// # Panics
    /// They do not come.
    #[track_caller]
    pub fn wait_ready(&self) {
        let waited = self.sandbox.sh("dsvm-agent wait --timeout 60s");
        assert!(waited.success(), "{}{}\n{}", waited.out, waited.err, self.describe());
    }

    /// The status that root sees; nothing when there is none.
    pub fn status(&self) -> Value {
        let text = std::fs::read(self.sandbox.path("/run/dsvm-agent/status/full.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The codes of the present problems, each with whom it is about: `code` or `code:subject`.
    pub fn problems(&self) -> Vec<String> {
        let status = self.status();
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let both = problems.iter().map(|p| format!("{}:{}", text(&p["code"]), text(&p["subject"])));
        both.map(|p| p.trim_end_matches(':').to_owned()).collect()
    }

    /// Waits until this problem (`code` or `code:subject`) is there.
    ///
    /// # Panics
    /// It does not come.
    #[track_caller]
    pub fn wait_problem(&self, problem: &str) {
        let seen = std::cell::RefCell::new(Vec::new());
        let there = std::panic::Location::caller();
        let deadline = std::time::Instant::now() + SOON;
        while !seen.borrow().iter().any(|p| p == problem) {
            assert!(std::time::Instant::now() < deadline, "{there}: no {problem}, but {seen:?}\n{}", self.describe());
            std::thread::sleep(Duration::from_millis(50));
            *seen.borrow_mut() = self.problems();
        }
    }

    /// Waits until there is no problem.
    ///
    /// # Panics
    /// They stay.
    #[track_caller]
    pub fn wait_no_problem(&self) {
        wait_for("there is no problem", SOON, || self.status()["health"] == "ready" && self.problems().is_empty());
    }

    /// Waits for two passes that both began after this was asked.
    ///
    /// # Panics
    /// They do not come.
    #[track_caller]
    pub fn wait_looked(&self) {
        let number = |status: &Value| status["agent"]["pass"].as_u64().unwrap_or(0);
        let before = number(&self.status());
        // Anybody's question wakes it.
        wait_for("the agent looks again", SOON, || {
            self.sandbox.sh("dsvm-agent status");
            number(&self.status()) >= before + 2
        });
    }

    /// Sends a signal to the launcher alone.
    ///
    /// # Panics
    /// It is not there.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        self.sandbox.sh(&format!("kill -{signal} {}", self.pid)).ok();
    }

    /// The brain's process id in the sandbox.
    ///
    /// # Panics
    /// There is none.
    #[track_caller]
    pub fn brain(&self) -> u32 {
        let find = format!("pgrep --parent {} --full '^dsvm-agent brain'", self.pid);
        let mut pid = None;
        wait_for("the brain is there", SOON, || {
            pid = self.sandbox.sh(&find).out.parse().ok();
            pid.is_some()
        });
        pid.expect("it is there")
    }

    /// Ends it as systemd does, and returns its exit code.
    pub fn stop(self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end and returns its exit code.
    pub fn wait(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().expect("it can be waited for");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Everything that tells why something is not as it should be.
    pub fn describe(&self) -> String {
        let Output { out, err, .. } = self.sandbox.sh("dsvm-agent status");
        format!("status:\n{out}{err}\nlog:\n{}", self.log())
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.sandbox.sh(&format!("kill -KILL {}", self.pid));
            let _ = self.child.wait();
        }
    }
}

/// Reads what comes, as systemd does all the time, and ends with the one who wants to know it.
fn listen(socket: UnixDatagram) -> Arc<Mutex<String>> {
    let told = Arc::new(Mutex::new(String::new()));
    let here = Arc::downgrade(&told);
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Some(told) = here.upgrade() {
            if let Ok(n) = socket.recv(&mut buffer) {
                let mut told = told.lock().expect("nobody panics with it");
                told.push_str(&String::from_utf8_lossy(&buffer[..n]));
                told.push('\n');
            }
        }
    });
    told
}
