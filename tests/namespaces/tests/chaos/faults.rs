//! What happens to the machine: each fault has a beginning and, unless it is over with it, an end.

use crate::dice::Dice;
use crate::world::{AGENT_UID, TRUTH, World, settings};
use namespaces::{MOUNT_POINT, Process, SHARE};

/// What the agent keeps for its successors, and tells others.
const STATE: [&str; 6] = [
    "/run/dsvm-agent/status/status.json",
    "/run/dsvm-agent/status/full.json",
    "/run/dsvm-agent/status/use-memory.json",
    "/run/dsvm-agent/status/files-memory.json",
    "/run/dsvm-agent/status/drain.json",
    "/run/dsvm-agent/last-good.json",
];
/// Limits of a process that can be lowered under its hands: what it has now, and hardly more.
const LIMITS: [&str; 6] = ["--nofile=12", "--nofile=20", "--as=1000000", "--data=500000", "--nproc=1", "--fsize=2000"];
/// Soft limits as high as they go here.
const NONE: &str = "--nofile=1024: --as=unlimited: --data=unlimited: --nproc=unlimited: --fsize=unlimited:";

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A process of the agent's is killed.
    Killed,
    /// One stands still for a while.
    Stopped,
    /// The share's file system is not there.
    ShareGone,
    /// It can only be read.
    ShareReadOnly,
    /// It has no room.
    ShareFull,
    /// It does not answer.
    ShareSilent,
    /// The places of the agent's own files have no room.
    StateFull,
    /// What the agent wrote is half of it, or something else.
    Garbage,
    /// The same, and the agent is killed and finds it when it starts.
    GarbageAtStart,
    /// A process of the agent's may have no more of something.
    Limited,
    /// The agent's user may watch nothing more.
    NoWatches,
    /// Users come, go, and are renamed.
    Users,
    /// Somebody unmounts what the agent mounted.
    Unmounted,
    /// The configuration has a mistake, or is gone.
    Configuration,
    /// People log in, and the agent is told to read its configuration again and again.
    Crowd,
    /// What the agent notes on the share is half there.
    Ledger,
}

/// All kinds.
pub const ALL: [Kind; 16] = [
    Kind::Killed,
    Kind::Stopped,
    Kind::ShareGone,
    Kind::ShareReadOnly,
    Kind::ShareFull,
    Kind::ShareSilent,
    Kind::StateFull,
    Kind::Garbage,
    Kind::GarbageAtStart,
    Kind::Limited,
    Kind::NoWatches,
    Kind::Users,
    Kind::Unmounted,
    Kind::Configuration,
    Kind::Crowd,
    Kind::Ledger,
];

/// A fault that lasts.
#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    /// What was done, in words.
    pub what: String,
    /// What puts it in order again.
    end: String,
    held: Option<Process>,
}

impl Fault {
    /// Begins one.
    pub fn begin(kind: Kind, world: &World, dice: &mut Dice) -> Self {
        let (begin, end, held) = plan(kind, world, dice);
        let result = if begin.is_empty() { None } else { Some(world.vm.sh(&begin)) };
        let failed = result.filter(|r| !r.success()).map(|r| format!(" [{} {}]", r.code, r.err)).unwrap_or_default();
        Self { kind, what: format!("{kind:?}: {begin}{failed}"), end, held }
    }

    /// Whether both cannot be there at once: the end of one would not be the end of the other.
    pub fn excludes(&self, kind: Kind) -> bool {
        let share = |k| matches!(k, Kind::ShareGone | Kind::ShareSilent | Kind::ShareReadOnly | Kind::ShareFull);
        self.kind == kind || (share(self.kind) && share(kind))
    }

    /// Puts it in order again. What it was done to may be gone.
    pub fn end(self, world: &World) {
        drop(self.held);
        if !self.end.is_empty() {
            world.vm.sh(&self.end);
        }
    }
}

