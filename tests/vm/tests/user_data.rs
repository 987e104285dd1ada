//! The user-data of `cloud-init/` that no other scenario boots: each as the custom data of a VM that boots through
//! cloud-init's Azure datasource, with nothing but its placeholders replaced.

use std::path::Path;
use std::process::Command;

use vm::azure::VAULT;
use vm::server::{HOST, SHARE};
use vm::{FileServer, Guest, Scenario, Service, package, together};

const NOTES: &str = include_str!("../../../cloud-init/README.md");
const BAKED: &str = include_str!("../../../cloud-init/baked.yaml");
const BY_REGION: &str = include_str!("../../../cloud-init/baked-by-region.yaml");
const BAKED_NFS: &str = include_str!("../../../cloud-init/baked-nfs.yaml");
const STOCK: &str = include_str!("../../../cloud-init/stock.yaml");
const STOCK_NFS: &str = include_str!("../../../cloud-init/stock-nfs.yaml");
const STOCK_APT: &str = include_str!("../../../cloud-init/stock-apt.yaml");

/// What the pool's administrator adds where the file has nobody.
const PEOPLE: &str = "
users:
  - default
  - name: alice
    uid: 2001
    shell: /bin/bash
";

/// Fills a file, adds its people, and asks for what is left of the words.
fn filled(template: &str, words: &[(&str, &str)]) -> String {
    let (smb, nfs) = (format!("//{HOST}/{SHARE}"), format!("{HOST}:/contosods/{SHARE}"));
    let own = [("@SHARE_SOURCE@", smb.as_str()), ("@NFS_SOURCE@", &nfs), ("@VAULT@", VAULT), ("@WORD@", "word")];
    let text = own.iter().chain(words).fold(template.to_owned(), |text, (word, value)| text.replace(word, value));
    assert!(!text.contains('@'), "a word is left: {text}");
    if text.contains("name: alice") { text } else { text + PEOPLE }
}

/// Boots a VM with this custom data.
fn boot(image: &Guest, name: &str, custom_data: &str) -> Guest {
    let vm = image.boot_clone_on_azure(name, custom_data);
    assert_eq!(vm.sh("cloud-id"), "azure");
    let said = vm.ssh("cloud-init status --long").stdout;
    assert_eq!(said.lines().next(), Some("status: done"), "{said}{}", vm.sh("cat /var/log/cloud-init-output.log"));
    vm
}

/// Boots one, and the first user who comes has notebooks; `read` is how the server sees what she saved.
fn serves(image: &Guest, vm: &str, custom_data: &str, read: impl Fn(&str) -> Vec<u8>) {
    let mut vm = boot(image, vm, custom_data);
    let name = vm.name().to_owned();
    vm.wait_ready();
    vm.log_in("alice", &format!("echo {name} >~/notebooks/remote/{name}.ipynb")).ok();
    assert_eq!(read(&format!("notebooks/alice/{name}.ipynb")), format!("{name}\n").as_bytes());
    assert_eq!(vm.sh("stat -c '%U %a' /etc/dsvm-agent/agent.toml"), "root 644");
    vm.kill();
}

fn over_nfs(server: &FileServer) -> impl Fn(&str) -> Vec<u8> {
    |path| server.get(&format!("/contosods/{SHARE}/{path}"))
}

