//! The main job: everybody has a directory and a link, sees it mounted while they are here, and nobody else's.

use namespaces::{MOUNT_POINT, SHARE, Sandbox};

/// A machine with a share and ada, grace and edsger.
fn machine(more: &str) -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace", "edsger"].iter().for_each(|name| vm.user(name));
    vm.configure(more);
    Some(vm)
}

#[test]
fn everybody_gets_a_directory_and_a_link_and_nobody_sees_anothers() {
    let Some(vm) = machine("[workspace]\nmount = \"always\"\n") else { return };
    assert!(vm.run_once().success());
    assert_eq!(vm.list(&format!("{SHARE}/notebooks")), ["ada", "edsger", "grace"]);
    let plan = vm.sh("dsvm-agent plan");
    assert!(plan.ok().to_lowercase().contains("nothing to do"), "{}", plan.out);

    vm.as_user("ada", "echo mine >~/notebooks/remote/a.ipynb && chmod 0777 ~/notebooks/remote/a.ipynb").ok();
    assert_eq!(vm.read(&format!("{SHARE}/notebooks/ada/a.ipynb")), "mine\n");
    assert_eq!(vm.as_user("ada", "stat -c '%U %a' -L ~/notebooks/remote").ok(), "ada 700");
    for look in ["ls", "cat", "stat"] {
        for path in ["notebooks/ada/a.ipynb", "notebooks/ada/."] {
            assert!(
                vm.as_user("edsger", &format!("{look} {MOUNT_POINT}/{path}")).fails().contains("Permission denied")
            );
        }
    }
    assert!(vm.as_user("edsger", "ls /run/dsvm-agent/share/root").fails().contains("Permission denied"));
    for path in ["x", "notebooks/x", "notebooks/ada.new"] {
        assert!(
            vm.as_user("ada", &format!("touch {MOUNT_POINT}/{path}")).fails().contains("ermission denied")
                || vm.as_user("ada", &format!("touch {MOUNT_POINT}/{path}")).fails().contains("Read-only")
        );
        assert!(vm.sh(&format!("touch {MOUNT_POINT}/{path}")).fails().contains("Read-only"), "root too");
    }
}
