//! The real JupyterHub, set up as the documents say.

use super::{PYTHON, Process, SOON, Sandbox, jupyter, machine, rows, wait_for, wait_row};
use serde_json::Value;
use std::path::Path;

const BOSS: &str = "curl -s -H 'Authorization: token token-of-the-boss' http://127.0.0.1:8081/hub/api";

/// A file of the package's.
fn packaged(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/jupyter").join(name);
    std::fs::read_to_string(path).expect("a file of the package's")
}

fn start_hub(vm: &Sandbox) -> Process {
    let hub = vm.spawn_as(
        "root",
        &format!("cd /run && exec {PYTHON} -m jupyterhub -f /etc/jupyterhub/jupyterhub_config.py >>/run/hub.log 2>&1"),
    );
    wait_for("the hub answers", 2 * SOON, || vm.sh(&format!("{BOSS}/")).out.contains("version"));
    hub
}

/// What the hub says of ada and her server: their last activities, and what is pending.
fn ada(vm: &Sandbox) -> Value {
    let user: Value = serde_json::from_str(&vm.sh(&format!("{BOSS}/users/ada")).out).unwrap_or_default();
    user
}

/// Does what the page for administrators says, with the files of the package.
fn set_up(vm: &Sandbox) {
    vm.sh("mount -t tmpfs tmpfs /usr/share").ok();
    for name in ["dsvm_agent_hub.py", "dsvm_agent_service.py", "jupyterhub_config.py", "jupyterhub.toml"] {
        vm.write(&format!("/usr/share/dsvm-agent/jupyter/{name}"), packaged(name));
    }
    vm.write("/etc/jupyterhub/jupyterhub_config.py", include_str!("hub_config.py"));
    let page = packaged("../doc/administration.md");
    let section = page.split("\n## ").find(|s| s.starts_with("JupyterHub\n")).expect("a section on JupyterHub");
    let commands = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands");
    assert_eq!(vm.sh(&format!("set -e; {}", commands.replace("sudo ", ""))).code, 0, "{commands}");
}

#[test]
fn the_hub_is_asked_with_the_smallest_scopes_and_its_servers_by_their_own_users() {
    let Some(vm) = machine(Some(&jupyter()), "") else { return };
    set_up(&vm);
    // What users call their files goes into the hub's log and onto its pages as what it is.
    let said = "import dsvm_agent_hub as hub; print(hub._text({'summary': 'a\\n[I] \\x1b[2J', 'remedy': 'é'}))";
    let said = vm.sh(&format!("cd /usr/share/dsvm-agent/jupyter && {PYTHON} -c \"{said}\""));
    assert_eq!(said.ok(), "a\\u{a}[I] \\u{1b}[2J é");
    let hub = start_hub(&vm);
    let agent = vm.agent_start();
    agent.wait_ready();
    vm.sh(&format!("{BOSS}/users/ada -X POST")).ok();

    // From the click until the server runs.
    vm.sh(&format!("{BOSS}/users/ada/server -X POST")).ok();
    let row = wait_row(&vm, &agent, "hub", None, "busy");
    assert_eq!(row["what"], "a server is being started");
    assert_eq!(vm.sh("stat -c '%a %U' /etc/dsvm-agent/hub.token").out, "600 root");
    vm.write("/run/go", "");
    wait_for("ada's server runs", 3 * SOON, || ada(&vm)["servers"][""]["ready"] == true);
    wait_row(&vm, &agent, "hub", None, "quiet");
    let asked = || vm.sh("grep -c 'dsvm-agent@127.0.0.1' /run/hub.log").out.parse::<u32>().unwrap_or(0);
    assert!(asked() > 0, "as the service that it is");

    // The server's own user asks it, with the token that is theirs.
    let variable = |name: &str| {
        let find = format!(
            "tr '\\0' '\\n' </proc/$(pgrep -o -f 'python.*[j]upyterhub.singleuser')/environ | sed -n 's/^{name}=//p'"
        );
        vm.as_user("ada", &find).ok().to_owned()
    };
    let (url, token) = (variable("JUPYTERHUB_SERVICE_URL"), variable("JUPYTERHUB_API_TOKEN"));
    let person =
        |what: &str| vm.as_user("ada", &format!("{PYTHON} /run/person.py {url} {token} {what}")).ok().to_owned();
    let kernel = person("run 'import time; time.sleep(3600)'");
    let row = wait_row(&vm, &agent, "kernel", Some("ada"), "busy");
    assert_eq!(row["what"], "work/night.ipynb (python3)");
    person(&format!("interrupt {kernel}"));
    wait_row(&vm, &agent, "kernel", Some("ada"), "quiet");
    wait_row(&vm, &agent, "notebook", Some("ada"), "quiet");
    // Nor is it use to the hub.
    let times =
        || (ada(&vm)["last_activity"].clone(), ada(&vm)["servers"][""]["last_activity"].clone(), person("times"));
    let (before, count) = (times(), asked());
    wait_for("all are asked twice more", SOON, || asked() >= count + 3);
    assert_eq!(times(), before);

    // It is gone; others answer in its place; a user does, who gets no token.
    drop(hub);
    let why = |state: &Value| state["what"].as_str().unwrap_or_default().to_owned();
    assert!(why(&wait_row(&vm, &agent, "hub", None, "unknown")).contains("no connection to 127.0.0.1"));
    let refuse = "import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s): s.send_error(503)\n\
                  h.HTTPServer(('127.0.0.1', 8081), H).serve_forever()\n";
    vm.write("/run/refuse.py", refuse);
    let refusing = vm.spawn_as("root", "exec python3 /run/refuse.py 2>/dev/null");
    wait_for("503 is told", SOON, || rows(&vm, "hub").iter().any(|r| why(r).contains("it answers 503")));
    drop(refusing);
    let _bob = vm.spawn_as("bob", "exec python3 /run/hostile.py honest 8081");
    wait_for("he listens, and nobody comes", SOON, || {
        rows(&vm, "hub").iter().any(|r| why(r).contains("a program of uid 1001 listens at its port"))
    });
    agent.wait_looked();
    let token = vm.read("/etc/dsvm-agent/hub.token").trim().to_owned();
    assert!(!vm.sh("cat /home/bob/heard").out.contains(&token));
    assert!(!agent.log().contains(&token) && !vm.sh("dsvm-agent idle --json").out.contains(&token));

    // Whoever else may read the token: it is refused.
    vm.sh("chmod 0644 /etc/dsvm-agent/hub.token").ok();
    wait_for("its mode is told", SOON, || rows(&vm, "hub").iter().any(|r| why(r).contains("must be 0600")));
}

