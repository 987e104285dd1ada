//! Before the VM is deleted: who works has the whole notice, nobody new is let in, what is on the VM only is on the share,
//! and what was written until the approval is there after the power is gone.

use azure::Azure;
use azure::world::{Mode, World};
use std::time::{Duration, Instant};

use vm::{FileServer, Guest, Scenario, Service, quoted, together, wait_for};

/// Emulated guests on a busy machine are late.
const LATE: Duration = Duration::from_secs(150);
/// From the event to the deletion: less than Azure's five minutes, and longer than every margin before the end.
const NOTICE: Duration = Duration::from_secs(240);
/// From the approval until the power goes: Azure has to find a host and shut the VM down, nobody knows how quickly.
const POWER: Duration = Duration::from_secs(5);

/// One numbered line after the other, five a second, into a file that stays open and is flushed by nobody; each is shown
/// on the terminal when it was written.
const PROGRAM: &str = r#"
import os, time
file = os.open(os.path.expanduser("~/notebooks/remote/lines"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
n = 0
while True:
    n += 1
    os.write(file, f"line {n:06d} of what alice works on\n".encode())
    print(f"wrote {n}", flush=True)
    time.sleep(0.2)
"#;

const SSH: &str = "-i /root/person_key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";

/// The last line of which alice saw that it was written, on her own machine. That is the server, which lasts.
fn last_seen(server: &FileServer) -> usize {
    let seen = server.sh("grep -ao 'wrote [0-9]*' /root/alice | tail -n 2 | head -n 1");
    seen.strip_prefix("wrote ").and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn on_her_screen(server: &FileServer, text: &str) -> bool {
    server.ssh(&format!("tr -s '\\r\\n' '  ' </root/alice | grep -aqF {}", quoted(text))).success()
}

fn probe(guest: &Guest) -> String {
    guest.ssh("curl --silent --max-time 10 --write-out '%{http_code}' http://127.0.0.1:9460/ready").stdout
}

/// What a user gets who asks for the VM's identity.
fn asks_for_identity(guest: &Guest, user: &str) -> (bool, String) {
    let url =
        "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
    let output = guest.log_in(user, &format!("curl -sS --max-time 20 -H Metadata:true '{url}'"));
    (output.stdout.contains("access_token"), output.stderr)
}

#[test]
fn what_was_written_until_the_approval_is_there_when_the_power_is_gone() {
    let scenario = Scenario::new("what_was_written_until_the_approval_is_there_when_the_power_is_gone");
    let (server, mut guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    let azure = Azure::start(World { lingers: true, ..World::new(Mode::Uniform, 1) });
    let port = azure.url().rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
    guest.put_into_azure(port, 8169);
    guest.configure_smb();
    let url = "http://127.0.0.1:8169";
    guest.put(
        format!("[scale_set]\nlisten = \"127.0.0.1:9460\"\n[scale_set.endpoints]\nresource_manager = \"{url}\"\nmonitor = \"{url}\"\n"),
        "/etc/dsvm-agent/agent.d/azure.toml",
        0o644,
    );
    guest.wait_ready();
    azure.until("it is protected", |w| (w.vms[0].protection == Some((true, true))).then_some(()));

    // The guard of the VM's identity, chosen by the administrator: users are refused at once, root and the agent are not.
    assert!(asks_for_identity(&guest, "carol").0, "without it anybody gets the VM's identity");
    guest.sh("systemctl start dsvm-agent-metadata-guard");
    for user in ["alice", "carol"] {
        let began = Instant::now();
        let (got, said) = asks_for_identity(&guest, user);
        println!("{user} asks for the VM's identity: {said} ({:.1} s)", began.elapsed().as_secs_f64());
        assert!(!got && said.contains("Failed to connect"), "{user}: {said}");
    }

    // bob saved one level too high, and left. alice works at a terminal, from another machine.
    guest.log_in("bob", "mkdir -p ~/notebooks; echo precious >~/notebooks/lost.ipynb").ok();
    guest.put(PROGRAM, "/usr/local/bin/work.py", 0o644);
    let at_vm = |options: &str, user: &str| format!("ssh {options} {SSH} {user}@{}", guest.address());
    let session = quoted(&format!("exec {} python3 /usr/local/bin/work.py >/root/alice 2>&1", at_vm("-tt", "alice")));
    server.sh(&format!("systemd-run --quiet --collect --unit=alice sh -c {session}"));
    wait_for("alice works", LATE, || last_seen(&server) > 10);
    wait_for("people are sent here", LATE, || probe(&guest).ends_with("200"));

    let announced = Instant::now();
    azure.world().announce("Terminate", 0, NOTICE);
    let passed = |what: &str| println!("{what}: {:.1} s after the event", announced.elapsed().as_secs_f64());
    wait_for("alice is told", LATE, || on_her_screen(&server, "it cannot be stopped. Save now."));
    passed("alice was told");
    wait_for("nobody is sent here", LATE, || probe(&guest).ends_with("503"));
    passed("the probe says 503");
    wait_for("nobody is let in", LATE, || guest.ssh("test -e /run/nologin").success());
    let refused = server.ssh(&format!("{} true", at_vm("", "carol")));
    assert_ne!(refused.status, 0, "{refused}");
    assert!(refused.stderr.contains("This VM is deleted at") && refused.stderr.contains("another one"), "{refused}");
    server.sh(&format!("{} true", at_vm("", "root")));
    passed("carol was refused with the reason, root was let in");
    let rescued = "/srv/share/notebooks/bob/rescued/*-dsvmpool_0/notebooks/lost.ipynb";
    wait_for("bob's file is safe", LATE, || server.ssh(&format!("cat {rescued}")).stdout == "precious\n");
    passed("bob's file is on the share");

    // The agent dies in the middle of it, and goes on.
    let main = guest.sh("systemctl show --property MainPID --value dsvm-agent");
    let before = last_seen(&server);
    guest.sh("systemctl kill --kill-whom=all --signal=KILL dsvm-agent");
    wait_for("there is another agent", LATE, || {
        let now = guest.ssh("systemctl show --property MainPID --value dsvm-agent").stdout;
        now.trim() != main
            && now.trim() != "0"
            && guest.ssh("dsvm-agent status").stdout.contains("This VM is deleted at")
    });
    wait_for("alice goes on", LATE, || last_seen(&server) > before);
    passed("the agent was killed, and goes on");
    assert!(guest.ssh("test -e /run/nologin").success(), "nobody is let in meanwhile");
    assert!(azure.world().events.iter().all(|e| !e.approved), "who works has the whole notice");

    // The end.
    let left = NOTICE.saturating_sub(announced.elapsed());
    wait_for("the notice is almost over", left + LATE, || announced.elapsed() > NOTICE - Duration::from_secs(60));
    azure.until("it is approved", |w| w.events.iter().any(|e| e.approved).then_some(()));
    let approved = Instant::now();
    passed("it was approved");
    assert!(approved.duration_since(announced) > NOTICE - Duration::from_secs(15), "not before its time");
    let written = last_seen(&server);
    wait_for("the power goes", POWER + LATE, || approved.elapsed() >= POWER);
    guest.kill();
    let shown = last_seen(&server);
    server.sh("systemctl stop alice || true");

    let file = String::from_utf8(server.read("notebooks/alice/lines")).expect("no byte that alice did not write");
    let expected = |n: usize| format!("line {n:06} of what alice works on");
    let lines: Vec<&str> = file.lines().collect();
    println!(
        "{written} lines were written at the approval and {shown} when the power went, {:.1} s later; {} are on the share",
        approved.elapsed().as_secs_f64(),
        lines.len()
    );
    let wrong = lines.iter().enumerate().find(|(i, line)| **line != expected(i + 1));
    assert_eq!(wrong, None, "no line is lost, or zeroed");
    assert!(file.ends_with('\n') && lines.len() >= written, "{} of {written}", lines.len());
    assert_eq!(server.sh(&format!("cat {rescued}")), "precious");
}
