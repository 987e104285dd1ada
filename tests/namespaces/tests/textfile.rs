//! The metrics as a file.

use namespaces::{Agent, SOON, Sandbox, wait_for};
use std::os::unix::fs::MetadataExt;

const FILE: &str = "/var/lib/prometheus/node-exporter/dsvm.prom";

fn configure(vm: &Sandbox, file: &str) {
    vm.configure(&format!("[status]\ntextfile = \"{file}\"\n[scale_set]\nenabled = \"off\"\n"));
}

/// Why the file cannot be written.
fn why(agent: &Agent<'_>) -> String {
    agent.wait_problem("agent.textfile");
    let status = agent.status();
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().find(|p| p["code"] == "agent.textfile").map(|p| p["summary"].to_string()).unwrap_or_default()
}

#[test]
fn metrics_are_written_as_the_directorys_owner_and_nowhere_that_others_could_have_been() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["alice", "mallory"].iter().for_each(|name| vm.user(name));
    vm.sh("groupadd --system prometheus; useradd --system --gid prometheus --home-dir /var/lib/prometheus prometheus")
        .ok();
    vm.sh("install -d -o prometheus -g prometheus /var/lib/prometheus{,/node-exporter}").ok();
    configure(&vm, FILE);
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("the metrics are there", SOON, || vm.exists(FILE));
    let meta = std::fs::metadata(vm.path(FILE)).expect("the file");
    let uid: u32 = vm.sh("id -u prometheus").ok().parse().expect("a number");
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (uid, 0o644));
    let text = vm.read(FILE);
    assert!(text.ends_with('\n') && !text.contains("# EOF") && !text.contains("alice"), "{text}");
    for line in
        ["dsvm_agent_health{state=\"ready\"} 1", "dsvm_agent_share_mounted 1", "dsvm_agent_verdict{state=\"quiet\"} 1"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(vm.list("/var/lib/prometheus/node-exporter"), ["dsvm.prom"]);
    assert_eq!(agent.problems(), [""; 0]);

    // In root's it is root's.
    vm.sh("install -d /srv/metrics").ok();
    configure(&vm, "/srv/metrics/dsvm.prom");
    agent.signal("HUP");
    wait_for("they are written elsewhere", SOON, || vm.exists("/srv/metrics/dsvm.prom"));
    assert_eq!(std::fs::metadata(vm.path("/srv/metrics/dsvm.prom")).expect("the file").uid(), 0);

    // A user's directory, a link of theirs, or one that all may write in.
    vm.sh("echo kept >/srv/precious; install -d -m 0777 /srv/open").ok();
    vm.as_user("mallory", "mkdir -p ~/open; ln -s /srv/metrics ~/link; ln -s /srv/precious /srv/open/dsvm.prom").ok();
    for (file, reason) in [
        ("/srv/open/dsvm.prom", "others may write in /srv/open"),
        ("/home/mallory/link/dsvm.prom", "/home/mallory/link is a link"),
        ("/srv/none/dsvm.prom", "No such file"),
    ] {
        configure(&vm, file);
        agent.signal("HUP");
        wait_for("it says why not", SOON, || why(&agent).contains(reason));
    }
    assert_eq!(vm.read("/srv/precious"), "kept\n");
    configure(&vm, FILE);
    agent.signal("HUP");
    agent.wait_no_problem();
}
