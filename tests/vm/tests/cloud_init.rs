//! From cloud-init to a notebook: the user-data of `cloud-init/`, with nothing but its placeholders replaced.

use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{FileServer, Guest, Scenario, Service, package, together};

const STOCK: &str = include_str!("../../../cloud-init/stock-key-file.yaml");
const BAKED: &str = include_str!("../../../cloud-init/baked-key-file.yaml");
/// Those that differ in more than the configuration: a newer cloud-init than the build's looks at them.
const OTHERS: [&str; 3] = [
    include_str!("../../../cloud-init/stock-apt.yaml"),
    include_str!("../../../cloud-init/stock.yaml"),
    include_str!("../../../cloud-init/baked-nfs.yaml"),
];

const INSTALL: &str = include_str!("../../../packaging/image/install");
const RECIPES: &str = include_str!("../../../packaging/image/README.md");

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
fn everything_is_there(server: &FileServer, guest: &Guest, people: &[&str]) {
    assert_eq!(guest.ssh("cloud-init status --long").stdout.lines().next(), Some("status: done"));
    guest.wait_ready();
    assert_eq!(server.list("notebooks"), people);
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
    everything_is_there(&server, &guest, &["alice", "bob"]);
    for (number, text) in OTHERS.iter().enumerate() {
        let file = format!("/root/{number}.yaml");
        guest.put(text, &file, 0o600);
        let said = guest.ssh(&format!("cloud-init schema --config-file {file}"));
        assert!(said.success() && !format!("{said}").to_lowercase().contains("deprecat"), "{said}");
    }
}

/// The commands below a heading of the recipes.
fn recipe(heading: &str) -> String {
    let section = RECIPES.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// What `seal` objects to; the harness has a key of its own in every image.
fn left(guest: &Guest) -> Vec<String> {
    let said = guest.ssh("/usr/lib/dsvm-agent/seal").stderr;
    let lines = said.lines().filter_map(|line| line.strip_prefix("left: ")?.split(": ").next());
    lines.filter(|path| *path != "/etc/ssh/control_host_key").map(str::to_owned).collect()
}

#[test]
#[ignore = "long: three boots; run it when the image, its seal or first boots change"]
fn every_vm_of_a_sealed_image_has_a_first_boot_of_its_own() {
    let scenario = Scenario::new("every_vm_of_a_sealed_image_has_a_first_boot_of_its_own");
    let (server, mut builder) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    builder.sh("apt-get purge --yes dsvm-agent; for user in alice bob carol debian; do userdel --remove $user; done");
    builder.put(std::fs::read(package()).expect("the package"), "/root/agent.deb", 0o644);
    builder.put(INSTALL, "/root/install", 0o755);
    println!("{}", builder.ssh("/root/install /root/agent.deb").ok());
    assert!(!builder.ssh("systemctl is-active dsvm-agent").success(), "an image has no agent that runs");
    assert!(!builder.ssh("test -e /usr/sbin/policy-rc.d").success());
    assert_eq!(builder.sh("systemctl is-enabled dsvm-agent"), "enabled");
    let recipes = [recipe("Accounts"), recipe("One SSH identity behind one address")].concat();
    builder.put(format!("set -eu\nmkdir /root/ca\ncd /root/ca\n{recipes}"), "/root/recipe", 0o755);
    builder.sh("bash /root/recipe");
    let known = builder.sh("echo @cert-authority pool.contoso.com $(cat /root/ca/pool_host_ca.pub); rm -r /root/ca");

    let key = "/etc/dsvm-agent/share.key";
    builder.put("password=left behind\n", key, 0o600);
    assert_eq!(left(&builder), [key]);
    builder.sh(&format!("rm {key}"));
    assert_eq!(left(&builder), [""; 0]);
    builder.power_off_clean();

    let user_data = filled(BAKED);
    let (first, second) = together(|| builder.boot_clone("vm2", &user_data), || builder.boot_clone("vm3", &user_data));
    let mut ids = Vec::new();
    for vm in [&first, &second] {
        everything_is_there(&server, vm, &["ada", "alice", "bob", "grace"]);
        ids.push(vm.sh("cat /etc/machine-id"));
        ids.push(vm.sh("cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2"));
        assert_eq!(vm.sh("id -u ada; id -u grace"), "2001\n2002");
        // The pool's identity is the same on both, for whoever has its line.
        vm.put(&known, "/root/known", 0o600);
        vm.sh("ssh -q -i /root/person_key -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/root/known \
               -o HostKeyAlias=pool.contoso.com alice@127.0.0.1 true");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "two VMs have something in common: {ids:?}");
    assert!(ids.iter().all(|id| id.len() >= 32), "{ids:?}");
}
