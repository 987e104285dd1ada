//! The package on a VM of a scale set, as far as it can be had without Azure: cloud-init's own Azure datasource, with
//! the simulator at the true addresses of its services.

use std::time::Duration;

use serde_json::Value;
use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{Guest, Scenario, Service, Suite, together, wait_for};

const BAKED: &str = include_str!("../../../cloud-init/baked-key-file.yaml");

#[test]
#[ignore = "long: an image of the older release; run it when cloud-init or what is asked of Azure changes"]
fn a_vm_of_a_scale_set_is_set_up_by_its_custom_data_and_protects_itself() {
    let scenario = Scenario::new("a_vm_of_a_scale_set_is_set_up_by_its_custom_data_and_protects_itself");
    let simulator = namespaces::built("azure", "azure");
    let (server, mut image) = together(
        || scenario.file_server(),
        // With an older cloud-init than that of the other scenarios.
        || scenario.agent_vm_of(Suite::Bookworm, "vm1", Service::Running),
    );
    image.become_an_image_for_azure(&simulator, "vm2");
    image.sh("cloud-init clean --logs --machine-id");
    image.power_off_clean();

    let custom_data = BAKED
        .replace("@SHARE_SOURCE@", &format!("//{HOST}/{SHARE}"))
        .replace("@SHARE_ACCOUNT@", ACCOUNT)
        .replace("@SHARE_KEY@", KEY);
    let mut vm = image.boot_clone_on_azure("vm2", &custom_data);
    println!("{}", vm.sh("cloud-init status --long; cloud-init analyze blame | head -5"));
    println!("{}", vm.sh("cat /run/cloud-init/ds-identify.log; grep -i azure /var/log/cloud-init.log | tail -40"));
    assert_eq!(vm.sh("cloud-id"), "azure");
    assert_eq!(vm.sh("cloud-init query subplatform"), "config-disk (/dev/sr0)");
    assert_eq!(vm.azure()["vms"][0]["health"], "Ready", "the platform was not told that the VM is there");
    vm.wait_ready();
    vm.log_in("alice", "echo '{}' >~/notebooks/remote/first.ipynb").ok();
    assert_eq!(server.read("notebooks/alice/first.ipynb"), b"{}\n");

    // It knows itself from instance metadata, without being told where that is, and protects itself before anybody is.
    let protected = |vm: &Guest| vm.azure()["vms"][0]["protection"] == serde_json::json!([true, true]);
    wait_for("the VM is protected", Duration::from_secs(120), || protected(&vm));
    vm.wait_status("protected");
    let status: Value = serde_json::from_str(&vm.ssh("dsvm-agent status --json").stdout).expect("a status");
    assert_eq!(status["node"]["name"], "dsvmpool_0");
    assert_eq!(status["node"]["scale_set"], "dsvmpool");

    // What the platform was given is kept by cloud-init: nobody but root reads a key there.
    vm.sh("test -s /var/lib/cloud/instance/user-data.txt");
    let readable = vm.as_user("alice", "cat /var/lib/waagent/ovf-env.xml /var/lib/cloud/instance/user-data.txt");
    assert!(!readable.success() && readable.stdout.is_empty(), "{readable}");

    // The medium is gone when it boots again, and nothing is set up anew.
    let id = vm.sh("cloud-init query instance_id");
    vm.reboot();
    assert_eq!(vm.sh("cloud-init query instance_id"), id);
    vm.wait_ready();
    vm.log_in("alice", "cat ~/notebooks/remote/first.ipynb").ok();
    wait_for("the VM is protected again", Duration::from_secs(120), || protected(&vm));

    // A mistake in the custom data of the next one: the boot says so, and where it is, and lets people in.
    vm.kill();
    let mistaken = custom_data.replace("mount_point =", "mountpoint =");
    let vm = image.boot_clone_on_azure("vm3", &mistaken);
    let said = vm.ssh("cloud-init status --long");
    assert!(said.stdout.contains("status: error"), "{said}");
    let log = vm.sh("cat /var/log/cloud-init-output.log");
    assert!(log.contains("agent.toml:3") && log.contains("mountpoint"), "{log}");
    let status = vm.ssh("dsvm-agent status").stdout;
    assert!(status.contains("mountpoint"), "{status}");
    assert_eq!(vm.log_in("alice", "echo in").ok(), "in");
}
