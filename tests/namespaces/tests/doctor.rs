//! `doctor`: what it sees, for whom, and that it leaves nothing behind and never waits for long.

use namespaces::{MOUNT_POINT, SOON, Sandbox, wait_for};
use serde_json::Value;
use std::io::{Read, Write};

fn machine() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.sh("ip link set lo up").ok();
    Some(vm)
}

/// What the doctor says, and its exit code.
fn doctor(vm: &Sandbox) -> (i32, Value) {
    let output = vm.sh("dsvm-agent doctor --json");
    let report = serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}: {}{}", output.out, output.err));
    (output.code, report)
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no step {name}: {report:#}"))
}

#[track_caller]
fn assert_wrong(report: &Value, name: &str, code: &str) {
    let step = step(report, name);
    assert_eq!((step["outcome"].as_str(), step["problem"]["code"].as_str()), (Some("wrong"), Some(code)), "{report:#}");
}

/// An SMB share at `host`, with a key that can be read.
fn smb(vm: &Sandbox, host: &str) {
    vm.config(&format!(
        "[share]\nsource = \"//{host}/share\"\nmount_point = \"{MOUNT_POINT}\"\n\
         [share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n"
    ));
    vm.write("/etc/dsvm-agent/share.key", "username=contosods\npassword=hunter2hunter2\n");
    vm.sh("chmod 0600 /etc/dsvm-agent/share.key").ok();
}

#[test]
fn with_all_as_it_should_be_nothing_is_wrong_and_nothing_is_left_behind() {
    let Some(vm) = machine() else { return };
    vm.configure("[scale_set]\nenabled = \"off\"\n");
    let agent = vm.agent_start();
    agent.wait_ready();
    // What the agent has to write by itself is written.
    wait_for("the VM's row is on the share", SOON, || vm.exists("/srv/share/.dsvm-agent/nodes/vm1.json"));
    let before = (namespaces::hash_tree(&[vm.path("/srv/share")]).expect("a tree"), vm.mounts());
    let (code, report) = doctor(&vm);
    assert_eq!((code, &report["right"], &report["cause"]), (0, &Value::Bool(true), &Value::Null), "{report:#}");
    for name in ["configuration", "kernel", "mount", "share", "permissions", "mounts", "answers", "agent"] {
        assert_eq!(step(&report, name)["outcome"], "right", "{report:#}");
    }
    assert_eq!(before, (namespaces::hash_tree(&[vm.path("/srv/share")]).expect("a tree"), vm.mounts()));
    agent.wait_no_problem();

    let text = vm.sh("dsvm-agent doctor").out;
    assert!(text.contains("permissions    + directories can be made for notebooks/{user}"), "{text}");

    // Others see what they may.
    let user = vm.as_user("ada", "dsvm-agent doctor");
    assert_eq!(user.code, 0, "{}{}", user.out, user.err);
    assert!(user.out.contains("kernel         - only root may look: sudo dsvm-agent doctor"), "{}", user.out);
    assert!(user.out.ends_with("Nothing is wrong, as far as was looked at."), "{}", user.out);
    // The agent's own user cannot read it then, either: that is the cause.
    vm.sh("chmod 0600 /etc/dsvm-agent/agent.toml").ok();
    agent.wait_problem("config.mistake");
    let user = vm.as_user("ada", "dsvm-agent doctor");
    assert!(user.code == 1 && user.out.starts_with("configuration  - only root may look"), "{}{}", user.out, user.err);
    assert!(user.out.contains("chmod 0644 /etc/dsvm-agent/agent.toml"), "{}", user.out);
}

#[test]
fn without_an_agent_it_says_so_and_looks_all_the_same() {
    let Some(vm) = machine() else { return };
    vm.configure("");
    let (code, report) = doctor(&vm);
    assert_eq!((code, report["cause"].as_str()), (1, Some("agent")), "{report:#}");
    assert_wrong(&report, "agent", "agent.absent");
    assert_eq!(step(&report, "permissions")["outcome"], "right");
    assert_eq!(step(&report, "mounts")["outcome"], "note", "{report:#}");
    assert!(vm.sh(&format!("! mountpoint -q {MOUNT_POINT}")).success());

    vm.sh("rm /etc/dsvm-agent/agent.toml").ok();
    assert_wrong(&doctor(&vm).1, "configuration", "share.unconfigured");
    vm.config("[share]\nsauce = \"x\"\n");
    assert_wrong(&doctor(&vm).1, "configuration", "config.mistake");
    vm.sh("mkdir /srv/local").ok();
    vm.config(&format!("[share]\nsource = \"/srv/local\"\nmount_point = \"{MOUNT_POINT}\"\n"));
    assert_wrong(&doctor(&vm).1, "mount", "share.source-missing");
}

