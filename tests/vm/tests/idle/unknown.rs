//! What cannot be told is never idle, however quiet all else is; what a driver tells is believed.

use std::process::Command;

use serde_json::Value;
use vm::wait_for;

use super::stage::{ACT, SOON, Stage, row};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1";

/// Something fails: it is named, nothing else is, and the VM stays for longer than the quiet time; then it is mended.
fn fails(stage: &Stage, source: &str, why: &str, mend: &str) {
    let rows = |said: &Value| said["sources"].as_array().cloned().unwrap_or_default();
    let is = |row: &Value| row["state"] == "unknown" && row["name"] == source;
    let said = stage.wait_said(&format!("{source} cannot be told"), SOON, |said| {
        said["verdict"] == "unknown" && row(said, source, None, "unknown").is_some()
    });
    let found = row(&said, source, None, "unknown").expect("it was there");
    println!("{:8.1}  {}", stage.now(), found["what"]);
    assert!(found["what"].as_str().is_some_and(|what| what.contains(why)), "{found}");
    assert_eq!(stage.guest.ssh("dsvm-agent idle").status, 3);
    stage.stays(stage.now());
    let said = stage.idle();
    assert!(rows(&said).iter().all(|row| is(row) || row["state"] == "quiet"), "{said:#}");
    stage.guest.sh(mend);
    stage.wait_said(&format!("{source} can be told"), SOON, |said| row(said, source, None, "unknown").is_none());
}

/// The hub answers, and says nothing.
fn hub(stage: &Stage) {
    stage.guest.sh("systemctl stop jupyterhub");
    stage.guest.put("secret\n", "/etc/dsvm-agent/hub.token", 0o600);
    stage.begin_for_good("ill", &format!("exec {ACT} 503"));
    let url = "http://127.0.0.1:8081/hub/api";
    let answer =
        || stage.guest.ssh(&format!("curl --silent --output /dev/null --write-out '%{{http_code}}' {url}")).stdout;
    wait_for("it answers", SOON, || answer() == "503");
    stage
        .configure("hub", &format!("[idle.jupyterhub]\nurl = \"{url}\"\ntoken_file = \"/etc/dsvm-agent/hub.token\"\n"));
    let mend = "systemctl stop ill; rm /etc/dsvm-agent/agent.d/hub.toml; systemctl reload dsvm-agent";
    fails(stage, "hub", "503", mend);
}

/// Nobody can ask logind.
fn bus(stage: &Stage) {
    stage.guest.sh("systemctl stop dbus.socket dbus.service");
    fails(stage, "inhibitor", "logind", "systemctl start dbus.socket dbus.service; systemctl restart systemd-logind");
}

/// A GPU on the bus, and no driver.
fn gpu(stage: &Stage) {
    stage.guest.sh("set -e; mkdir -p /root/pci/0001:00:00.0; cd /root/pci/0001:00:00.0; chmod 755 /root/pci
        echo 0x10de >vendor; echo 0x030200 >class; mount --bind /root/pci /sys/bus/pci/devices");
    fails(stage, "gpu", "library", "umount /sys/bus/pci/devices");
}

/// A job on the GPU that hardly computes elsewhere. The library is the driver's, as far as anybody can tell.
fn gpu_job(stage: &Stage) {
    let scene = stage.begin("on-the-gpu", "gpu");
    stage.over_ssh(scene.name, &format!("nohup {ACT} compute 0.03 >/dev/null 2>&1 &")).ok();
    let pid = stage.guest.sh("pgrep -u on-the-gpu -x python3");
    let dir = tempfile::tempdir().expect("a directory");
    let (source, library) = (dir.path().join("nvml.c"), dir.path().join("nvml.so"));
    std::fs::write(&source, include_str!("nvml.c")).expect("it can be written");
    let pid = format!("-DPID={pid}");
    let built = Command::new("cc").args(["-shared", "-fPIC", &pid, "-o"]).args([&library, &source]).status();
    assert!(built.is_ok_and(|s| s.success()), "whoever links Rust has a C compiler");
    stage.guest.put(std::fs::read(&library).expect("it was built"), LIBRARY, 0o644);
    stage.guest.sh("mount --bind /root/pci /sys/bus/pci/devices");
    stage.wait_named(&scene, "", SOON);
    stage.stays(scene.began + 2.0);
    let over = stage.now();
    stage.guest.sh(&format!("pkill -KILL -u on-the-gpu; umount /sys/bus/pci/devices; rm {LIBRARY}"));
    stage.keep(&scene, vec![(scene.began, over)]);
}

#[test]
#[ignore = "long: ten minutes; run it when what is seen, or how it is judged, changes"]
fn what_cannot_be_told_is_never_idle() {
    let stage = Stage::new("what_cannot_be_told_is_never_idle");
    stage.configure("grace", "[idle]\nboot_grace = \"0s\"\n");
    gpu(&stage);
    gpu_job(&stage);
    hub(&stage);
    bus(&stage);
    stage.wait_due();
}
