//! `packaging/image`: what `seal` takes out of an image, what it refuses, and what it leaves alone.

use cli::{Outcome, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn image(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/image").join(file)
}

/// A machine that was used to make an image.
struct Machine(tempfile::TempDir);

impl Machine {
    /// What every builder has; nothing of it may be in an image, and nobody has to be asked.
    const OWN: [&str; 14] = [
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "var/lib/cloud/instances/i-1/user-data.txt",
        "var/lib/cloud/instance/user-data.txt",
        "var/lib/cloud/sem/config_scripts.once",
        "var/lib/dsvm-agent/memory.json",
        "var/lib/dsvm-agent/.kept.toml",
        "var/lib/waagent/ovf-env.xml",
        "var/log/waagent.log",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/credential.secret",
        "var/lib/dbus/machine-id",
        "var/log/journal/0123/system.journal",
        "etc/netplan/50-cloud-init.yaml",
    ];

    fn new() -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        for path in Self::OWN {
            machine.write(path, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        }
        machine.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        machine.write("etc/dsvm-agent/agent.toml", "[share]\nsource = \"//host/share\"\nmount_point = \"/data\"\n");
        machine.write("etc/ssh/sshd_config", "PasswordAuthentication no\n");
        machine.write("etc/fstab", "UUID=1 / ext4 defaults 0 1\n# //h/s /mnt cifs password=old 0 0\n");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a file");
    }

    fn seal(&self, more: &[&str]) -> Outcome {
        run(Command::new(image("seal")).arg("--root").arg(self.0.path()).args(more))
    }

    /// Every file, with what is in it.
    fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(directory: &Path, out: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(directory).expect("a directory").flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), out);
                } else {
                    out.push((entry.path(), fs::read(entry.path()).expect("a file")));
                }
            }
        }
        let mut out = Vec::new();
        walk(self.0.path(), &mut out);
        out.sort();
        out
    }
}

