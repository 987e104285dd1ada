//! The pool, seen from any of its VMs.

use namespaces::{MOUNT_POINT, SOON, Sandbox, wait_for};
use serde_json::Value;
use std::time::{Duration, SystemTime};

const NODES: &str = "/srv/share/.dsvm-agent/nodes";

fn pool(vm: &Sandbox) -> Value {
    serde_json::from_str(&vm.sh("dsvm-agent pool --json").out).unwrap_or_default()
}

fn node(pool: &Value, name: &str) -> Value {
    let nodes = pool["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["name"] == name).unwrap_or_default()
}

/// A time so many seconds ago, as a row has it.
fn ago(seconds: u64) -> String {
    let at = SystemTime::now() - Duration::from_secs(seconds);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
    // date(1) knows calendars.
    let out = std::process::Command::new("date").args(["-u", "-d", &format!("@{since}"), "+%FT%TZ"]).output();
    String::from_utf8(out.expect("date runs").stdout).expect("text").trim().to_owned()
}

fn row(node: &str, verdict: &str, age: u64) -> String {
    format!(
        r#"{{"schema":1,"node":"{node}","boot_id":"b","version":"0.1.0","health":"ready","verdict":"{verdict}",
            "users":4,"present":1,"protected":true,"draining":false,"written_at":"{}","marks":[]}}"#,
        ago(age)
    )
}

#[test]
fn two_vms_see_each_other_and_a_user_where_they_are() {
    let Some(first) = Sandbox::new("dsvm7") else { return };
    let second = first.another("dsvm8");
    for vm in [&first, &second] {
        // The same numbers on both.
        ["alice", "bob"].iter().for_each(|name| vm.user(name));
        vm.configure("[scale_set]\nenabled = \"off\"\n");
    }
    let _work = second.spawn_as("alice", "sleep 1000");
    let (here, there) = (first.agent_start(), second.agent_start());
    here.wait_ready();
    there.wait_ready();
    wait_for("the one hears of the other, and of who is there", SOON, || {
        node(&pool(&first), "dsvm8")["who"][0] == "alice"
    });
    let seen = pool(&first);
    let other = node(&seen, "dsvm8");
    assert_eq!((&seen["schema"], &seen["away"], &other["state"]), (&1.into(), &Value::Null, &"live".into()), "{seen}");
    assert_eq!((&other["present"], &other["users"]), (&1.into(), &2.into()), "{seen}");
    assert_eq!(node(&seen, "dsvm7")["here"], true);
    let text = first.sh("dsvm-agent pool");
    assert!(text.ok().contains("1 person: alice"), "{}", text.out);

    // Users see where they are themselves, and nobody's name.
    let hers = first.as_user("alice", "dsvm-agent pool");
    assert!(hers.ok().contains("you are there") && !hers.out.contains("alice"), "{}", hers.out);
    let his = first.as_user("bob", "dsvm-agent pool --json");
    assert!(!his.ok().contains("alice") && !his.out.contains("\"yours\": true,\n      \"who\": ["), "{}", his.out);
    assert_eq!(node(&serde_json::from_str(&his.out).expect("JSON"), "dsvm8")["yours"], false);
    let status = first.as_user("alice", "dsvm-agent status");
    assert!(status.out.contains("You are on dsvm8 too"), "{}", status.out);
    assert!(!first.as_user("bob", "dsvm-agent status").out.contains("too"));

    // No name is in a row, and nobody but root reads it.
    let rows = first.sh(&format!("cat {NODES}/*"));
    assert!(rows.ok().contains("dsvm8") && !rows.out.contains("alice"), "{}", rows.out);
    for path in [NODES, "/run/dsvm-agent/share/root/.dsvm-agent/nodes", MOUNT_POINT] {
        let tried = first.as_user("bob", &format!("cat {path}/*.json {path}/.dsvm-agent/nodes/*.json"));
        assert!(!tried.success() && tried.out.is_empty(), "{path}: {}", tried.out);
    }
    assert_eq!(here.problems(), [""; 0]);
    drop(there);

    // What others did to the directory is no reason to believe what lies in it; what was seen before is shown.
    first.sh(&format!("chmod 0777 {NODES}")).ok();
    wait_for("it says that they cannot be read", SOON, || pool(&first)["away"].is_string());
    let answer = first.sh("dsvm-agent pool");
    assert_eq!(answer.code, 1, "{}", answer.out);
    assert!(answer.out.contains("What was read last is shown") && answer.out.contains("dsvm8"), "{}", answer.out);
}