/// What a server says that knows nothing newer.
fn smb_2_1() -> Vec<u8> {
    let mut answer = vec![0u8; 4 + 128];
    answer[3] = 128;
    answer[4..8].copy_from_slice(b"\xfeSMB");
    answer[4 + 68..4 + 70].copy_from_slice(&0x0210u16.to_le_bytes());
    answer
}

#[test]
fn each_thing_that_an_smb_share_needs_is_looked_at_by_itself() {
    let Some(vm) = machine() else { return };
    smb(&vm, "127.0.0.1");
    // Nobody listens.
    let (code, report) = doctor(&vm);
    assert_eq!(code, 1);
    assert_wrong(&report, "port", "share.unreachable");
    let said = step(&report, "port")["seen"].as_str().expect("text").to_owned();
    assert_eq!(said, "127.0.0.1 refuses connections on port 445: no file server runs there.");
    for name in ["protocol", "log-on", "share", "permissions"] {
        assert_eq!(step(&report, name)["outcome"], "unseen", "{report:#}");
    }
    assert_eq!(step(&report, "key")["seen"], "one key of account contosods");
    assert!(!report.to_string().contains("hunter2"));
    let user = vm.as_user("ada", "dsvm-agent doctor");
    assert!(user.code == 1 && user.out.contains("port           ! 127.0.0.1 refuses"), "{}{}", user.out, user.err);

    // Somebody who is no file server, somebody who never says a word, and a server that knows only SMB 2.1.
    let listener = vm.listen(445);
    for (answer, says) in [
        (b"SSH-2.0-OpenSSH_10.0\r\n".to_vec(), "no SMB server"),
        (Vec::new(), "does not answer as a file server"),
        (smb_2_1(), "the best that it knows is SMB 2.1"),
    ] {
        let report = std::thread::scope(|scope| {
            // Whoever only connects gets the answer too.
            scope.spawn(|| {
                for _ in 0..2 {
                    let (mut peer, _) = listener.accept().expect("a connection");
                    let mut asked = [0u8; 512];
                    if peer.read(&mut asked).is_ok_and(|n| n > 0) {
                        let _ = peer.write_all(&answer);
                        // Until the other side has enough of it.
                        let _ = peer.read(&mut asked);
                    }
                }
            });
            doctor(&vm).1
        });
        assert_wrong(&report, "protocol", "share.protocol-refused");
        assert!(step(&report, "protocol")["seen"].as_str().unwrap_or_default().contains(says), "{report:#}");
        assert_eq!(step(&report, "log-on")["outcome"], "unseen", "{report:#}");
    }

    // A key of systemd's, where systemd says that it is.
    let before = vm.read("/etc/dsvm-agent/agent.toml");
    vm.config(&before.replace("file = \"/etc/dsvm-agent/share.key\"", "systemd_credential = \"share.key\""));
    vm.write("/run/credentials/x/share.key", "username=of-systemd\npassword=hunter2hunter2\n");
    vm.sh("chmod 0400 /run/credentials/x/share.key").ok();
    let output = vm.sh("CREDENTIALS_DIRECTORY=/run/credentials/x dsvm-agent doctor --json");
    let report = serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}: {}{}", output.out, output.err));
    assert_eq!(step(&report, "key")["seen"], "one key of account of-systemd");
    assert_wrong(&doctor(&vm).1, "key", "share.credentials");
    // By hand it is found where the service has it.
    vm.sh("mv /run/credentials/x /run/credentials/dsvm-agent.service").ok();
    assert_eq!(step(&doctor(&vm).1, "key")["seen"], "one key of account of-systemd");

    // A name that nobody knows, and a key that anybody may read.
    smb(&vm, "nosuch.contoso.example");
    let report = doctor(&vm).1;
    assert_wrong(&report, "name", "share.name-unknown");
    assert_eq!(step(&report, "port")["outcome"], "unseen");
    vm.sh("chmod 0644 /etc/dsvm-agent/share.key").ok();
    assert_wrong(&doctor(&vm).1, "key", "share.credentials");
}
