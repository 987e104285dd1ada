//! Notebooks, on the real hub, which is set up as the documents say; and a download. None of them computes much.

use serde_json::{Value, json};
use vm::{Scenario, quoted, together, wait_for};

use super::busy::is_gone;
use super::stage::{LONG, QUIET, SOON, Scene, Stage, row};

/// So much earlier than a look at it something may have been, in seconds.
const STEP: f64 = 8.0;
/// A cell that prints nothing, and computes hardly anything.
const SILENT: &str = "import time\nwhile True:\n    sum(range(1000))\n    time.sleep(1)\n";
/// What whoever plays a browser shows.
const SHOWN: &str = "/run/browsers/silent/shown";
/// The hub gives up a proxy that it starts after ten seconds, and an emulated one takes longer.
const PROXY: &str =
    "c.ConfigurableHTTPProxy.should_start = False\nc.ConfigurableHTTPProxy.auth_token = 'of-the-proxy'\n";

/// Does what the page for administrators says. The hub answers the agent, whose service may do no more than it must.
fn set_up(stage: &Stage) {
    let page = include_str!("../../../../packaging/doc/administration.md");
    let section = page.split("\n## ").find(|s| s.starts_with("JupyterHub\n")).expect("a section on JupyterHub");
    let commands = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands");
    stage.guest.put(PROXY, "/etc/jupyterhub/conf.d/proxy.py", 0o644);
    let hub = "http://127.0.0.1:8081";
    let proxy = format!(
        "CONFIGPROXY_AUTH_TOKEN=of-the-proxy exec /opt/jupyterhub/bin/configurable-http-proxy --ip 127.0.0.1 --port 8000 \
         --api-ip 127.0.0.1 --api-port 8001 --default-target {hub} --error-target {hub}/hub/error"
    );
    stage.begin_for_good("proxy", &proxy);
    stage.patiently("curl --silent --output /dev/null http://127.0.0.1:8001");
    stage.guest.sh(&format!("set -e\n{commands}systemctl start jupyterhub"));
    stage.patiently("curl --silent --fail --output /dev/null http://127.0.0.1:8000/hub/login");
    let token = "\"Authorization: token $(cat /etc/dsvm-agent/hub.token)\"";
    let own = stage.guest.sh(&format!("curl --silent --header {token} {hub}/hub/api/user"));
    println!("the agent's service: {own}");
    let own: Value = serde_json::from_str(&own).expect("JSON");
    assert_eq!((&own["kind"], &own["name"]), (&json!("service"), &json!("dsvm-agent")));
    let may: Vec<&str> = own["scopes"].as_array().expect("scopes").iter().filter_map(Value::as_str).collect();
    assert!(may.iter().all(|scope| scope.starts_with("list:") || scope.starts_with("read:")), "{may:?}");
    assert_eq!(stage.guest.sh("stat -c '%a %U' /etc/dsvm-agent/hub.token"), "600 root");
    stage.guest.put(include_str!("browser.py"), "/usr/local/lib/browser.py", 0o644);
    for (name, text) in [("first", SILENT), ("second", "x = 6 * 7"), ("shown", "")] {
        stage.guest.put(text, &format!("/run/browsers/silent/{name}"), 0o644);
    }
    let browser = "exec /opt/jupyterhub/bin/python /usr/local/lib/browser.py silent /run/browsers/silent";
    stage.begin_for_good("browser", browser);
    wait_shown(stage, "");
    stage.guest.sh("systemctl reload dsvm-agent");
    stage.patiently("journalctl -u jupyterhub | grep -q '200 GET /hub/api/users?.*dsvm-agent@127.0.0.1'");
    stage.wait_said("the hub is asked", LONG, |said| row(said, "hub", None, "unknown").is_none());
}

