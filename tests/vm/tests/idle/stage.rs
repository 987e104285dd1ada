//! A guest on which one situation after the other is staged, watched and recorded.

use std::time::Duration;

use namespaces::recordings::{self, Way};
use serde_json::Value;
use vm::{Guest, Output, Scenario, Service, quoted, wait_for};

/// What takes a window or two.
pub const SOON: Duration = Duration::from_secs(90);
/// Longer than the quiet time.
pub const LONG: Duration = Duration::from_secs(240);
/// Longer than anything takes that comes in the end.
const PATIENT: Duration = Duration::from_secs(900);
/// The quiet time, in seconds.
pub const QUIET: f64 = 60.0;
/// Longer than that, in seconds, with what a look may be late.
const WATCHED: f64 = QUIET + 8.0;
/// The shortest windows that configuration takes.
const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\n[idle.tuning]\nsample = \"5s\"\nwindow = \"15s\"\n";
const SHARE: &str =
    "[share]\nsource = \"/srv/share\"\nmount_point = \"/datamnt/dsvmshare\"\n[share.directory]\nlocal = true\n";
/// What people do.
pub const ACT: &str = "python3 -S /usr/local/lib/act.py";
const SSH: &str = "-q -i /root/person_key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";

/// The guest, and what is known of it.
pub struct Stage {
    /// The guest.
    pub guest: Guest,
}

/// One situation.
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What its user is called: in most of them as it is.
    who: &'static str,
    /// Whose; nobody's in particular for what the system does.
    pub uid: Option<u32>,
    source: &'static str,
    /// When it began, by the boot-time clock.
    pub began: f64,
}

impl Stage {
    /// A guest with the shortest windows, watched from now on.
    pub fn new(name: &str) -> Self {
        Self::on(Scenario::new(name).agent_vm("vm1", Service::Running))
    }

    /// The same on a guest that is there.
    pub fn on(guest: Guest) -> Self {
        guest.sh("mkdir -p /srv/share /etc/dsvm-agent/agent.d");
        guest.put(include_str!("../../../namespaces/tests/recordings/act.py"), "/usr/local/lib/act.py", 0o644);
        guest.put(include_str!("edit.py"), "/usr/local/lib/edit.py", 0o644);
        guest.put(include_str!("observe.py"), "/usr/local/lib/observe.py", 0o644);
        guest.put(SHARE, "/etc/dsvm-agent/agent.toml", 0o644);
        guest.put(SHORT, "/etc/dsvm-agent/agent.d/short.toml", 0o644);
        let stage = Self { guest };
        stage.guest.sh("systemctl restart dsvm-agent");
        stage.begin_for_good("observer", "python3 -S /usr/local/lib/observe.py");
        stage.guest.wait_ready();
        stage
    }

    /// Puts a file of settings in force.
    pub fn configure(&self, name: &str, text: &str) {
        self.guest.put(text, &format!("/etc/dsvm-agent/agent.d/{name}.toml"), 0o644);
        self.guest.sh("systemctl reload dsvm-agent");
    }

    /// Something of the system's, until it is stopped.
    pub fn begin_for_good(&self, unit: &str, line: &str) {
        self.guest.sh(&format!("systemd-run --quiet --collect --unit={unit} sh -c {}", quoted(line)));
    }

    /// What somebody does who comes over SSH from another address than the loopback's.
    pub fn over_ssh(&self, user: &str, line: &str) -> Output {
        self.guest.ssh(&format!("ssh {SSH} {user}@{} {}", self.guest.address(), quoted(line)))
    }

    /// The command of somebody at a terminal, for a unit or a pipe.
    pub fn at_terminal(&self, user: &str, line: &str) -> String {
        let line = if line.is_empty() { String::new() } else { quoted(line) };
        format!("ssh -tt {SSH} {user}@{} {line}", self.guest.address())
    }

    /// The command that copies a file to somebody, at so many kbit/s.
    pub fn copy(&self, file: &str, user: &str, rate: u32) -> String {
        format!("scp -l {rate} {SSH} {file} {user}@{}:copy", self.guest.address())
    }

    /// Waits for what takes minutes where Python is emulated: for the success of a line that it tries now and then.
    #[track_caller]
    pub fn patiently(&self, line: &str) {
        let tried = self.guest.ssh_within(&format!("until {line}; do sleep 2; done"), PATIENT);
        assert!(tried.success(), "waited for this: {line}: {tried}");
    }

    /// The boot-time clock.
    pub fn now(&self) -> f64 {
        self.guest.sh("cut -d' ' -f1 /proc/uptime").parse().expect("a number")
    }

    /// What the agent says.
    pub fn idle(&self) -> Value {
        serde_json::from_str(&self.guest.ssh("dsvm-agent idle --json").stdout).unwrap_or_default()
    }

