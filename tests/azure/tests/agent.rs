//! The program itself, with all its processes, in a network of its own in which the simulator is Azure.

mod vm;

use azure::Azure;
use azure::fault::{Fault, What};
use azure::world::{Mode, World};
use namespaces::{SHARE, SOON, Sandbox, wait_for};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use vm::{told, wait_protected};

/// A VM with a share and a user, and Azure around it; nothing, which is said, when this process is not root's.
fn vm(world: World) -> Option<(Sandbox, Azure)> {
    vm::vm(world, "")
}

fn sample(azure: &Azure, metric: &str) -> f64 {
    azure.until(metric, |w| w.samples.iter().rfind(|s| s.metric == metric).map(|s| s.values.2))
}

#[test]
fn a_vm_protects_itself_at_boot_reads_it_back_and_reports() {
    let Some((vm, azure)) = vm(World::new(Mode::Uniform, 1)) else { return };
    let agent = vm.agent_start();
    azure.until("protection", |w| (w.vms[0].protection == Some((true, true))).then_some(()));
    wait_protected(&agent);
    assert_eq!((sample(&azure, "IdleNodes"), sample(&azure, "BusyNodes")), (0.0, 1.0));
    agent.wait_ready();
    let node = told(&agent, "/node");
    assert_eq!(
        (&node["name"], &node["scale_set"], &node["location"]),
        (&json!("dsvmpool_0"), &json!("dsvmpool"), &json!("westeurope"))
    );
    assert_eq!(agent.problems(), [""; 0]);
    let text = vm.sh("dsvm-agent status").ok().to_owned();
    assert!(text.contains("protected from scale-in"), "{text}");
    wait_for("events are known", SOON, || vm.sh("dsvm-agent status").out.contains("no events"));

    // Whoever asked had no privilege, and no token is anywhere but in their requests.
    let secrets: Vec<String> = azure.world().tokens.keys().cloned().collect();
    assert!(!secrets.is_empty());
    let seen = agent.log() + &vm.sh("cat /run/dsvm-agent/status/*.json").out + &vm.sh("dsvm-agent config show").out;
    assert!(secrets.iter().all(|token| !seen.contains(token.as_str())));

    // The brain dies: what is protected stays so. It is written once more: it may have died while a lift was under way.
    let writes = |w: &World| w.received.iter().filter(|r| r.request.method == "PUT").count();
    let before = {
        let world = azure.world();
        (writes(&world), world.received.len())
    };
    vm.sh(&format!("kill -9 {}", agent.brain())).ok();
    azure.until("the next one looks", |w| {
        assert_eq!(w.vms[0].protection, Some((true, true)));
        let looked =
            |r: &azure::world::Received| r.request.method == "GET" && r.request.path.contains("/virtualMachines/");
        w.received.iter().skip(before.1).any(looked).then_some(())
    });
    wait_protected(&agent);
    assert_eq!(writes(&azure.world()), before.0 + 1);
}

#[test]
fn a_vm_whose_share_never_answers_is_protected_all_the_same() {
    let Some((vm, azure)) = vm(World::new(Mode::Uniform, 1)) else { return };
    let Some(_silent) = vm.silence(SHARE) else { return };
    let agent = vm.agent_start();
    // Nobody is served, and nobody will be: what comes after that must come without it.
    wait_protected(&agent);
    assert_eq!((sample(&azure, "IdleNodes"), sample(&azure, "BusyNodes")), (0.0, 1.0));
    assert_eq!(told(&agent, "/health"), json!("starting"), "{}", agent.describe());
}

#[test]
fn slow_conflicting_and_lost_answers_end_in_protection() {
    let mut world = World::new(Mode::Flexible, 1);
    let put = |what| Fault::new("/virtualMachines/", what).method("PUT").times(1);
    world.looks = Some(1);
    world.first_events = Duration::from_secs(120);
    world.faults = vec![
        Fault::new("/metadata/instance", What::Status { status: 410, retry_after: None }).times(1),
        Fault::new("/metadata/identity", What::Status { status: 429, retry_after: Some(1) }).times(1),
        put(What::Status { status: 409, retry_after: None }),
        put(What::Lost),
        Fault::new("/operations/", What::Cut).times(1),
    ];
    let Some((vm, azure)) = vm(world) else { return };
    let agent = vm.agent_start();
    // Nobody waits for it: the notebooks come meanwhile.
    agent.wait_ready();
    wait_protected(&agent);
    let world = azure.world();
    assert_eq!(world.vms[0].protection, Some((true, true)));
    assert!(world.operations.values().all(|o| o.done) && world.faults.iter().all(|f| f.times == 0));
}

#[test]
fn a_vm_that_cannot_be_protected_says_so_and_vetoes_scale_in() {
    let mut world = World::new(Mode::Uniform, 1);
    world.identities[0].virtual_machines = false;
    let Some((vm, azure)) = vm(world) else { return };
    let agent = vm.agent_start();
    agent.wait_problem("scale-set.unprotected");
    assert_eq!(told(&agent, "/scale_set/protected"), Value::Null);
    assert_eq!((sample(&azure, "BusyUnprotectedNodes"), sample(&azure, "IdleNodes")), (1.0, 0.0));
    let text = vm.sh("dsvm-agent status").out;
    assert!(text.contains("403 (AuthorizationFailed)") && text.contains("dsvmpool_0 in scale set dsvmpool"), "{text}");
    azure.world().identities[0].virtual_machines = true;
    wait_protected(&agent);
    agent.wait_no_problem();
}

