//! `doctor` against a real server and kernel: each fault of the share is found, by whoever runs it, agent or not.

use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{Guest, Scenario, Service, together};

/// The step that is the cause, and the code of its problem; nothing when nothing is wrong.
#[track_caller]
fn cause(guest: &Guest) -> Option<(String, String)> {
    let output = guest.ssh_within("dsvm-agent doctor --json", std::time::Duration::from_secs(180));
    let report: serde_json::Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", output.stdout, output.stderr));
    println!("{}", guest.ssh("true; cat /proc/uptime").stdout);
    for step in report["steps"].as_array().expect("steps") {
        println!("{:<14} {:<7} {}", step["name"].as_str()?, step["outcome"].as_str()?, step["seen"].as_str()?);
    }
    assert!(!output.stdout.contains(&KEY[..20]));
    assert_eq!(output.success(), report["right"] == true, "{report:#}");
    let name = report["cause"].as_str()?;
    let step = report["steps"].as_array()?.iter().find(|s| s["name"] == name)?;
    Some((name.to_owned(), step["problem"]["code"].as_str()?.to_owned()))
}

#[track_caller]
fn assert_cause(guest: &Guest, name: &str, code: &str) {
    assert_eq!(cause(guest), Some((name.to_owned(), code.to_owned())));
}

#[test]
#[ignore = "long: each fault in turn; run it when the doctor, or what is said of the share, changes"]
fn each_fault_of_the_share_is_found() {
    let scenario = Scenario::new("each_fault_of_the_share_is_found");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.configure_smb();
    guest.wait_ready();
    assert_eq!(cause(&guest), None);
    let left = server.list(".");
    assert!(!left.iter().any(|name| name.contains("doctor")), "{left:?}");

    // Nothing of it needs an agent.
    guest.sh("systemctl stop dsvm-agent");
    assert_cause(&guest, "agent", "agent.absent");

    let key = "/etc/dsvm-agent/share.key";
    guest.put(format!("username={ACCOUNT}\npassword=bm90IHRoZSBrZXk=\n"), key, 0o600);
    assert_cause(&guest, "log-on", "share.key-refused");
    guest.put(format!("username={ACCOUNT}\npassword={KEY}\n"), key, 0o600);

    let change = |edit: &str| {
        server.sh(&format!(
            "cp /etc/samba/smb.conf /root/good.conf; sed -i '{edit}' /etc/samba/smb.conf; systemctl restart smbd"
        ))
    };
    let mend = || server.sh("cp /root/good.conf /etc/samba/smb.conf; systemctl restart smbd");
    change(&format!("s/^\\[{SHARE}\\]/[other]/"));
    assert_cause(&guest, "log-on", "share.not-found");
    mend();
    change("s/smb encrypt = required/smb encrypt = off/");
    assert_cause(&guest, "protocol", "share.encryption-refused");
    mend();

    server.drop_silently();
    assert_cause(&guest, "port", "share.unreachable");
    server.undrop();
    server.stop();
    assert_cause(&guest, "port", "share.unreachable");
    server.start_smb();

    guest.sh(&format!("sed -i 's/{HOST}/nosuch.{HOST}/' /etc/dsvm-agent/agent.toml"));
    assert_cause(&guest, "name", "share.name-unknown");
    let seen = guest.as_user("alice", "dsvm-agent doctor").stdout;
    assert!(seen.contains("log-on         - only root may look: sudo dsvm-agent doctor"), "{seen}");
    // A name that does not exist, or, without any server of names, one that nobody knows of.
    assert!(seen.lines().any(|l| l.starts_with("name           ! ") && l.contains(" nosuch.")), "{seen}");
}
