//! Whoever uses the VM keeps it, seen or unseen, and is named.

use super::stage::{ACT, LONG, SOON, Scene, Stage};

/// Watches it for longer than the quiet time, ends it by this line, and keeps what was recorded.
#[track_caller]
fn lasts(stage: &Stage, scene: &Scene, end: &str) {
    stage.stays(scene.began + 2.0);
    let over = stage.now();
    stage.guest.ssh(end);
    stage.keep(scene, vec![(scene.began, over)]);
}

/// Nobody is logged in, and something of theirs is left.
#[track_caller]
pub fn is_gone(stage: &Stage, user: &str) {
    let state = || stage.guest.ssh(&format!("loginctl show-user {user} --property=State --value")).stdout;
    vm::wait_for("they are logged out", SOON, || state().trim() == "closing");
}

/// In tmux, after logging out.
fn training(stage: &Stage) {
    let scene = stage.begin("training", "cpu");
    stage.over_ssh(scene.name, &format!("tmux new-session -d 'exec {ACT} compute 0.2'")).ok();
    stage.wait_named(&scene, "python3", SOON);
    is_gone(stage, scene.name);
    lasts(stage, &scene, "pkill -KILL -u training");
}

/// A key now and then.
fn editor(stage: &Stage) {
    let scene = stage.begin("editor", "typing");
    let keys = "while sleep 20; do printf x; done";
    let edits = stage.at_terminal(scene.name, "TERM=xterm exec python3 -S /usr/local/lib/edit.py");
    stage.begin_for_good("editing", &format!("({keys}) | {edits}"));
    stage.wait_named(&scene, "pts/", SOON);
    lasts(stage, &scene, "systemctl stop editing");
    let typed = stage.guest.sh("wc -c <~editor/notes").parse().unwrap_or(0);
    assert!(typed >= 3, "{typed} keys arrived");
}

/// A copy that nobody watches.
fn copy(stage: &Stage) {
    let scene = stage.begin("copy", "remote");
    stage.guest.sh("fallocate -l 100M /root/data");
    stage.begin_for_good("copying", &stage.copy("/root/data", scene.name, 3000));
    stage.wait_named(&scene, "", LONG);
    lasts(stage, &scene, "systemctl stop copying");
    stage.guest.sh("rm /root/data ~copy/copy");
}

/// Programs that are gone before anybody looks.
fn children(stage: &Stage) {
    let scene = stage.begin("loop", "cpu");
    let child = format!("timeout 1 {ACT} compute 0.3");
    stage.over_ssh(scene.name, &format!("nohup sh -c 'while :; do {child}; done' >/dev/null 2>&1 &")).ok();
    stage.wait_named(&scene, "sh", SOON);
    is_gone(stage, scene.name);
    lasts(stage, &scene, "pkill -KILL -u loop -x sh; pkill -KILL -u loop");
}

/// Most of the time it sleeps.
fn bursts(stage: &Stage) {
    let scene = stage.begin("now-and-then", "cpu");
    stage.over_ssh(scene.name, &format!("nohup {ACT} bursts >/dev/null 2>&1 &")).ok();
    stage.wait_named(&scene, "python3", LONG);
    is_gone(stage, scene.name);
    lasts(stage, &scene, "pkill -KILL -u now-and-then");
}

/// As Docker has systemd make it: root's processes.
fn container(stage: &Stage) {
    let id = "0123456789abcdef".repeat(4);
    let scene = stage.record("container", None, "container");
    let scope = format!("systemd-run --quiet --scope --slice=system.slice --unit=docker-{id}.scope");
    stage.begin_for_good("engine", &format!("exec {scope} {ACT} compute 0.2"));
    stage.wait_named(&scene, "docker container 0123456789ab", SOON);
    lasts(stage, &scene, &format!("systemctl stop docker-{id}.scope"));
}

/// Somebody elsewhere from whom there is much to fetch.
fn serves(stage: &Stage) {
    stage.begin_for_good("pages", &format!("exec {ACT} serve"));
    stage.patiently("ss --tcp --listening --numeric | grep --quiet :7000");
}