#[test]
fn the_hubs_pages_say_when_the_vm_may_go() {
    let Some(vm) = machine(Some(&jupyter()), "") else { return };
    set_up(&vm);
    let _hub = start_hub(&vm);
    let page = || vm.sh("curl -s http://127.0.0.1:8081/hub/login").ok().to_owned();
    assert!(page().contains("<b>Cake at four</b>") && !page().contains("may go"));
    let tell = |leave: &str, more: &str| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("proc");
        let age = if more.contains("old") { 1000.0 } else { 0.0 };
        let now = boottime() - age;
        let status = format!(
            r#"{{"agent": {{"boot_id": "{}", "pass_boottime_s": {now}}}, "idle": {{"last_busy": null, "leave": {leave},
                "at_risk": [{{"kind": "kernels", "value": 2}}, {{"kind": "memory", "value": 15032385536}}]}} {more}}}"#,
            boot.trim()
        );
        vm.write("/run/told.json", status);
    };
    let leave = r#"{"epoch": 1, "until": null, "due": true}"#;
    tell(leave, "");
    let says = "Not used since it was started. This VM may go at any time; 2 kernels (14 GiB in memory) would end. \
                To keep it: dsvm-agent keep 2h";
    assert!(page().contains(says), "{}", page());
    assert!(page().contains("<b>Cake at four</b><br>Not used"), "{}", page());
    tell("null", r#", "scale_set": {"drain": {"at": "2026-<b>1234567890x"}}"#);
    assert!(page().contains("This VM is deleted at") && !page().contains("at <b>"), "{}", page());
    tell("null", r#", "scale_set": {"drain": {"at": "2026-03-04<i>x:20"}}"#);
    assert!(!page().contains("<i>x"), "{}", page());
    for (leave, more) in [("null", ""), (leave, r#", "x": "old""#), ("7", "")] {
        tell(leave, more);
        assert!(!page().contains("may go") && page().contains("Cake"), "{leave} {more}: {}", page());
    }
    vm.write("/run/told.json", "{");
    assert!(!page().contains("may go") && page().contains("Cake"));
}

/// Seconds of CLOCK_BOOTTIME (clock_gettime(2)).
fn boottime() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
