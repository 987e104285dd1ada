//! A container of the real Docker keeps the VM, whatever version of control groups the release comes with.

use vm::{Scenario, Service, Suite};

use super::stage::{LONG, SOON, Stage};

/// A container of what is on the VM: nothing is fetched.
const IMAGE: &str = "set -e; mkdir /root/image; cd /root/image; mkdir -p bin lib lib64
cp /bin/dash bin/sh; cp /bin/sleep bin
cp /lib/x86_64-linux-gnu/libc.so.6 lib; cp /lib64/ld-linux-x86-64.so.2 lib64
tar --create . | docker import - work";
/// It computes a part of the time. The profile that it would be confined by takes a package that is not here.
const WORK: &str = "docker run --detach --name work --network none --security-opt apparmor=unconfined work sh -c \
    'while :; do n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; sleep 0.2; done'";

/// What makes systemd set control groups up, and what is so then.
const WAYS: [(&str, &str); 3] = [
    // As Ubuntu 20.04 comes.
    ("systemd.unified_cgroup_hierarchy=0", "test -e /sys/fs/cgroup/unified/cgroup.procs"),
    (
        "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
        "test -e /sys/fs/cgroup/systemd/tasks && ! grep -q cgroup2 /proc/mounts",
    ),
    ("systemd.unified_cgroup_hierarchy=1", "test -e /sys/fs/cgroup/cgroup.procs"),
];

#[test]
#[ignore = "long: three boots of the oldest release; run it when containers, or how control groups are read, change"]
fn the_oldest_release_is_kept_by_a_container_of_the_real_docker() {
    let scenario = Scenario::new("the_oldest_release_is_kept_by_a_container_of_the_real_docker");
    let mut stage = Stage::on(scenario.agent_vm_of(Suite::Bullseye, "vm1", Service::Running));
    stage.configure("grace", "[idle]\nboot_grace = \"0s\"\n");
    stage.patiently("systemctl start docker");
    stage.guest.sh(IMAGE);
    for (words, is_so) in WAYS {
        stage.guest.power_off_clean();
        stage.guest.tell_kernel(words);
        stage.guest.power_on();
        stage.begin_for_good("observer", "python3 -S /usr/local/lib/observe.py");
        println!("{words}: {}", stage.guest.sh("grep cgroup /proc/mounts | cut -d' ' -f2,3 | tr '\\n' ' '"));
        stage.guest.sh(is_so);
        stage.patiently("systemctl start docker");
        let engine = stage.guest.sh("docker info --format '{{.CgroupDriver}} {{.CgroupVersion}}'");
        let id = stage.guest.ssh_within(WORK, LONG).ok();
        println!("{engine}: {}", stage.guest.sh("cat /proc/$(docker inspect work --format '{{.State.Pid}}')/cgroup"));
        // Of which engine it is, only a scope of systemd's says.
        let name = format!("container {}", &id.trim()[..12]);
        let named = |said: &serde_json::Value| said["verdict"] == "busy" && said.to_string().contains(&name);
        stage.wait_said("the container is named", SOON, named);
        let from = stage.now() + 2.0;
        stage.stays(from);
        stage.guest.ssh_within("docker rm --force work", LONG).ok();
        stage.wait_due();
    }
}
