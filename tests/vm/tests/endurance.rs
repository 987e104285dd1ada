//! A long time in which people come and go and things fail at random: nothing is lost, nothing lands elsewhere, nobody is
//! taken to be away who is there, all heals, and what the agent uses up stays what it was.
//!
//! `DSVM_ENDURANCE_SECONDS` says how long, an hour if not set; `DSVM_ENDURANCE_SEED` repeats what happened.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use vm::server::{ACCOUNT, KEY, KEY2};
use vm::writer::{Watched, is_well};
use vm::{FileServer, Guest, Scenario, Service, together, wait_for};

/// Emulated guests on a busy machine are late.
const LATE: Duration = Duration::from_secs(180);
/// Accounts that come and go.
const PEOPLE: u32 = 20;

/// What the agent uses, as one line of JSON.
const USED: &str = r#"
import glob, json, os, subprocess, time
def pids():
    return [int(p) for p in open("/sys/fs/cgroup/system.slice/dsvm-agent.service/cgroup.procs")]
def read(path):
    try:
        return open(path).read()
    except OSError:
        return ""
# Its helpers come and go; what stays is the launcher and the main process.
stay = [p for p in pids() if read(f"/proc/{p}/cmdline").split("\0")[1:2] in (["run"], ["brain"])]
pss = sum(int(l.split()[1]) for p in stay for l in read(f"/proc/{p}/smaps_rollup").splitlines() if l.startswith("Pss:"))
fds = sum(len(glob.glob(f"/proc/{p}/fd/*")) for p in stay)
tasks = sum(len(glob.glob(f"/proc/{p}/task/*")) for p in stay)
began = time.monotonic()
answered = subprocess.run(["dsvm-agent", "status"], capture_output=True).returncode in (0, 1)
took = time.monotonic() - began
log = subprocess.run(["journalctl", "-b", "-u", "dsvm-agent", "-o", "cat"], capture_output=True).stdout
print(json.dumps({"pss": pss, "fds": fds, "tasks": tasks, "processes": len(stay), "helpers": len(pids()) - len(stay),
                  "status_ms": round(took * 1000), "answered": answered, "log": log.count(b"\n")}))
"#;

/// Alice computes a third of the time, and the verdict is noted whenever it changes.
const WORK: &str = "import time\nwhile True:\n t = time.time() + .3\n while time.time() < t: pass\n time.sleep(.6)\n";
const VERDICTS: &str = r#"
import json, time
last = None
while True:
    try:
        verdict = json.load(open("/run/dsvm-agent/status/full.json"))["idle"]["verdict"]
        if verdict != last:
            last = verdict
            with open("/tmp/verdicts", "a") as out:
                out.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME):.1f} {verdict}\n")
    except (OSError, ValueError, KeyError, TypeError):
        pass
    time.sleep(0.5)
"#;

/// Numbers as a seed gives them (xorshift64*).
struct Dice(u64);

