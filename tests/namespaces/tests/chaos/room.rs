//! No room for the agent's own files: people are served all the same, and nothing is promised that would be forgotten.

use crate::world::prepared;
use namespaces::{SOON, wait_for};

#[test]
fn without_room_for_its_own_files_people_are_served_and_nothing_is_promised() {
    let Some(vm) = prepared() else { return };
    vm.configure("");
    vm.sh("cat /dev/zero >/var/lib/filler; cat /dev/zero >/run/filler; true").ok();
    let _agent = vm.spawn_as("root", "exec dsvm-agent run >/tmp/log 2>&1");
    wait_for("ada has her notebooks", SOON, || {
        vm.log_in("ada");
        vm.is_mounted("notebooks/ada")
    });
    vm.as_user("ada", "echo 1 >~/notebooks/remote/a.ipynb").ok();
    let refused = vm.as_user("grace", "dsvm-agent keep 2h");
    assert!(refused.fails().contains("not kept"), "{refused:?}");
    vm.sh("rm /run/filler /var/lib/filler").ok();
    vm.sh("dsvm-agent wait --timeout 60s").ok();
    vm.as_user("grace", "dsvm-agent keep 2h").ok();
    assert!(vm.sh("dsvm-agent status").ok().contains("grace"));
}