/// Waits until the browser shows something else than before.
#[track_caller]
fn wait_shown(stage: &Stage, before: &str) {
    let is = "systemctl is-active browser";
    stage.patiently(&format!("test \"$(cat {SHOWN})\" != {} -o \"$({is})\" != active", quoted(before)));
    let log = || stage.guest.sh("journalctl --no-pager -n 60 -u browser -u jupyterhub");
    assert_eq!(stage.guest.ssh(is).stdout.trim(), "active", "the browser ended:\n{}", log());
    println!("{:8.1}  the browser shows: {}", stage.now(), stage.guest.sh(&format!("cat {SHOWN}")));
}

/// Somebody's cell prints nothing, and its tab is closed.
fn silent(stage: &Stage) -> Scene {
    let scene = stage.begin("silent", "kernel");
    stage.guest.sh("echo silent:silent | chpasswd; touch /run/browsers/silent/come");
    wait_shown(stage, "here");
    stage.wait_named(&scene, "silent.ipynb (python3)", SOON);
    // From here on there is nothing else.
    stage.guest.ssh("pkill -KILL -u download -x sh; pkill -KILL -u download");
    stage.stays(scene.began + 2.0);
    let over = stage.now();
    stage.keep(&scene, vec![(scene.began, over)]);
    scene
}

/// They come again and end it; another cell is soon through, and its tab stays open.
fn rests(stage: &Stage, before: &Scene) {
    let scene = stage.begin_again("rests", before, "notebook");
    stage.guest.sh("touch /run/browsers/silent/again");
    wait_shown(stage, "closed");
    let done = stage.now();
    stage.wait_named(&scene, "silent.ipynb (python3)", SOON);
    let said = stage.wait_due();
    let took = stage.became_idle(done) - done;
    println!("idle {took:.1} s after the cell was through");
    assert!(took > QUIET - STEP, "{took} s");
    assert!(row(&said, "kernel", scene.uid, "quiet").is_some(), "{said:#}");
    let at_risk = said["at_risk"].as_array().cloned().unwrap_or_default();
    let is = |risk: &Value| risk["kind"] == "kernels" && risk["who"] == "silent" && risk["value"] == 1.0;
    assert!(at_risk.iter().any(is), "{said:#}");
    // The tab has been open all the time, and is.
    stage.guest.sh(&format!("rm {SHOWN}"));
    wait_for("the tab looks again", SOON, || stage.guest.ssh(&format!("cat {SHOWN}")).stdout == "idle 1");
    stage.keep(&scene, vec![(scene.began, done)]);
}

/// From a machine that is no faster. It goes on.
fn download(stage: &Stage, from: &str) {
    let scene = stage.begin("download", "network");
    let line = format!("while curl --silent --limit-rate 300k --output /dev/null {from}; do :; done");
    stage.over_ssh(scene.name, &format!("nohup sh -c {} >/dev/null 2>&1 &", quoted(&line))).ok();
    stage.wait_named(&scene, "curl --silent --limit-rate 300k", LONG);
    is_gone(stage, scene.name);
    let used = || {
        let text = stage.guest.sh("cat /sys/fs/cgroup/user.slice/user-$(id -u download).slice/cpu.stat");
        let used = text.lines().find_map(|l| l.strip_prefix("usage_usec ")?.parse::<f64>().ok());
        used.expect("a number") / 1e6
    };
    let (began, before) = (stage.now(), used());
    stage.stays(scene.began + 2.0);
    let (over, after) = (stage.now(), used());
    println!("{over:8.1}  it took {:.1} % of a core", (after - before) / (over - began) * 100.0);
    stage.keep(&scene, vec![(scene.began, over)]);
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, how it is judged, or what is shipped for JupyterHub changes"]
fn what_hardly_computes_is_told_from_what_rests() {
    let scenario = Scenario::new("what_hardly_computes_is_told_from_what_rests");
    let (server, guest) = together(|| scenario.file_server(), || scenario.hub_vm("vm1"));
    let stage = Stage::on(guest);
    stage.configure("grace", "[idle]\nboot_grace = \"0s\"\n");
    let from = server.serve("weights", vec![7; 16 << 20]);
    set_up(&stage);
    download(&stage, &from);
    rests(&stage, &silent(&stage));
}