impl Dice {
    fn from_environment() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let given = std::env::var("DSVM_ENDURANCE_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or(u64::try_from(now & 0xffff_ffff).unwrap_or(1)).max(1);
        println!("DSVM_ENDURANCE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40).unwrap_or(0) % limit
    }
}

fn seconds() -> Duration {
    let given = std::env::var("DSVM_ENDURANCE_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(given.unwrap_or(3600))
}

/// What can go wrong: its name, what brings it about, and what ends it.
type Fault = (&'static str, fn(&World<'_>), fn(&World<'_>));

struct World<'a> {
    server: &'a FileServer,
    guest: &'a Guest,
}

impl World<'_> {
    fn key_file(&self, text: &str) {
        self.guest.put(format!("username={ACCOUNT}\npassword={text}\n"), "/etc/dsvm-agent/share.key", 0o600);
    }

    fn kill(&self, pattern: &str) {
        self.guest.ssh(&format!("pkill -KILL -f '{pattern}'"));
    }
}

/// What becomes of the share and of its server.
const OUTAGES: &[Fault] = &[
    ("packets are lost", |w| w.server.drop_silently(), |w| w.server.undrop()),
    ("it is killed", |w| w.server.kill_smb(), |w| w.server.start_smb()),
    ("it is stopped", |w| w.server.stop(), |w| w.server.start_smb()),
    ("it is slow", |w| w.server.delay(400), |w| w.server.delay(0)),
    ("sessions are dropped", |w| w.server.drop_sessions(), |_| {}),
    ("the share is gone", |w| w.server.share_exists(false), |w| w.server.share_exists(true)),
    ("its disk is full", |w| w.server.fill(true), |w| w.server.fill(false)),
    (
        "keys are changed",
        |w| {
            w.key_file(&format!("{KEY}\npassword2={KEY2}"));
            w.guest.sh("sleep 8");
            w.server.change_key(KEY2);
            w.key_file(&format!("{KEY2}\npassword2={KEY}"));
            w.guest.sh("sleep 8");
        },
        |w| {
            w.server.change_key(KEY);
            w.key_file(KEY);
        },
    ),
    (
        "the key is refused",
        |w| {
            w.server.change_key(KEY2);
            w.server.drop_sessions();
        },
        |w| w.key_file(KEY2),
    ),
    (
        "the old key is back",
        |w| {
            w.server.change_key(KEY);
            w.server.drop_sessions();
        },
        |w| w.key_file(KEY),
    ),
];

/// What becomes of the agent and its machine.
const ACCIDENTS: &[Fault] = &[
    ("the launcher is killed", |w| w.kill("^/usr/bin/dsvm-agent run"), |_| {}),
    ("the main process is killed", |w| w.kill("^dsvm-agent brain"), |_| {}),
    ("its helpers are killed", |w| (0..20).for_each(|_| drop(w.guest.ssh("pkill -KILL '^dsvm:'"))), |_| {}),
    (
        "the main process stands still",
        |w| drop(w.guest.ssh("pkill -STOP -f '^dsvm-agent brain'")),
        |w| {
            w.guest.ssh("pkill -CONT -f '^dsvm-agent brain'");
        },
    ),
    ("it is started again", |w| drop(w.guest.ssh_within("systemctl restart dsvm-agent", LATE)), |_| {}),
    ("the clock jumps", |w| drop(w.guest.sh("date -s '+3 hours'")), |w| drop(w.guest.sh("date -s '-3 hours'"))),
    ("the clock jumps back", |w| drop(w.guest.sh("date -s '-1 day'")), |w| drop(w.guest.sh("date -s '+1 day'"))),
    (
        "nothing can be watched",
        |w| {
            w.guest.sh("sysctl -q fs.inotify.max_user_watches=1 fs.inotify.max_user_instances=1");
            w.guest.ssh_within("systemctl restart dsvm-agent", LATE);
        },
        |w| drop(w.guest.sh("sysctl -q fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=128")),
    ),
    (
        "it may open nothing",
        |w| drop(w.guest.ssh("for p in $(pgrep -f 'dsvm-agent (run|brain)'); do prlimit --nofile=14 --pid $p; done")),
        |w| {
            drop(
                w.guest
                    .ssh("for p in $(pgrep -f 'dsvm-agent (run|brain)'); do prlimit --nofile=1024:4096 --pid $p; done"),
            )
        },
    ),
    (
        "there is no memory",
        |w| {
            w.guest.sh("systemctl set-property --runtime dsvm-agent.service MemoryMax=3M");
            w.guest.sh("sleep 5");
        },
        |w| drop(w.guest.sh("systemctl set-property --runtime dsvm-agent.service MemoryMax=512M")),
    ),
    (
        "the VM's disk is full",
        |w| drop(w.guest.ssh("fallocate -l $(df --output=avail -B1 / | tail -1) /full || cat /dev/zero >/full")),
        |w| drop(w.guest.sh("rm -f /full")),
    ),
    (
        "its files are half written",
        |w| {
            drop(w.guest.ssh(
                "systemctl stop dsvm-agent; find /run/dsvm-agent /var/lib/dsvm-agent -xdev -type f -size +1c \
             -exec sh -c 'truncate -s $(($(stat -c %s $1) / 2)) $1' sh {} \\; ; systemctl start --no-block dsvm-agent",
            ))
        },
        |_| {},
    ),
];

/// What the agent uses now.
fn used(guest: &Guest) -> Value {
    let said = guest.ssh_within("python3 /usr/local/bin/used.py", LATE);
    serde_json::from_str(said.stdout.trim()).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or(f64::NAN)
}

fn median(of: &[Value], name: &str) -> f64 {
    let mut all: Vec<f64> = of.iter().map(|v| number(v, name)).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Some come with their own service managers, as people who are logged in have them; others go.
fn coming_and_going(guest: &Guest, dice: &mut Dice) {
    let mut line = String::new();
    for n in 1..=PEOPLE {
        let verb = if dice.below(3) == 0 { "start" } else { "stop" };
        line += &format!("systemctl {verb} --no-block user@$(id -u p{n}).service; ");
    }
    let new = dice.below(10_000);
    line += &format!("useradd --create-home new{new}; pkill -u p1 -f 'sleep 77'; true");
    guest.ssh_within(&line, LATE);
    guest.log_in("bob", "echo $(date) >>~/notebooks/remote/bobs; dsvm-agent status; true");
}

/// The key stands in its file, and nowhere else where anybody could look. The pattern comes from a file: it would be found
/// in this command itself. Both keys begin alike.
fn no_secret_shows(guest: &Guest) {
    guest.put(&KEY[..40], "/root/secret", 0o600);
    let found = guest.ssh(
        "grep -lsFf /root/secret /run/dsvm-agent/status/* /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/self/mountinfo
         journalctl -b -u dsvm-agent -o cat | grep -Ff /root/secret | head -3",
    );
    assert_eq!(found.stdout, "", "a key shows");
}

fn endure(name: &str, faults: &[&[Fault]], flat: bool) {
    let mut dice = Dice::from_environment();
    let scenario = Scenario::new(name);
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    server.own_disk(1024);
    guest.configure_smb();
    guest.sh("mkdir -p /etc/dsvm-agent/agent.d");
    // So short that whoever is overlooked for a while is found out.
    guest.put("[workspace]\nlinger = \"5s\"\n[idle]\nafter = \"60s\"\n", "/etc/dsvm-agent/agent.d/50.toml", 0o644);
    guest.put(USED, "/usr/local/bin/used.py", 0o644);
    guest.put(WORK, "/usr/local/bin/work.py", 0o644);
    guest.put(VERDICTS, "/usr/local/bin/verdicts.py", 0o644);
    guest.sh(&format!("for n in $(seq {PEOPLE}); do useradd --create-home p$n; done"));
    guest.wait_ready();
    guest.stay_logged_in("alice");
    guest.log_in("alice", "setsid python3 /usr/local/bin/work.py >/dev/null 2>&1 </dev/null &").ok();
    guest.sh("systemd-run --quiet --collect --unit=verdicts python3 /usr/local/bin/verdicts.py");
    let watched = Watched::start(&guest, false);
    let world = World { server: &server, guest: &guest };
    let all: Vec<&Fault> = faults.iter().flat_map(|f| f.iter()).collect();
    let (began, mut turns, mut samples, mut old_key) = (Instant::now(), 0, Vec::new(), false);
    while began.elapsed() < seconds() {
        turns += 1;
        coming_and_going(&guest, &mut dice);
        let chosen = usize::try_from(dice.below(u32::try_from(all.len()).unwrap_or(1))).unwrap_or(0);
        let mut fault = all[chosen];
        // Which key is in force decides which of the two can be refused.
        let (other, back) = ("the key is refused", "the old key is back");
        match fault.0 {
            "keys are changed" if old_key => continue,
            name if name == other || name == back => {
                old_key = !old_key;
                let wanted = if old_key { other } else { back };
                fault = all.iter().find(|f| f.0 == wanted).expect("it is among them");
            }
            _ => {}
        }
        let (what, cause, end) = fault;
        cause(&world);
        std::thread::sleep(Duration::from_secs(u64::from(dice.below(30))));
        coming_and_going(&guest, &mut dice);
        let over = watched.now();
        end(&world);
        let ended = watched.now();
        let saved = watched.saved(over, LATE);
        wait_for(&format!("{what}: it is well again"), LATE, || {
            let status = guest.ssh("cat /run/dsvm-agent/status/full.json").stdout;
            let fresh = serde_json::from_str::<Value>(&status).is_ok();
            fresh && is_well(&watched.says()) && guest.ssh("dsvm-agent wait --timeout 1s").success()
        });
        let well = watched.now();
        let now = used(&guest);
        println!(
            "turn {turns}, {:.0} s: {what}: saved {:.0} s, well {:.0} s after its end; {now}",
            began.elapsed().as_secs_f64(),
            (saved - ended).max(0.0),
            well - ended
        );
        assert_eq!(now["answered"], true, "{now}");
        samples.push(now);
        no_secret_shows(&guest);
        if turns % 10 == 0 {
            watched.compare(&server, "saved");
        }
    }
    let verdicts = guest.sh("cat /tmp/verdicts");
    println!("verdicts while alice computes: {verdicts}");
    assert!(!verdicts.lines().any(|l| l.ends_with(" idle")), "{verdicts}");
    let errors = watched.finish(&server);
    println!("{turns} turns; alice was told of {} refused saves", errors.len());
    guest.nothing_lies_under_the_mounts();
    assert!(guest.as_user("bob", "cat /datamnt/dsvmshare/notebooks/alice/saved").fails().contains("denied"));
    if flat && samples.len() < 12 {
        println!("{turns} turns are too few to tell whether something grows");
    } else if flat {
        let third = samples.len() / 3;
        // The first turns load what is loaded once.
        let (early, late) = (&samples[2..2 + third], &samples[samples.len() - third..]);
        for name in ["pss", "fds", "tasks", "processes", "status_ms"] {
            println!("{name}: median {} early, {} late", median(early, name), median(late, name));
        }
        assert!(median(late, "pss") < median(early, "pss") * 1.2 + 512.0, "memory grows");
        assert!(median(late, "fds") <= median(early, "fds") + 2.0, "descriptors grow");
        assert!(median(late, "tasks") <= median(early, "tasks"), "threads grow");
        let log = number(&samples[samples.len() - 1], "log") - number(&samples[0], "log");
        println!("{log} lines of log in {turns} turns");
        // What changes is said: a user who comes and goes is not, an outage is, and its end.
        assert!(log < f64::from(turns) * 60.0, "the log grows by {log} lines in {turns} turns");
    }
}

#[test]
#[ignore = "long: an hour, or as told; run it before a release"]
fn an_hour_of_coming_and_going_leaves_no_trace() {
    endure("an_hour_of_coming_and_going_leaves_no_trace", &[OUTAGES], true);
}

#[test]
#[ignore = "long: an hour, or as told; run it before a release"]
fn an_hour_of_accidents_costs_nothing() {
    endure("an_hour_of_accidents_costs_nothing", &[OUTAGES, ACCIDENTS], false);
}
