//! The machine that is tormented: users with files, one who writes all the time, and the agent with somebody who starts it
//! again, as systemd does.

use namespaces::{Process, SHARE, SOON, Sandbox, hash_tree, wait_for};
use serde_json::Value;
use std::path::PathBuf;

/// The share's file system, at a place that no fault touches.
pub const TRUTH: &str = "/srv/truth";
/// The agent's number here: what its user may have is counted on the whole machine.
pub const AGENT_UID: u32 = 48_990;
/// What nobody but root may see.
pub const SECRET: &str = "correct-horse-battery-staple";

/// Windows so short that a false verdict would come within a run by hand, and grace's bit of work counts.
const SETTINGS: &str = "[workspace]\nlinger = \"3s\"\n\
    [idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
    [idle.tuning]\nsample = \"1s\"\nwindow = \"10s\"\ncpu_cores = 0.005\n";
/// A hub that nobody runs, whose token is on this machine.
const HUB: &str =
    "jupyterhub = { url = \"http://127.0.0.1:8081/hub/api\", token_file = \"/etc/dsvm-agent/hub.token\" }\n";

/// As systemd keeps the service: what is left of it is ended when the first process ended, and it is started again.
const KEEPER: &str = "while [ ! -e /tmp/over ]; do
    dsvm-agent run 2>>/tmp/agent.log & echo $! >/tmp/agent.new; mv /tmp/agent.new /tmp/agent
    wait $!; echo \"ended: $?\" >>/tmp/agent.log; rm -f /tmp/agent
    for p in $(pgrep --full '^dsvm-agent (brain|worker)'; pgrep '^dsvm:'); do kill -KILL $p 2>/dev/null; done
    sleep 0.3
done";
/// What was written is noted after it was taken. Lines of eight bytes: a file system that is full takes whole ones.
const WRITER: &str = "n=0; while :; do n=$((n + 1)); printf -v line %07d $n; \
    ( echo $line >>~/notebooks/remote/log ) 2>/dev/null && echo $line >>/tmp/acknowledged; sleep 0.1; done";
const WORK: &str = "while :; do for i in {1..6000}; do :; done; sleep 0.3; done";

/// The machine, and what runs on it.
#[derive(Debug)]
pub struct World {
    /// The machine.
    pub vm: Sandbox,
    /// What users' files were when all began.
    files: u64,
    _runs: Vec<Process>,
}

impl World {
    /// A machine on which all is well; nothing, which is said, without root.
    pub fn new(hub: bool) -> Option<Self> {
        let vm = prepared()?;
        vm.configure(&settings(hub));
        let keeper = vm.spawn_as("root", KEEPER);
        vm.sh("dsvm-agent wait --timeout 100s").ok();
        for user in ["ada", "grace"] {
            vm.log_in(user).ok();
            let put = "mkdir ~/notebooks/remote/data && cp ~/data/* ~/notebooks/remote/data/";
            wait_for("their files are on the share", SOON, || vm.as_user(user, put).success());
        }
        let writer = vm.spawn_as("ada", WRITER);
        let work = vm.spawn_as("grace", WORK);
        let world = Self { files: 0, vm, _runs: vec![writer, work, keeper] };
        let files = hash_tree(&world.places()).expect("a tree");
        Some(Self { files, ..world })
    }

    /// Whether users' files are as they were; nothing when they cannot be read.
    pub fn files_are_whole(&self) -> bool {
        hash_tree(&self.places()).is_ok_and(|now| now == self.files)
    }

    fn places(&self) -> Vec<PathBuf> {
        let homes = ["ada", "grace"].map(|u| format!("/home/{u}/data"));
        let shares = ["ada", "grace"].map(|u| format!("{TRUTH}/notebooks/{u}/data"));
        homes.into_iter().chain(shares).map(|p| self.vm.path(p)).collect()
    }

    /// What the writer was told is written, and is not.
    pub fn lost(&self) -> Vec<String> {
        // In this order: what is noted later is written later.
        let noted = std::fs::read_to_string(self.vm.path("/tmp/acknowledged")).unwrap_or_default();
        let there = std::fs::read_to_string(self.vm.path(format!("{TRUTH}/notebooks/ada/log"))).unwrap_or_default();
        let there: std::collections::HashSet<&str> = there.lines().collect();
        noted.lines().filter(|line| line.len() == 7 && !there.contains(line)).map(str::to_owned).collect()
    }

    /// How many lines the writer wrote.
    pub fn written(&self) -> usize {
        std::fs::read_to_string(self.vm.path("/tmp/acknowledged")).unwrap_or_default().lines().count()
    }

    /// The status that root sees; nothing when there is none, or half of one.
    pub fn status(&self) -> Value {
        let text = std::fs::read(self.vm.path("/run/dsvm-agent/status/full.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The agent's first process, while there is one.
    pub fn launcher(&self) -> Option<u32> {
        std::fs::read_to_string(self.vm.path("/tmp/agent")).ok()?.trim().parse().ok()
    }

    /// The end of the log.
    pub fn log(&self) -> String {
        self.vm.sh("tail -n 60 /tmp/agent.log").out
    }
}

/// Users with files, and places of limited size.
pub fn prepared() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    vm.sh(&format!(
        "mount -o remount,size=24m /run; mount -o remount,size=24m /var/lib; mount -o remount,size=32m {SHARE}
         mkdir -m 0700 {TRUTH}; mount --bind {SHARE} {TRUTH}; mkdir -m 0700 /var/lib/dsvm-agent
         sed -i 's/:990\\b/:{AGENT_UID}/g' /etc/passwd /etc/group
         echo {SECRET} >/etc/dsvm-agent/hub.token; chmod 0600 /etc/dsvm-agent/hub.token; echo {SECRET} >/root/secret"
    ))
    .ok();
    for user in ["ada", "grace", "mallory"] {
        vm.user(user);
        vm.as_user(user, "mkdir -m 0700 data; for i in 1 2 3 4; do head -c 20K /dev/urandom >data/$i.bin; done").ok();
    }
    Some(vm)
}

/// The settings beside the share's.
pub fn settings(hub: bool) -> String {
    if hub { SETTINGS.replace("[idle]\n", &format!("[idle]\n{HUB}")) } else { SETTINGS.to_owned() }
}
