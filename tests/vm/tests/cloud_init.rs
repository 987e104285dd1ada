//! From cloud-init to a notebook: the user-data of `cloud-init/`, with nothing but its placeholders replaced.

use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{FileServer, Guest, Scenario, Service, package, together};

const STOCK: &str = include_str!("../../../cloud-init/stock-key-file.yaml");
const BAKED: &str = include_str!("../../../cloud-init/baked-key-file.yaml");

/// What the pool's administrator adds: its people.
const PEOPLE: &str = "
users:
  - name: alice
    shell: /bin/bash
  - name: bob
    shell: /bin/bash
";

fn filled(template: &str) -> String {
    let source = format!("//{HOST}/{SHARE}");
    let filled = [("@SHARE_SOURCE@", source.as_str()), ("@SHARE_ACCOUNT@", ACCOUNT), ("@SHARE_KEY@", KEY)]
        .iter()
        .fold(template.to_owned(), |text, (word, value)| text.replace(word, value));
    filled + PEOPLE
}

/// What is true after the first boot, before anybody has logged in, and then for the first who does.
fn everything_is_there(server: &FileServer, guest: &Guest) {
    assert_eq!(guest.ssh("cloud-init status --long").stdout.lines().next(), Some("status: done"));
    guest.wait_ready();
    assert_eq!(server.list("notebooks"), ["alice", "bob"]);
    assert_eq!(guest.sh("readlink ~alice/notebooks/remote"), "/datamnt/dsvmshare/notebooks/alice");
    assert_eq!(guest.sh("stat -c '%U %a' /etc/dsvm-agent/share.key"), "root 600");
    guest.log_in("alice", "echo '{}' >~/notebooks/remote/first.ipynb").ok();
    assert_eq!(server.read("notebooks/alice/first.ipynb"), b"{}\n");
    guest.log_in("bob", "ls /datamnt/dsvmshare/notebooks/alice").fails();
}

#[test]
fn a_stock_image_becomes_a_vm_of_the_pool() {
    let scenario = Scenario::new("a_stock_image_becomes_a_vm_of_the_pool");
    let server = scenario.file_server();
    let bytes = std::fs::read(package()).expect("the package");
    let url = server.serve("dsvm-agent.deb", &bytes);
    let sum = server.sh("sha256sum /srv/http/dsvm-agent.deb | cut -d' ' -f1");
    let user_data = filled(&STOCK.replace("@PACKAGE_URL@", &url).replace("@PACKAGE_SHA256@", &sum));
    let guest = scenario.guest("vm1").user_data(user_data).boot();
    everything_is_there(&server, &guest);
}

#[test]
fn a_baked_image_needs_its_configuration_only() {
    let scenario = Scenario::new("a_baked_image_needs_its_configuration_only");
    let (server, mut guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.sh("for user in alice bob carol debian; do userdel --remove $user; done");
    guest.boot_as_baked_image(&filled(BAKED));
    everything_is_there(&server, &guest);
}
