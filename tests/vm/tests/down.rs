//! A VM goes down while a program that runs as a service writes: what can be written is, and a dead server holds nobody up.

use std::time::Duration;

use vm::server::SHARE;
use vm::{FileServer, Guest, Scenario, Service, Suite, together, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// Writes numbered blocks as fast as it can, without ever flushing them, and notes how many were taken. Then it keeps the
/// file open: whoever ends it has it written by the kernel.
const WRITER: &str = r#"
import os, signal, sys, time
path, count = sys.argv[1], int(sys.argv[2])
while True:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        break
    except BlockingIOError:
        # So says cifs now and then of a server that has just come back.
        time.sleep(1)
i = 0
while i != count:
    os.write(fd, f"{i:08d}".encode() * 131072)
    i += 1
    with open("/home/alice/taken", "w") as note:
        note.write(str(i))
signal.pause()
"#;

/// Says how many of so many blocks of a file are not what they must be.
const COMPARE: &str = r#"
import sys
with open(sys.argv[1], "rb") as file:
    print(sum(file.read(1 << 20) != f"{i:08d}".encode() * 131072 for i in range(int(sys.argv[2]))), file.read(1))
"#;

/// What becomes of a server.
type Turn = fn(&FileServer);

/// Starts what a hub does for its users: a service of the machine, of which no log-in and no session of theirs knows.
fn be_present(guest: &Guest) {
    guest.sh("systemd-run --quiet --collect --unit=present --uid=alice sleep infinity");
    wait_for("alice has her notebooks", SOON, || {
        guest.ssh("mountpoint --quiet /datamnt/dsvmshare/notebooks/alice").success()
    });
}

/// Lets a service of hers write.
fn serve(guest: &Guest, blocks: i32) {
    guest.put(WRITER, "/usr/local/bin/blocks.py", 0o644);
    guest.sh("rm -f /home/alice/taken");
    be_present(guest);
    let python = format!("/usr/bin/python3 /usr/local/bin/blocks.py /home/alice/notebooks/remote/blocks {blocks}");
    guest.sh(&format!("systemd-run --quiet --collect --unit=writer --uid=alice {python}"));
}

fn taken(guest: &Guest) -> u32 {
    guest.ssh("cat /home/alice/taken").stdout.trim().parse().unwrap_or(0)
}

#[test]
fn what_a_service_wrote_is_on_the_share_after_a_shutdown() {
    let scenario = Scenario::new("what_a_service_wrote_is_on_the_share_after_a_shutdown");
    let (server, mut guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.configure_smb();
    guest.wait_ready();
    let refused = guest.ssh("dsvm-agent going-down").fails();
    assert!(refused.contains("does not go down"), "{refused}");
    serve(&guest, 96);
    wait_for("all is taken", SOON, || taken(&guest) == 96);
    println!("{}", guest.sh("grep -E 'Dirty|Writeback:' /proc/meminfo"));
    let down = guest.goes_down();
    server.put(COMPARE, "/tmp/blocks.py", 0o644);
    let wrong = server.sh("python3 /tmp/blocks.py /srv/share/notebooks/alice/blocks 96");
    println!("off after {down:.1} s; wrong: {wrong}");
    assert_eq!(wrong, "0 b''");
}

/// Boots, lets a service write without end, lets the server die, and goes down. Returns how long that took.
fn goes_down_with(guest: &mut Guest, server: &FileServer, death: impl Fn(&FileServer), before: Duration) -> f64 {
    guest.wait_ready();
    serve(guest, -1);
    wait_for("some is taken", SOON, || taken(guest) > 20);
    death(server);
    // Time in which the kernel begins to write, or notices: nothing tells when a program hangs.
    std::thread::sleep(before);
    assert_eq!(guest.sh("systemctl is-active writer"), "active");
    guest.goes_down()
}

fn is_held_up_by_no_dead_server(suite: Suite, scenario: &str) {
    let scenario = Scenario::new(scenario);
    let (server, mut guest) =
        together(|| scenario.file_server(), || scenario.agent_vm_of(suite, "vm1", Service::Running));
    guest.configure_smb();
    guest.wait_ready();
    // Whoever would rather wait for the server.
    guest.sh("systemctl mask dsvm-agent-going-down");
    let well = guest.goes_down();
    guest.power_on();
    guest.sh("systemctl unmask dsvm-agent-going-down");
    for (what, death, life, before) in [
        ("killed", FileServer::kill_smb as Turn, FileServer::start_smb as Turn, 20),
        ("just killed", FileServer::kill_smb, FileServer::start_smb, 0),
        ("silent", FileServer::drop_silently, FileServer::undrop, 20),
    ] {
        let dead = goes_down_with(&mut guest, &server, death, Duration::from_secs(before));
        println!("off after {well:.1} s with the server there, {dead:.1} s with it {what} and a service that writes");
        life(&server);
        guest.power_on();
        let told = guest.sh("journalctl --boot -1 --no-pager --unit dsvm-agent-going-down");
        println!("{told}");
        assert_eq!(told.matches("is given up").count(), 1, "it is said, and once: {told}");
        assert!(!told.contains("Nothing can stand in"), "{told}");
        assert!(dead < 30.0 + 2.0 * well, "{dead:.1} s instead of {well:.1} s");
        let kernel = guest.sh("journalctl --boot --dmesg --no-pager");
        assert!(!kernel.contains("recovery complete"), "its own disk was left as it was: {kernel}");
    }
}

#[test]
#[ignore = "four boots: run it when something about stopping changes"]
fn no_dead_server_holds_up_a_service_that_writes() {
    is_held_up_by_no_dead_server(Suite::default(), "no_dead_server_holds_up_a_service_that_writes");
}

#[test]
#[ignore = "four boots: run it when something about stopping changes"]
fn nor_does_it_on_an_older_kernel() {
    is_held_up_by_no_dead_server(Suite::Bookworm, "nor_does_it_on_an_older_kernel");
}

/// The kernel's NFS client lets a program that waits for it be killed, but not what is written back for one.
fn is_held_up_by_no_dead_nfs_server(suite: Suite, scenario: &str) {
    let scenario = Scenario::new(scenario);
    let (server, mut guest) =
        together(|| scenario.file_server(), || scenario.agent_vm_of(suite, "vm1", Service::Running));
    server.start_nfs(false);
    guest.configure_nfs(SHARE);
    guest.wait_ready();
    let well = guest.goes_down();
    guest.power_on();
    let turns: [(&str, Turn, Turn); 2] = [
        ("stopped", FileServer::stop_nfs, |server| server.start_nfs(false)),
        ("silent", FileServer::drop_silently, FileServer::undrop),
    ];
    for (what, death, life) in turns {
        let dead = goes_down_with(&mut guest, &server, death, Duration::from_secs(20));
        println!("off after {well:.1} s with the server there, {dead:.1} s with it {what} and a service that writes");
        life(&server);
        guest.power_on();
        println!("{}", guest.sh("journalctl --boot -1 --no-pager | tail -n 60"));
        assert!(dead < 30.0 + 2.0 * well, "{dead:.1} s instead of {well:.1} s");
    }
}

#[test]
#[ignore = "three boots: run it when something about stopping changes"]
fn no_dead_nfs_server_holds_up_a_service_that_writes() {
    is_held_up_by_no_dead_nfs_server(Suite::default(), "no_dead_nfs_server_holds_up_a_service_that_writes");
}

#[test]
#[ignore = "three boots: run it when something about stopping changes"]
fn nor_does_a_dead_nfs_server_on_an_older_kernel() {
    is_held_up_by_no_dead_nfs_server(Suite::Bookworm, "nor_does_a_dead_nfs_server_on_an_older_kernel");
}

/// Boots, lets the server die while nobody writes, and goes down. Returns how long that took.
fn goes_down_quietly(guest: &mut Guest, server: &FileServer, somebody: bool, death: Turn) -> f64 {
    guest.wait_ready();
    if somebody {
        be_present(guest);
    }
    death(server);
    guest.goes_down()
}

/// Nothing keeps the mounts in use then, and systemd unmounts them before anybody can know that the server is dead.
fn is_held_up_by_no_dead_server_in_quiet(
    suite: Suite,
    scenario: &str,
    configure: fn(&FileServer, &Guest),
    turns: &[(&str, bool, Turn, Turn)],
) {
    let scenario = Scenario::new(scenario);
    let (server, mut guest) =
        together(|| scenario.file_server(), || scenario.agent_vm_of(suite, "vm1", Service::Running));
    configure(&server, &guest);
    guest.wait_ready();
    let well = guest.goes_down();
    guest.power_on();
    for (what, somebody, death, life) in turns {
        let dead = goes_down_quietly(&mut guest, &server, *somebody, *death);
        let who = if *somebody { "somebody present" } else { "nobody there" };
        println!("off after {well:.1} s with the server there, {dead:.1} s with it {what} and {who}");
        life(&server);
        guest.power_on();
        println!("{}", guest.sh("journalctl --boot -1 --no-pager | tail -n 60"));
        assert!(dead < 30.0 + 2.0 * well, "{dead:.1} s instead of {well:.1} s");
    }
}

const NFS_TURNS: [(&str, bool, Turn, Turn); 3] = [
    ("silent", true, FileServer::drop_silently, FileServer::undrop),
    ("silent", false, FileServer::drop_silently, FileServer::undrop),
    ("stopped", true, FileServer::stop_nfs, |server| server.start_nfs(false)),
];

fn nfs(server: &FileServer, guest: &Guest) {
    server.start_nfs(false);
    guest.configure_nfs(SHARE);
}

#[test]
#[ignore = "four boots: run it when something about stopping changes"]
fn no_dead_nfs_server_holds_up_a_quiet_vm() {
    is_held_up_by_no_dead_server_in_quiet(Suite::default(), "no_dead_nfs_server_holds_up_a_quiet_vm", nfs, &NFS_TURNS);
}

#[test]
#[ignore = "four boots: run it when something about stopping changes"]
fn nor_does_a_dead_nfs_server_a_quiet_vm_with_an_older_kernel() {
    is_held_up_by_no_dead_server_in_quiet(
        Suite::Bookworm,
        "nor_does_a_dead_nfs_server_a_quiet_vm_with_an_older_kernel",
        nfs,
        &NFS_TURNS,
    );
}

#[test]
#[ignore = "two boots: run it when something about stopping changes"]
fn nor_does_a_dead_smb_server_a_quiet_vm() {
    is_held_up_by_no_dead_server_in_quiet(
        Suite::default(),
        "nor_does_a_dead_smb_server_a_quiet_vm",
        |_, guest| guest.configure_smb(),
        &NFS_TURNS[..1],
    );
}