/// The commands that begin and end it, and what is held meanwhile.
fn plan(kind: Kind, world: &World, dice: &mut Dice) -> (String, String, Option<Process>) {
    let vm = &world.vm;
    let own = |s: &str| s.to_owned();
    let nothing = String::new;
    match kind {
        Kind::Killed => (format!("kill -KILL {}", process(world, dice)), nothing(), None),
        Kind::Stopped => {
            let pid = process(world, dice);
            (format!("kill -STOP {pid}"), format!("kill -CONT {pid}"), None)
        }
        Kind::ShareGone => (format!("umount -l {SHARE}"), format!("mount --bind {TRUTH} {SHARE}"), None),
        Kind::ShareReadOnly => (
            // Refused while somebody has a file open for writing, which is for a moment only.
            format!("for i in $(seq 50); do mount -o remount,ro {TRUTH} 2>/dev/null && exit; done; exit 1"),
            format!("mount -o remount,rw {TRUTH}"),
            None,
        ),
        Kind::ShareFull => {
            (format!("cat /dev/zero >{TRUTH}/filler 2>/dev/null; true"), format!("rm {TRUTH}/filler"), None)
        }
        Kind::ShareSilent => {
            let at = dice.one(&[SHARE, "/run/dsvm-agent/share/root"]);
            let held = vm.exists(at).then(|| vm.silence(at)).flatten();
            let end = if held.is_some() { format!("umount -l {at}") } else { nothing() };
            (nothing(), end, held)
        }
        Kind::StateFull => (
            own("for d in /run /var/lib; do cat /dev/zero >$d/filler 2>/dev/null; done; true"),
            own("rm -f /run/filler /var/lib/filler"),
            None,
        ),
        Kind::Garbage => (garbage(dice), nothing(), None),
        Kind::GarbageAtStart => {
            let launcher = world.launcher().map(|pid| format!("kill -KILL {pid}; ")).unwrap_or_default();
            (format!("{launcher}{}; {}", garbage(dice), garbage(dice)), nothing(), None)
        }
        Kind::Limited => {
            let (pid, limit) = (process(world, dice), dice.one(&LIMITS));
            // Root without CAP_SYS_RESOURCE may do that to processes of its own number only, and so may each.
            let own = format!("setpriv --reuid {AGENT_UID} --regid {AGENT_UID} --clear-groups prlimit");
            let set = |pid: &str, limits: &str| {
                format!("prlimit --pid {pid} {limits} 2>/dev/null || {own} --pid {pid} {limits}")
            };
            // Whoever was started meanwhile has it from its parent.
            let end = format!("for p in $(pgrep --full '^dsvm-agent (run|brain)'); do {}; done", set("$p", NONE));
            (format!("p={pid}; {}", set("$p", &format!("{limit}:"))), end, None)
        }
        Kind::NoWatches => {
            let hoard = format!("exec setpriv --reuid {AGENT_UID} --clear-groups /run/bin/hoard");
            let held = vm.spawn_as("root", &hoard);
            // They are found missing by who starts anew.
            let brain = "kill -KILL $(pgrep --full '^dsvm-agent brain'); true";
            (own(if dice.within(0..2) == 0 { brain } else { "true" }), nothing(), Some(held))
        }
        Kind::Users => {
            // Numbers are never given a second time: the share's books would rightly object.
            let id = dice.within(2000..60_000);
            let add = format!("useradd --create-home --uid {id} --shell /bin/bash u{id}");
            let rename = format!("{add}; sleep 0.{}; usermod --login v{id} u{id}", dice.within(0..10));
            let remove = format!(
                "for u in u{id} v{id}; do for i in $(seq 40); do id $u || break; userdel $u; sleep 0.1; done; done"
            );
            (if dice.within(0..2) == 0 { add } else { rename }, remove, None)
        }
        Kind::Unmounted => {
            let root = own("/run/dsvm-agent/share/root");
            let ada = format!("{MOUNT_POINT}/notebooks/ada");
            let at = dice.one(&[&root, &ada, &own(MOUNT_POINT)]).clone();
            (format!("umount -l {at}"), nothing(), None)
        }
        Kind::Configuration => {
            let file = "/etc/dsvm-agent/agent.toml";
            let bad = [
                format!("head -c {} {file} >{file}.n; mv {file}.n {file}", dice.within(1..80)),
                format!("rm -f {file}"),
                format!("echo 'no toml' >{file}"),
                format!("sed -i 's/window/windows/' {file}"),
            ];
            let good = format!("[share]\nsource = \"{SHARE}\"\nmount_point = \"{MOUNT_POINT}\"\n{}", settings(false));
            let hub = vm.exists("/tmp/with-hub");
            let good = if hub { good.replace(&settings(false), &settings(true)) } else { good };
            let end = format!("cat >{file}.new <<'END'\n{good}\nEND\nmv {file}.new {file}");
            (dice.one(&[&bad[0], &bad[1], &bad[2], &bad[3]]).clone(), end, None)
        }
        Kind::Crowd => {
            let launcher = world.launcher().map(|pid| format!("kill -HUP {pid}; ")).unwrap_or_default();
            let hook = "PAM_TYPE=account PAM_SERVICE=sshd dsvm-agent login-hook & ";
            let one = |user: &str| format!("PAM_USER={user} {hook}");
            let all: String = ["ada", "grace", "mallory", "nobody", "root"].map(one).concat();
            (format!("{launcher}{all}{launcher}{all}wait"), nothing(), None)
        }
        Kind::Ledger => {
            let dir = format!("{TRUTH}/.dsvm-agent/identities");
            let names = dice.one(&["names/ada", "names/grace", "numbers/$(id -u ada)", "new/left-over", "names/empty"]);
            // As a death between two of the calls that write it leaves it.
            (format!("rm -rf {dir}/{names}; [ {names} = names/ada ] || mkdir -p {dir}/{names}; true"), nothing(), None)
        }
    }
}

/// One of the agent's processes: a number that a shell finds out, since workers are gone soon.
fn process(world: &World, dice: &mut Dice) -> String {
    // Nothing rather than 0, which would be the whole group of processes that this test is of.
    let launcher = world.launcher().map(|pid| pid.to_string()).unwrap_or_default();
    let own = |s: &str| s.to_owned();
    let worker = own("$(pgrep '^dsvm:' | head -n 1)");
    let brain = world.vm.sh("pgrep --full '^dsvm-agent brain' | head -n 1").out;
    let candidates = [launcher, brain, worker];
    candidates[usize::try_from(dice.within(0..3)).unwrap_or(0)].clone()
}

/// Spoils one of the files in which the agent keeps things.
fn garbage(dice: &mut Dice) -> String {
    let file = dice.one(&STATE);
    let how = [
        format!("truncate -s $(($(stat -c %s {file} 2>/dev/null || echo 10) / 2)) {file}"),
        format!("head -c {} /dev/urandom >{file}", dice.within(1..5000)),
        format!(": >{file}"),
        format!("rm -f {file}"),
        format!("echo '{{}}' >{file}"),
        format!("echo half >{}", file.replace(".json", ".new")),
        format!("mv {file} {file}.x; head -c 3000 {file}.x >{file}; rm -f {file}.x"),
    ];
    let how = &how[usize::try_from(dice.within(0..7)).unwrap_or(0)];
    // As the agent's own file is.
    format!("umask 077; {how}; [ ! -e {file} ] || chown {AGENT_UID}:{AGENT_UID} {file}")
}