#[test]
fn every_clone_of_a_sealed_machine_has_a_first_boot_of_its_own() {
    let machine = Machine::new();
    let outcome = machine.seal(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for path in Machine::OWN {
        assert!(!machine.path(path).exists(), "{path}");
    }
    // Missing would make systemd choose anew which services start.
    assert_eq!(fs::read(machine.path("etc/machine-id")).expect("a file"), b"");
    assert_eq!(fs::read(machine.path("etc/ssh/sshd_config")).expect("a file"), b"PasswordAuthentication no\n");
    assert!(machine.path("etc/dsvm-agent/agent.toml").exists() && machine.path("etc/fstab").exists());
    assert!(machine.path("var/lib/dsvm-agent").is_dir(), "its owner is the package's business");
    assert_eq!(machine.seal(&["--check"]).code, 0);
}

#[test]
fn looking_changes_nothing_and_names_all_that_is_left() {
    let machine = Machine::new();
    let before = machine.everything();
    let outcome = machine.seal(&["--check"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(machine.everything(), before);
    for path in
        ["/etc/machine-id", "/var/lib/waagent/ovf-env.xml", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/cloud/instances"]
    {
        assert!(outcome.err.contains(&format!("left: {path}: ")), "{path}\n{}", outcome.err);
    }
}

/// A secret that somebody put there is named, and neither removed nor let pass.
#[test]
fn a_secret_that_is_left_inside_is_refused() {
    let secrets = [
        ("etc/dsvm-agent/share.key", "username=a\npassword=S3cret\n", "/etc/dsvm-agent/share.key"),
        ("etc/dsvm-agent/hub.token", "S3cret", "/etc/dsvm-agent/hub.token"),
        ("etc/dsvm-agent/agent.d/old.key", "S3cret", "/etc/dsvm-agent/agent.d/old.key"),
        ("run/dsvm-agent/keys/share.key", "S3cret", "/run/dsvm-agent"),
        ("etc/systemd/system/dsvm-agent.service.d/key.conf", "[Service]\nSetCredential=share.key:S3cret\n", "key.conf"),
        ("etc/fstab", "//h/s /mnt cifs username=a,password=S3cret 0 0\n", "/etc/fstab"),
        ("etc/smbcredentials/contosods.cred", "password=S3cret", "/etc/smbcredentials/contosods.cred"),
        ("root/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "/root/.ssh/id_ed25519"),
        ("home/packer/.ssh/key", "-----BEGIN RSA PRIVATE KEY-----\n", "/home/packer/.ssh/key"),
        ("etc/ssh/pool_host_ca", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "/etc/ssh/pool_host_ca"),
        // Without its certificate it is just a key that all VMs have.
        ("etc/ssh/pool_host_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "/etc/ssh/pool_host_key"),
        ("home/packer/.azure/msal_token_cache.json", "{}", "/home/packer/.azure/msal_token_cache.json"),
    ];
    for (path, text, named) in secrets {
        let machine = Machine::new();
        machine.write(path, text);
        let outcome = machine.seal(&[]);
        assert_eq!(outcome.code, 1, "{path}: {outcome:?}");
        let lines: Vec<_> = outcome.err.lines().filter(|line| line.starts_with("left: ")).collect();
        assert!(matches!(lines[..], [line] if line.contains(named)), "{path}: {lines:?}");
        assert!(!outcome.err.contains("S3cret"), "{outcome:?}");
        assert_eq!(fs::read_to_string(machine.path(path)).expect("it is left"), text);
    }
}

#[test]
fn a_key_is_found_wherever_the_configuration_says_it_is() {
    let machine = Machine::new();
    let hub = "[idle]\njupyterhub = { url = \"http://127.0.0.1:8081/hub/api\", token_file = \"/srv/hub.token\" }\n";
    machine.write("etc/dsvm-agent/agent.d/10-hub.toml", hub);
    machine.write(
        "etc/dsvm-agent/agent.d/20-key.toml",
        "[share.credentials]\nfile = \"/opt/share.key\"\n# file = \"/etc/fstab\"\n",
    );
    assert_eq!(machine.seal(&[]).code, 0, "they are not there");
    machine.write("srv/hub.token", "S3cret");
    machine.write("opt/share.key", "S3cret");
    let outcome = machine.seal(&[]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("left: /srv/hub.token: ") && outcome.err.contains("left: /opt/share.key: "),
        "{outcome:?}"
    );
    assert!(!outcome.err.contains("/etc/fstab"));
}

#[test]
fn the_pools_own_host_key_passes_with_its_certificate() {
    let machine = Machine::new();
    machine.write("etc/ssh/pool_host_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    machine.write("etc/ssh/pool_host_key-cert.pub", "ssh-ed25519-cert-v01@openssh.com AAAA\n");
    assert_eq!(machine.seal(&[]).code, 0);
    assert!(machine.path("etc/ssh/pool_host_key").exists());
}

#[test]
fn what_might_surprise_somebody_is_said_and_no_more() {
    let machine = Machine::new();
    machine.write("home/packer/.bash_history", "ls\n");
    machine.write("root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n");
    machine.write("var/lib/cloud/seed/nocloud/user-data", "#cloud-config\n");
    let outcome = machine.seal(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for path in ["/home/packer/.bash_history", "/root/.ssh/authorized_keys", "/var/lib/cloud/seed"] {
        assert!(outcome.err.contains(&format!("look: {path}: ")), "{outcome:?}");
    }
    assert!(machine.path("home/packer/.bash_history").exists());
}

#[test]
fn wrong_usage_touches_nothing() {
    let machine = Machine::new();
    let before = machine.everything();
    for arguments in [&["--chek"][..], &["now"], &["--root"], &["--root", "/no/such/directory"]] {
        assert_eq!(machine.seal(arguments).code, 2, "{arguments:?}");
    }
    for arguments in [&[][..], &["--for", "ftp", "x.deb"], &["no-such.deb"], &["--force"]] {
        assert_eq!(run(Command::new(image("install")).args(arguments)).code, 2, "{arguments:?}");
    }
    assert_eq!(machine.everything(), before);
}