    /// Waits for something that the agent says.
    #[track_caller]
    pub fn wait_said(&self, what: &str, within: Duration, is: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let said = self.idle();
            if is(&said) {
                println!("{:8.1}  {what}", self.now());
                return said;
            }
            assert!(began.elapsed() < within, "waited for this: {what}: {said:#}\n{}", self.verdicts());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Waits until it is idle, and due.
    #[track_caller]
    pub fn wait_due(&self) -> Value {
        self.wait_said("it is idle, and due", LONG, |said| said["leave"]["due"] == true)
    }

    /// What was said, and when.
    pub fn verdicts(&self) -> String {
        self.guest.sh("cat /root/verdicts")
    }

    /// What was said from `from` on, and what stood then.
    pub fn said_since(&self, from: f64) -> Vec<(f64, String)> {
        let all = self.verdicts();
        let parsed = all.lines().filter_map(|line| line.split_once(' '));
        let mut all: Vec<(f64, String)> =
            parsed.map(|(at, said)| (at.parse().unwrap_or(0.0), said.to_owned())).collect();
        let first = all.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        all.drain(..first);
        all
    }

    /// When it became idle first, after `from`.
    pub fn became_idle(&self, from: f64) -> f64 {
        let said = self.said_since(from);
        said.iter().find(|(at, said)| *at > from && said.starts_with("idle")).map_or(f64::NAN, |(at, _)| *at)
    }

    /// Somebody of that name who has never been here; from now on it is recorded.
    pub fn begin(&self, name: &'static str, source: &'static str) -> Scene {
        self.guest.sh(&format!("useradd --create-home --shell /bin/bash {name}"));
        let uid = self.guest.sh(&format!("id -u {name}")).parse().expect("a number");
        self.record(name, Some(uid), source)
    }

    /// Another situation of the user of one that is over; from now on it is recorded.
    pub fn begin_again(&self, name: &'static str, before: &Scene, source: &'static str) -> Scene {
        Scene { who: before.who, ..self.record(name, before.uid, source) }
    }

    /// From now on it is recorded.
    pub fn record(&self, name: &'static str, uid: Option<u32>, source: &'static str) -> Scene {
        self.begin_for_good(&format!("record-{name}"), &format!("exec dsvm-agent idle record /root/{name}.jsonl"));
        let began = self.now();
        println!("{began:8.1}  {name} begins");
        Scene { name, who: name, uid, source, began }
    }

    /// Waits until the situation is named, with its user, and with words that begin like these.
    #[track_caller]
    pub fn wait_named(&self, scene: &Scene, what: &str, within: Duration) {
        let is = |row: &Value| what.is_empty() || row["what"].as_str().is_some_and(|w| w.starts_with(what));
        let row = |said: &Value| row(said, scene.source, scene.uid, "busy").filter(is);
        let said = self.wait_said(&format!("{} is named", scene.name), within, |said| row(said).is_some());
        let row = row(&said).expect("it was there");
        println!("{:8.1}  {} of {}: {}", self.now(), row["name"], row["who"], row["what"]);
        let user = matches!(scene.uid, Some(uid) if uid != 0);
        assert!(!user || row["who"] == scene.who, "{row}");
    }

    /// Nothing is said of leaving from `from` until longer than the quiet time after now.
    #[track_caller]
    pub fn stays(&self, from: f64) {
        let until = self.now() + WATCHED;
        wait_for("longer than the quiet time", LONG, || {
            std::thread::sleep(Duration::from_secs(1));
            self.now() > until
        });
        self.stayed(from);
    }

    /// Nothing was said of leaving since `from`.
    #[track_caller]
    pub fn stayed(&self, from: f64) {
        let said = self.said_since(from);
        let leaves = |said: &str| said.starts_with("idle") || !said.ends_with(" - -");
        assert!(!said.iter().any(|(_, said)| leaves(said)), "it would have gone: {said:?}\n{:#}", self.idle());
    }

    /// It is over, or what it left behind is known: what was recorded is kept, if somebody wants it. `used`: from when
    /// to when somebody would have lost something.
    pub fn keep(&self, scene: &Scene, used: Vec<(f64, f64)>) {
        let (name, until) = (scene.name, self.now());
        let file = || self.guest.ssh(&format!("cat /root/{name}.jsonl")).stdout;
        let last = || file().lines().last().and_then(|l| serde_json::from_str::<Value>(l).ok());
        wait_for("all was recorded", SOON, || last().is_some_and(|l| l["at"].as_f64() > Some(until)));
        self.guest.ssh(&format!("systemctl stop record-{name}"));
        let way = Way { uid: scene.uid, name, source: scene.source, used };
        recordings::keep(&file(), &self.guest.sh("cat /root/others"), &way, &(scene.began..until + 20.0));
        println!("{until:8.1}  {name} is over");
    }
}

/// The row of a source and user in a state.
pub fn row(said: &Value, source: &str, uid: Option<u32>, state: &str) -> Option<Value> {
    let rows = said["sources"].as_array()?;
    let is = |r: &&Value| r["name"] == source && r["uid"] == serde_json::json!(uid) && r["state"] == state;
    rows.iter().find(is).cloned()
}
