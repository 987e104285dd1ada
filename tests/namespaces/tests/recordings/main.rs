//! Ways to use a machine, beside each other as users of their own, recorded: each is cut into a recording as if it had been
//! the only one. They are judged again, and beside them the rules of others, wherever the library's tests run
//! (`agent/src/idle/decide/situations/recorded`).

use namespaces::recordings::{self, Way};
use namespaces::{Agent, Process, SOON, Sandbox, wait_for};

use serde_json::{Value, json};

/// The shortest quiet time that configuration takes.
const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"5s\"\nwindow = \"15s\"\n";
const ACT: &str = "python3 -S /run/act.py";

/// Who they are; the source that must be named, if it is use; whether they sit at a terminal of sshd's, or logged out and left
/// programs behind: there is no sshd in a sandbox, so that what the others look at is what would be.
const PEOPLE: [(&str, &str, &str); 9] = [
    ("train", "cpu", "closing"),
    ("children", "cpu", "closing"),
    ("bursts", "cpu", "closing"),
    ("keys", "typing", "terminal"),
    ("fetch", "network", "closing"),
    ("waits", "program", "terminal"),
    ("keeper", "keep", ""),
    ("prompt", "", "terminal"),
    ("paused", "", "closing"),
];

fn idle(vm: &Sandbox) -> Value {
    serde_json::from_str(&vm.sh("dsvm-agent idle --json").out).unwrap_or_default()
}

fn is_busy(view: &Value, who: &str, source: &str) -> bool {
    let all = view["sources"].as_array().cloned().unwrap_or_default();
    all.iter().any(|row| row["name"] == source && row["who"] == who && row["state"] == "busy")
}

fn now(vm: &Sandbox) -> f64 {
    vm.sh("cut -d' ' -f1 /proc/uptime").ok().parse().expect("a number")
}

fn wait_idle(vm: &Sandbox, agent: &Agent<'_>) {
    wait_for(&format!("it is idle, and due: {}", agent.describe()), 10 * SOON, || idle(vm)["leave"]["due"] == true);
}

/// Everybody begins.
fn begin(vm: &Sandbox) -> Vec<(&'static str, Process)> {
    let at_terminal = |line: &str| format!("exec script -qfc {line:?} /dev/null");
    let does = |who: &'static str, line: &str| (who, vm.spawn_as(who, line));
    vm.as_user("keeper", "dsvm-agent keep 1h --reason results").ok();
    vec![
        does("train", &format!("exec {ACT} compute 0.2")),
        does("children", &format!("exec {ACT} children")),
        does("bursts", &format!("exec {ACT} bursts")),
        does("keys", &format!("{ACT} keys | {}", at_terminal("cat"))),
        does("fetch", &format!("exec {ACT} fetch 10.9.0.1")),
        does("waits", &format!("sleep infinity | {}", at_terminal("python3 -S /run/act.py wait 10.9.0.1"))),
        does("prompt", &format!("sleep infinity | {}", at_terminal("bash -i"))),
        does("paused", &format!("{ACT} stop")),
    ]
}

#[test]
#[ignore = "long: five minutes; run it by cargo test, with DSVM_IDLE_RECORDINGS, when what is recorded changes"]
fn ways_to_use_a_machine_are_recorded() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    PEOPLE.iter().for_each(|(name, ..)| vm.user(name));
    let uid = |name: &str| vm.sh(&format!("id -u {name}")).ok().parse::<u32>().expect("a number");
    let uids = PEOPLE.map(|(name, ..)| uid(name));
    vm.configure(SHORT);
    vm.write("/run/act.py", include_str!("act.py"));
    // An address that is none of the loopback's stands for another machine.
    vm.sh("ip link set lo up && ip address add 10.9.0.1/32 dev lo").ok();
    let _server = vm.spawn_as("root", &format!("exec {ACT} serve"));
    let system = vm.spawn_as("root", &format!("exec {ACT} compute 0.3"));
    let agent = vm.agent_start();
    agent.wait_ready();
    let recording = vm.spawn_as("root", "exec dsvm-agent idle record /run/recording");
    wait_idle(&vm, &agent);
    drop(system);

    let unused = now(&vm);
    let wall = vm.sh("date +%s").ok().parse::<f64>().expect("a number") - unused;
    let mut doing = begin(&vm);
    let began = now(&vm);
    for (who, source, _) in PEOPLE.iter().filter(|(_, source, _)| !source.is_empty()) {
        wait_for(&format!("{source} of {who}: {}", agent.describe()), 4 * SOON, || is_busy(&idle(&vm), who, source));
    }
    let seen = now(&vm);
    wait_for("longer than the quiet time", 10 * SOON, || now(&vm) > seen.max(began + 60.0) + 45.0);
    vm.as_user("keeper", "dsvm-agent keep --end").ok();
    // Who forgot a terminal, and who stopped a job, stay.
    doing.retain(|(who, _)| matches!(*who, "prompt" | "paused"));
    // A pipe outlives the shell that made it.
    vm.sh("pkill -KILL -u keys; pkill -KILL -u waits");
    let ended = now(&vm);
    wait_idle(&vm, &agent);
    let over = now(&vm);
    let keys = vm.spawn_as("keys", &format!("{ACT} keys | exec script -qfc cat /dev/null"));
    wait_for("who comes back is seen", 4 * SOON, || is_busy(&idle(&vm), "keys", "typing"));
    assert_eq!(idle(&vm)["leave"], Value::Null, "{}", agent.describe());
    drop((keys, recording, doing));

    let others: String = (0..)
        .map(|step| f64::from(step) * 5.0 + unused.floor() - 100.0)
        .take_while(|at| *at < over)
        .map(|at| {
            let is = |name: &str| match name {
                "prompt" | "paused" => at >= began,
                _ => (began..ended).contains(&at),
            };
            let there = |what: &'static str| PEOPLE.iter().zip(uids).filter(move |((_, _, how), _)| *how == what);
            let users: serde_json::Map<_, _> = there("terminal")
                .filter(|((name, ..), _)| is(name))
                .map(|(_, uid)| (uid.to_string(), json!({"terminal": true, "connected": true})))
                .collect();
            let closing: Vec<_> =
                there("closing").filter(|((name, ..), _)| is(name)).map(|(_, uid)| uid.to_string()).collect();
            json!({"at": at, "wall": at + wall, "users": users, "closing": closing}).to_string() + "\n"
        })
        .collect();
    let ways: Vec<Way<'_>> = PEOPLE
        .iter()
        .zip(uids)
        .map(|((name, source, _), uid)| {
            let used = match *name {
                "prompt" | "paused" => Vec::new(),
                _ => vec![(began, ended)],
            };
            Way { uid: Some(uid), name, source, used }
        })
        .collect();
    let recording = vm.read("/run/recording");
    for way in &ways {
        recordings::keep(&recording, &others, way, &(unused..f64::INFINITY));
    }
    // Before that nobody was there but the system's own programs.
    let nobody = Way { uid: None, name: "agents", source: "", used: Vec::new() };
    recordings::keep(&recording, &others, &nobody, &(0.0..unused));
}