#[test]
#[ignore = "long: three boots of one image; run it when user-data, cloud-init's part of the package, or Key Vault changes"]
fn every_baked_image_becomes_a_vm_of_the_pool() {
    let scenario = Scenario::new("every_baked_image_becomes_a_vm_of_the_pool");
    let simulator = namespaces::built("azure", "azure");
    let (server, mut image) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    server.start_nfs(false);
    // The image's people are nobody's on the VM.
    image.sh("for user in alice bob carol; do userdel --remove $user; done");
    image.become_an_image_for_azure(&simulator, "vm2");
    image.sh("cloud-init clean --logs --machine-id");
    image.power_off_clean();

    serves(&image, "vm2", &filled(BAKED, &[]), |path| server.read(path));
    serves(&image, "vm3", &filled(BAKED_NFS, &[]), over_nfs(&server));

    // Each region has an account and a vault of its own. What cloud-init put in is what the status complains about.
    let words = [("@ACCOUNTS@", "contosods"), ("@VAULTS@", "contoso-")];
    let vm = boot(&image, "vm4", &filled(BY_REGION, &words));
    let config = vm.sh("cat /etc/dsvm-agent/agent.toml");
    assert!(config.contains("\"//contosodswesteurope.file.core.windows.net/dsvmshare\""), "{config}");
    assert!(config.contains("vault = \"contoso-westeurope\""), "{config}");
    vm.wait_status("contosodswesteurope");
    println!("{}", vm.ssh("dsvm-agent status").stdout);
}

/// A repository with the package, made by the commands of the notes in `place`, and its public key as the notes print it.
fn repository(place: &Path) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-ec", line]).current_dir(place).env("GNUPGHOME", home.path());
        let output = command.output().expect("a shell");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let name = package();
    std::fs::copy(&name, place.join(name.file_name().expect("a name"))).expect("a copy");
    shell("gpg --batch --quiet --passphrase '' --quick-generate-key pool@contoso.invalid ed25519 sign never");
    let section = NOTES.split("## A repository of your own").nth(1).expect("a section");
    shell(section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands"));
    let export = section.split('`').find(|span| span.starts_with("gpg --export KEY")).expect("a command");
    let key = shell(&export.replace("KEY", "pool@contoso.invalid"));
    shell("gpgconf --kill gpg-agent");
    key
}

/// The server, and a stock image in which Azure is found.
fn stock(scenario: &Scenario) -> (FileServer, Guest) {
    let simulator = namespaces::built("azure", "azure");
    let (server, mut image) = together(|| scenario.file_server(), || scenario.guest("vm1").boot());
    image.become_an_image_for_azure(&simulator, "vm2");
    image.sh("cloud-init clean --logs --machine-id");
    image.power_off_clean();
    (server, image)
}

#[test]
#[ignore = "long: two boots of a stock image; run it when user-data, dependencies of the package, or Key Vault changes"]
fn every_stock_image_becomes_a_vm_of_the_pool() {
    let scenario = Scenario::new("every_stock_image_becomes_a_vm_of_the_pool");
    let (server, image) = stock(&scenario);
    server.start_nfs(false);
    let url = server.serve("dsvm-agent.deb", std::fs::read(package()).expect("the package"));
    let sum = server.sh("sha256sum /srv/http/dsvm-agent.deb | cut -d' ' -f1");
    let by_url = [("@PACKAGE_URL@", url.as_str()), ("@PACKAGE_SHA256@", &sum)];
    serves(&image, "vm2", &filled(STOCK, &by_url), |path| server.read(path));
    serves(&image, "vm3", &filled(STOCK_NFS, &by_url), over_nfs(&server));
}

#[test]
#[ignore = "long: a boot of a stock image; run it when user-data, dependencies of the package, or Key Vault changes"]
fn a_stock_image_takes_the_package_from_a_repository() {
    let scenario = Scenario::new("a_stock_image_takes_the_package_from_a_repository");
    let (server, image) = stock(&scenario);
    let place = tempfile::tempdir().expect("a directory");
    let key = repository(place.path());
    let mut address = String::new();
    server.sh("mkdir -p /srv/http/apt");
    for entry in std::fs::read_dir(place.path()).expect("the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        address = server.serve(&format!("apt/{name}"), std::fs::read(&path).expect("a file"));
    }
    let address = address.rsplit_once('/').map(|(directory, _)| format!("{directory}/")).expect("an address");
    let by_apt = [("@APT_URL@", address.as_str()), ("@APT_KEY@", &key)];
    serves(&image, "vm2", &filled(STOCK_APT, &by_apt), |path| server.read(path));
}