/// A container in a network of its own, that moves much and computes next to nothing.
fn bridged(stage: &Stage) {
    let id = "fedcba9876543210".repeat(4);
    stage.guest.sh(
        "ip netns add box && ip link add outside type veth peer name eth0 netns box && ip link set outside up && \
         ip address add 10.78.0.1/24 dev outside && ip -n box address add 10.78.0.2/24 dev eth0 && \
         ip -n box link set eth0 up",
    );
    serves(stage);
    let scene = stage.record("bridged", None, "network");
    let scope = format!("systemd-run --quiet --scope --slice=system.slice --unit=docker-{id}.scope");
    stage.begin_for_good("engine", &format!("exec {scope} ip netns exec box {ACT} fetch 10.78.0.1"));
    stage.wait_named(&scene, "docker container fedcba987654", SOON);
    lasts(stage, &scene, &format!("systemctl stop docker-{id}.scope; systemctl stop pages"));
}

/// As root, in somebody's session that they have left.
fn errand(stage: &Stage) {
    serves(stage);
    let scene = stage.begin("errand", "network");
    stage.guest.put("errand ALL=(root) NOPASSWD: ALL\n", "/etc/sudoers.d/errand", 0o440);
    let fetch = format!("sudo {ACT} fetch {}", stage.guest.address());
    stage.over_ssh(scene.name, &format!("tmux new-session -d 'exec {fetch}'")).ok();
    stage.wait_named(&scene, "python3", SOON);
    is_gone(stage, scene.name);
    lasts(stage, &scene, "systemctl stop pages; pkill -KILL -u errand");
}

/// Small files, one after the other.
fn files(stage: &Stage) {
    let scene = stage.begin("files", "io");
    let copies = "head -c 500000 /dev/zero >a; while sleep 1; do cp a b; done";
    stage.over_ssh(scene.name, &format!("nohup sh -c '{copies}' >/dev/null 2>&1 &")).ok();
    stage.wait_named(&scene, "sh", SOON);
    is_gone(stage, scene.name);
    lasts(stage, &scene, "pkill -KILL -u files");
}

/// What somebody asks for, and takes back.
fn keep(stage: &Stage) {
    let scene = stage.begin("results", "keep");
    stage.over_ssh(scene.name, "dsvm-agent keep 1h --reason 'until the morning'").ok();
    let said = stage.wait_said("it is kept", SOON, |said| said["verdict"] == "kept");
    let kept = &said["keeps"][0];
    assert_eq!((&kept["who"], &kept["reason"]), (&scene.name.into(), &"until the morning".into()), "{said:#}");
    stage.wait_named(&scene, "", SOON);
    stage.stays(scene.began + 2.0);
    let over = stage.now();
    stage.over_ssh(scene.name, "dsvm-agent keep --end").ok();
    let said = stage.wait_said("it is not kept", SOON, |said| said["verdict"] != "kept");
    assert_eq!(said["keeps"], serde_json::json!([]), "{said:#}");
    stage.keep(&scene, vec![(scene.began, over)]);
}

/// systemd's own way to say so, which lasts when its session does not. The guest has no polkit, so that it is root's.
fn inhibitor(stage: &Stage) {
    stage.guest.sh("useradd --create-home --shell /bin/bash night");
    stage.guest.put("night ALL=(root) NOPASSWD: ALL\n", "/etc/sudoers.d/night", 0o440);
    let scene = stage.record("inhibitor", Some(0), "inhibitor");
    let hold = "sudo nohup systemd-inhibit --what=shutdown:idle --why='a night run' sleep infinity >/dev/null 2>&1 &";
    stage.over_ssh("night", hold).ok();
    stage.wait_named(&scene, "a night run", SOON);
    is_gone(stage, "night");
    lasts(stage, &scene, "pkill -KILL -x systemd-inhibit; pkill -KILL -f '^sleep infinity'");
}

/// One after the other, and then nothing of it is left.
fn all(name: &str, situations: &[fn(&Stage)]) {
    let stage = Stage::new(name);
    stage.configure("grace", "[idle]\nboot_grace = \"0s\"\n");
    situations.iter().for_each(|situation| situation(&stage));
    stage.wait_due();
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, or how it is judged, changes"]
fn programs_keep_the_vm_when_their_users_are_gone() {
    let name = "programs_keep_the_vm_when_their_users_are_gone";
    all(name, &[training, children, bursts, container, inhibitor]);
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, or how it is judged, changes"]
fn people_keep_the_vm_with_little_to_see_of_them() {
    all("people_keep_the_vm_with_little_to_see_of_them", &[copy, editor, keep]);
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, or how it is judged, changes"]
fn whoever_moves_data_keeps_the_vm() {
    all("whoever_moves_data_keeps_the_vm", &[bridged, errand, files]);
}
