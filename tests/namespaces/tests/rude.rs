//! Users who do their worst to the request socket, together, while the others want what they always want.

use namespaces::{Agent, Process, SOON, Sandbox, wait_for};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// So many attack at once: more than it takes for their shares of the socket to be all of it.
const RUDE: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];
/// Where it listens.
const SOCKET: &str = "/run/dsvm-agent/status/request.sock";
/// So often somebody asks.
const ASKS: usize = 20;

/// Open descriptors and kibibytes of memory of a process in the machine.
fn held(vm: &Sandbox, pid: u32) -> (usize, u64) {
    let descriptors = vm.list(&format!("/proc/{pid}/fd")).len();
    let status = vm.read(&format!("/proc/{pid}/status"));
    let memory = status.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
    (descriptors, memory.expect("the kernel says it"))
}

fn attack(vm: &Sandbox, socket: &str) -> Vec<Process> {
    RUDE.iter().map(|user| vm.spawn_as(user, &format!("exec /run/bin/rude {socket}"))).collect()
}

/// Asks for one's own, one time after the other, for as long as an answer takes: `status` itself waits a moment only.
const ASK: &str = "\
import socket, sys
told = 0
for _ in range(int(sys.argv[2])):
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[1])
        s.sendall(b'{\"request\":\"self\"}\\n')
        told += b'\"user\"' in s.makefile('rb').readline()
    except OSError:
        pass
print(told)
";

/// How often of all times somebody who asks for their own is told, and not hung up on.
fn told(vm: &Sandbox) -> usize {
    let told = vm.as_user("grace", &format!("python3 /tmp/ask.py {SOCKET} {ASKS}"));
    told.ok().trim().parse().expect("a number")
}

/// How many log-ins of ada are answered with their notebooks, within the time that a log-in waits.
fn let_in(vm: &Sandbox) -> usize {
    let once = || {
        let mut stream = UnixStream::connect(vm.path(SOCKET)).ok()?;
        stream.write_all(b"{\"request\":\"login\",\"user\":\"ada\"}\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("\"ready\":true").then_some(())
    };
    (0..ASKS).filter_map(|_| once()).count()
}

fn served(agent: &Agent<'_>, name: &str) -> bool {
    let status = agent.status();
    let users = status["users"].as_array().cloned().unwrap_or_default();
    users.iter().any(|user| user["name"] == name && user["state"] == "ready")
}

#[test]
fn whatever_some_do_to_the_socket_others_are_answered_and_nothing_is_left_of_it() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace"].iter().chain(&RUDE).for_each(|name| vm.user(name));
    vm.configure("");
    std::fs::copy(env!("CARGO_BIN_EXE_rude"), vm.path("/run/bin/rude")).expect("a copy");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.log_in("ada").ok();
    let brain = agent.brain();

    vm.write("/tmp/ask.py", ASK);
    // How it is on a machine that is as busy, with nobody at the socket: they attack one of nobody's.
    vm.write(
        "/tmp/decoy.py",
        "import socket\ns=socket.socket(socket.AF_UNIX)\ns.bind('/tmp/decoy')\ns.listen(4096)\n\
        while True: s.accept()[0].close()\n",
    );
    let decoy = vm.spawn_as("root", "umask 0; exec python3 /tmp/decoy.py");
    wait_for("the decoy listens", SOON, || vm.exists("/tmp/decoy"));
    let elsewhere = attack(&vm, "/tmp/decoy");
    let usual = (told(&vm), let_in(&vm));
    drop((elsewhere, decoy));
    let before = held(&vm, brain);

    let attackers = attack(&vm, SOCKET);
    wait_for("the attack is felt", SOON, || held(&vm, brain).0 > before.0 + 30);
    let attacked = (told(&vm), let_in(&vm));
    println!("of {ASKS} questions and {ASKS} log-ins, answered beside them: {usual:?}; while attacked: {attacked:?}");
    assert!(attacked.0 + ASKS / 4 >= usual.0, "grace is told {attacked:?} times of {usual:?}\n{}", agent.describe());
    assert!(attacked.1 >= usual.1, "ada's log-ins wait in vain");
    vm.user("newton");
    wait_for("a new user has their link", SOON, || {
        vm.exists("/home/newton/notebooks/remote") && served(&agent, "newton")
    });
    vm.log_in("newton").ok();
    wait_for("and their notebooks when they come", SOON, || vm.is_mounted("notebooks/newton"));
    drop(attackers);

    assert_eq!(agent.brain(), brain, "it is the same process still");
    // The last ones are hung up on when their time is over.
    wait_for("no descriptor is left", SOON, || held(&vm, brain).0 <= before.0 + 2);
    let after = held(&vm, brain);
    println!("descriptors and KiB: {before:?} before, {after:?} after");
    assert!(after.1 < before.1 + 4096, "memory: {before:?} before, {after:?} after");
    let status = || vm.as_user("grace", "dsvm-agent status").out;
    wait_for("grace sees her own", SOON, || status().contains("~/notebooks/remote"));
    agent.wait_no_problem();
}