#[test]
fn only_its_own_events_are_shown() {
    let Some((vm, azure)) = vm(World::new(Mode::Uniform, 2)) else { return };
    azure.world().announce("Terminate", 1, Duration::from_secs(600));
    let agent = vm.agent_start();
    wait_protected(&agent);
    azure.until("events were asked for", |w| (!w.asked_events.is_empty()).then_some(()));
    agent.wait_looked();
    assert_eq!(told(&agent, "/scale_set/events"), json!([]));
    azure.world().announce("Reboot", 0, Duration::from_secs(900));
    wait_for("the event is shown", SOON, || told(&agent, "/scale_set/events/0/kind") == json!("reboot"));
    let text = vm.sh("dsvm-agent status").out;
    assert!(text.contains("Azure announces: reboot, not before"), "{text}");
}

#[test]
fn away_from_azure_everything_else_works_and_nothing_is_asked_when_it_is_off() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    vm.user("ada");
    vm.configure("");
    // No network at all: 169.254.169.254 cannot be reached.
    let agent = vm.agent_start();
    agent.wait_ready();
    assert_eq!(told(&agent, "/node/name"), json!("vm1"));
    assert_eq!(told(&agent, "/scale_set/protected"), Value::Null);
    assert_eq!(agent.problems(), [""; 0]);
    assert!(!vm.sh("dsvm-agent status").out.contains("scale set"));
    drop(agent);

    let Some((vm, azure)) = self::vm(World::new(Mode::Uniform, 1)) else { return };
    vm.configure(&format!("[scale_set]\nenabled = \"off\"\n[scale_set.endpoints]\nmetadata = \"{}\"\n", azure.url()));
    let agent = vm.agent_start();
    agent.wait_ready();
    agent.wait_looked();
    assert_eq!(azure.world().received.len(), 0);
    assert_eq!(told(&agent, "/scale_set"), Value::Null);
}

#[test]
fn probes_and_monitoring_are_answered_over_the_network() {
    let Some((vm, azure)) = vm(World::new(Mode::Uniform, 1)) else { return };
    let url = azure.url();
    let endpoints = format!("metadata = \"{url}\"\nresource_manager = \"{url}\"\nmonitor = \"{url}\"\n");
    vm.configure(&format!("[scale_set]\nlisten = \"0.0.0.0:9460\"\n[scale_set.endpoints]\n{endpoints}"));
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let asked = |path: &str| {
        vm.sh(&format!("curl -s -o /run/answer -w '%{{http_code}}' http://127.0.0.1:9460{path}; cat /run/answer")).out
    };
    wait_for("it is ready", SOON, || asked("/ready") == "200ready");
    let metrics = asked("/metrics");
    assert!(
        metrics.contains("dsvm_agent_protected 1\n") && metrics.contains("dsvm_agent_users{state=\"ready\"} 1\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("ada"), "{metrics}");
    assert!(asked("/status").starts_with("404"));
    // Nothing more of people's work begins on a VM that is about to go.
    azure.world().announce("Terminate", 0, Duration::from_secs(900));
    wait_for("it is draining", SOON, || asked("/ready") == "503draining");
    // Another port, then none.
    vm.configure(&format!("[scale_set]\nlisten = \"127.0.0.1:9461\"\n[scale_set.endpoints]\n{endpoints}"));
    // Nobody works: by then the deletion may have been approved, and the event be gone.
    let answers = |out: &str| out == "draining" || out == "ready";
    wait_for("the new port", SOON, || answers(&vm.sh("curl -s http://127.0.0.1:9461/ready").out));
    assert!(!vm.sh("curl -s http://127.0.0.1:9460/ready").success());
    // Somebody else was faster: it has a name.
    let taken = vm.spawn_as("ada", "exec python3 -m http.server 9462");
    wait_for("ada's program listens", SOON, || vm.sh("curl -s -o /dev/null http://127.0.0.1:9462/").success());
    vm.configure(&format!("[scale_set]\nlisten = \"0.0.0.0:9462\"\n[scale_set.endpoints]\n{endpoints}"));
    let said = || vm.sh("dsvm-agent status").out.split_whitespace().collect::<Vec<_>>().join(" ");
    wait_for("who holds it is named", SOON, || said().contains("by a program of ada's"));
    drop(taken);
}

#[test]
fn silent_slow_and_endless_clients_hold_up_neither_probes_nor_the_agent() {
    let Some((vm, azure)) = vm(World::new(Mode::Uniform, 1)) else { return };
    let url = azure.url();
    let endpoints = format!("metadata = \"{url}\"\nresource_manager = \"{url}\"\nmonitor = \"{url}\"\n");
    vm.configure(&format!("[scale_set]\nlisten = \"0.0.0.0:9460\"\n[scale_set.endpoints]\n{endpoints}"));
    let agent = vm.agent_start();
    agent.wait_ready();
    let ready = || vm.sh("curl -s --max-time 30 http://127.0.0.1:9460/ready").out == "ready";
    wait_for("it is ready", SOON, ready);
    // As many as wait in the queue and are served at once; none of them reads.
    let crowd = vm.inside(|| {
        let one = |i: usize| {
            let mut stream = TcpStream::connect(("127.0.0.1", 9460)).expect("a connection");
            let said: Vec<u8> = match i % 4 {
                0 => Vec::new(),
                1 => b"GET /ready HTT".to_vec(),
                2 => vec![b'x'; 64 * 1024],
                _ => b"GET /metrics HTTP/1.1\r\n\r\n".repeat(500),
            };
            // It may be closed already.
            let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&said));
            stream
        };
        (0..240).map(one).collect::<Vec<_>>()
    });
    let open = vm.sh(&format!("ls /proc/{}/fd | wc -l", agent.brain())).ok().parse::<usize>().expect("a number");
    assert!(open < 200, "{open} descriptors");
    wait_for("an honest one is answered", SOON, ready);
    agent.wait_looked();
    agent.wait_no_problem();
    drop(crowd);
}
