//! A directory service that lists nobody, and then falls silent, or deletes somebody.

use namespaces::{DirectoryService, SHARE, SOON, Sandbox, wait_for};

#[test]
fn a_silent_name_service_is_named_and_holds_up_its_own_users_alone() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    let Some(service) = DirectoryService::start(&vm, &[("erin", 20_001)]) else { return };
    vm.user("ada");
    vm.sh("mkdir /home/erin; chown 20001:20001 /home/erin").ok();
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    assert_eq!(agent.status()["counts"]["users"], 1, "nothing lists her");
    vm.log_in("erin").ok();
    wait_for("erin is served", SOON, || agent.status()["counts"]["ready"] == 2);
    vm.log_in("erin").ok();
    wait_for("she has her notebooks", SOON, || vm.is_mounted("notebooks/erin"));
    vm.as_user("erin", "echo 1 >~/notebooks/remote/a.ipynb").ok();

    // Who she is cannot be asked any more: her home is as it was, and is not what is spoken of.
    service.silence(true);
    vm.log_in("erin").ok();
    agent.wait_problem("workspace.account-unconfirmed:erin");
    assert!(!agent.problems().iter().any(|p| p.starts_with("workspace.home-silent")), "{}", agent.describe());
    let said = vm.sh("dsvm-agent status").out;
    assert!(said.contains("getent passwd erin") && !said.contains("home of erin"), "{said}");
    assert!(vm.is_mounted("notebooks/erin"), "what she works on stays");
    vm.sh("umount /srv/data/notebooks/ada 2>/dev/null; rm /home/ada/notebooks/remote").ok();
    vm.log_in("ada").ok();
    wait_for("ada is served meanwhile", SOON, || {
        vm.exists("/home/ada/notebooks/remote") && vm.is_mounted("notebooks/ada")
    });

    service.silence(false);
    vm.log_in("erin").ok();
    agent.wait_no_problem();
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/erin/a.ipynb")), "1\n");
}

#[test]
fn somebody_whom_the_directory_service_deleted_is_soon_served_no_more() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    let Some(service) = DirectoryService::start(&vm, &[("erin", 20_001)]) else { return };
    vm.sh("mkdir /home/erin; chown 20001:20001 /home/erin").ok();
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_for("she has her notebooks", SOON, || vm.log_in("erin").success() && vm.is_mounted("notebooks/erin"));

    // Nothing on this machine tells of it. A helper that is to act in her name is told.
    service.delete("erin");
    vm.log_in("erin");
    wait_for("she is no user any more", SOON, || agent.status()["counts"]["users"] == 0);
    wait_for("her notebooks are shown to nobody", SOON, || !vm.is_mounted("notebooks/erin"));
    agent.wait_no_problem();
    assert!(vm.exists(&format!("{SHARE}/notebooks/erin")), "what is hers stays");
}
