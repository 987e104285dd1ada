//! A user who changes their home under the agent's hands for as long as one likes: `DSVM_ATTACK_SECONDS`, 20 if not set.
//! For more than a minute or so take `cargo test -p namespaces --test fuzz`: nextest ends what lasts too long for it.

use namespaces::{MOUNT_POINT, SHARE, Sandbox, hash_tree, wait_for};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Logs `user` in, as the hook does; whether their notebooks were there within the hook's time.
fn log_in(vm: &Sandbox, user: &str) -> bool {
    let mut stream = UnixStream::connect(vm.path("/run/dsvm-agent/status/request.sock")).expect("the agent listens");
    writeln!(stream, "{{\"request\":\"login\",\"user\":\"{user}\"}}").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.contains("\"ready\":true")
}

/// All that is not the attacker's but what the agent itself writes again and again for the other VMs of a pool, beginning
/// half a minute after its start: whoever attacks for longer would see that.
fn outside(vm: &Sandbox) -> u64 {
    let others = ["/etc", "/root", "/home/ada", "/home/grace", "/var/lib", "/tmp", MOUNT_POINT].map(str::to_owned);
    let agents = format!("{SHARE}/.dsvm-agent");
    let own = [agents.clone(), format!("{agents}/nodes"), format!("{agents}/pool")];
    let below = |directory: &str| {
        let names = if vm.exists(directory) { vm.list(directory) } else { Vec::new() };
        names.into_iter().map(|name| format!("{directory}/{name}")).collect::<Vec<_>>()
    };
    let share = [below(SHARE), below(&agents)].concat();
    let all = others.into_iter().chain(share).filter(|path| !own.contains(path));
    hash_tree(&all.map(|path| vm.path(path)).collect::<Vec<_>>()).expect("a tree")
}

/// All mounts but that of the program, which whoever builds a new one removes under a test that takes long.
fn mounts_of(vm: &Sandbox) -> Vec<String> {
    vm.mounts().lines().filter(|l| !l.contains("/run/bin/dsvm-agent")).map(str::to_owned).collect()
}

#[test]
fn a_spiteful_user_changes_nothing_outside_their_home_and_holds_up_nobody() {
    let seconds: u64 = std::env::var("DSVM_ATTACK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace", "mallory"].iter().for_each(|name| vm.user(name));
    vm.configure("[workspace]\nmount = \"always\"\n");
    std::fs::copy(env!("CARGO_BIN_EXE_spiteful"), vm.path("/run/bin/spiteful")).expect("a copy");
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.as_user("ada", "echo secret >~/notebooks/remote/a.ipynb").ok();
    wait_for("everything is mounted", Duration::from_secs(60), || {
        ["ada", "grace", "mallory"].iter().all(|name| vm.is_mounted(&format!("notebooks/{name}")))
    });
    let (before, mounts) = (outside(&vm), mounts_of(&vm));

    let link = format!("{MOUNT_POINT}/notebooks/mallory");
    let attack = format!(
        "echo $$ >/tmp/running; chmod 0755 ~; timeout {} /run/bin/spiteful ~ {seconds} {link} >~/found.new 2>&1; \
         mv ~/found.new ~/found; rm /tmp/running",
        seconds + 30
    );
    let attacker = vm.spawn_as("mallory", &attack);
    wait_for("the attack begins", Duration::from_secs(60), || vm.exists("/tmp/running"));
    // Processes are numbered, and nobody starts any now but the agent.
    let newest = || vm.sh("cat /proc/loadavg").out.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
    let (first, mut rounds, mut in_vain, mut worst) = (newest(), 0, 0, Duration::ZERO);
    while vm.exists("/tmp/running") {
        // Whoever logs in makes the agent look at their home at once.
        log_in(&vm, "mallory");
        let began = Instant::now();
        in_vain += u32::from(!log_in(&vm, "ada"));
        worst = worst.max(began.elapsed());
        rounds += 1;
    }
    let helpers = newest() - first;
    drop(attacker);
    let found: u64 = vm.read("/home/mallory/found").trim().parse().expect("a number");
    println!("{rounds} log-ins of each in {seconds} s; {helpers} helper processes; their link was found {found} times");
    println!("ada waited {worst:.0?} at worst, and in vain {in_vain} times");
    // How often the link could be made at all is luck: nobody makes the agent come more often than once in two seconds.
    assert!(helpers > 0, "the agent was never at work in between: this shows nothing");
    assert_eq!(outside(&vm), before);
    assert_eq!(mounts_of(&vm), mounts);
    // The first row of the VM's own is written after half a minute.
    let nodes = format!("{SHARE}/.dsvm-agent/nodes");
    let rows = if vm.exists(&nodes) { vm.list(&nodes) } else { Vec::new() };
    assert!(rows.iter().all(|row| row == "vm1.json"), "{rows:?}");
    assert_eq!(vm.sh(&format!("find {SHARE}/.dsvm-agent ! -uid 0")).ok(), "", "what the agent writes is its own");
    assert!(vm.as_user("mallory", &format!("cat {MOUNT_POINT}/notebooks/ada/a.ipynb")).out.is_empty());
    assert_eq!(in_vain, 0, "ada waited in vain\n{}", agent.describe());

    // It heals when the home is left in peace.
    vm.as_user("mallory", "chmod -R u+rwX ~ 2>/dev/null; rm -rf ~/notebooks ~/other").ok();
    log_in(&vm, "mallory");
    agent.wait_no_problem();
}