#[test]
fn a_thousand_vms_dead_ones_and_hostile_rows() {
    let Some(vm) = Sandbox::new("dsvm0") else { return };
    vm.user("alice");
    vm.configure("[scale_set]\nenabled = \"off\"\n");
    vm.sh(&format!("mkdir -m 0700 -p {NODES} && chmod 0700 {NODES}/..")).ok();
    for number in 1..=1000 {
        let age = if number % 100 == 0 { 7200 } else { 60 };
        let text = row(&format!("dsvm{number}"), if number % 2 == 0 { "busy" } else { "idle" }, age);
        std::fs::write(vm.path(format!("{NODES}/dsvm{number}.json")), text).expect("a row");
    }
    let plant = |name: &str, text: &str| std::fs::write(vm.path(format!("{NODES}/{name}")), text).expect("a file");
    plant("liar.json", &row("dsvm0", "idle", 1));
    plant("e%1B[2%4Avil.json", &row("x", "idle", 1).replace("\"x\"", "\"e\\u001b[2Jvil\""));
    plant("word.json", &row("word", "\\u001b[2J", 1));
    plant("deep.json", &format!("{{\"marks\":{}", "[".repeat(10_000)));
    plant("huge.json", &"x".repeat(1 << 20));
    vm.sh(&format!("cd {NODES}; mkfifo pipe.json; ln -s /etc/shadow link.json; mkdir directory.json")).ok();
    let agent = vm.agent_start();
    agent.wait_ready();
    let answer = vm.as_user("alice", "dsvm-agent pool --json");
    assert_eq!(answer.code, 1, "some are no rows: {}", answer.err);
    let seen: Value = serde_json::from_str(&answer.out).expect("JSON");
    let nodes = seen["nodes"].as_array().expect("nodes");
    let state = |state: &str| nodes.iter().filter(|node| node["state"] == state).count();
    assert_eq!((state("live"), state("silent"), nodes.len()), (992, 10, 1002));
    let odd: Vec<&str> = seen["odd"].as_array().expect("odd").iter().filter_map(|o| o["file"].as_str()).collect();
    let expected = ["deep", "directory", "huge", "liar", "link", "pipe", "word"].map(|name| format!("{name}.json"));
    assert_eq!(odd, expected);
    assert!(!answer.out.contains("root:"), "nothing of /etc/shadow");
    let text = vm.as_user("alice", "dsvm-agent pool");
    assert!(!text.out.contains('\u{1b}') && text.out.contains("e\\u{1b}[2Jvil"), "{}", text.out);
    assert!(text.out.lines().count() > 1000 && text.out.contains("not heard of for 2 h"), "{}", text.out);
    // Whoever asks and asks reads the share no more often.
    wait_for("its own row is there", SOON, || vm.exists(&format!("{NODES}/dsvm0.json")));
    let mut ages = Vec::new();
    for _ in 0..20 {
        let view: Value = serde_json::from_str(&vm.as_user("alice", "dsvm-agent pool --json").out).expect("JSON");
        ages.push(view["read_s"].as_f64().expect("an age"));
    }
    assert!(ages.iter().any(|age| *age > 0.0), "{ages:?}");
    assert_eq!(agent.problems(), [""; 0]);
}
