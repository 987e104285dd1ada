//! The least that the package is for: glibc 2.31, systemd 247, and a libseccomp that has no name for mount_setattr(2).

use std::time::Duration;

use vm::{FileServer, Guest, Scenario, Service, Suite, together, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// The same package under a later version. Packed with nothing: that would take an emulated guest longer than all else.
const NEWER: &str = "set -e; cd /root; dpkg-deb --raw-extract old.deb new
sed -i 's/^Version: .*/Version: 99/' new/DEBIAN/control; dpkg-deb -Znone --build new new.deb";

/// Debian gave its libseccomp 2.5.1 the names of later calls. This takes two of them away again, as they are missing from
/// that version as it came. As a new file: systemd has the old one open.
const FORGET: &str = "set -e; cd /usr/lib/x86_64-linux-gnu; cp --archive libseccomp.so.2.5.1 /root/libseccomp
LC_ALL=C sed 's/mount_setattr/mount_setattX/; s/close_range/close_rangX/' libseccomp.so.2.5.1 >new
mv new libseccomp.so.2.5.1; systemctl daemon-reexec";

/// As when libseccomp is upgraded.
const REMEMBER: &str = "mv /root/libseccomp /usr/lib/x86_64-linux-gnu/libseccomp.so.2.5.1; systemctl daemon-reload";

/// What keeps systemd from running the package's generator.
const MASK: &str = "/etc/systemd/system-generators/dsvm-agent-generator";

/// Where systemd is told of the other filter.
const DROP_IN: &str = "/run/systemd/generator/dsvm-agent.service.d/50-old-libseccomp.conf";

#[test]
#[ignore = "long: a guest of the oldest release; run it when the package or the unit changes"]
fn the_oldest_release_does_the_main_job_and_is_left_as_it_was() {
    let scenario = Scenario::new("the_oldest_release_does_the_main_job_and_is_left_as_it_was");
    let (server, mut guest) = start(&scenario);
    println!("{}", guest.sh("uname -r; systemctl --version | head -n 1; dpkg-query -W libc6 libseccomp2 systemd"));
    // What it stands for. Were it newer, this would show nothing.
    assert!(guest.sh("systemctl --version").starts_with("systemd 247 "));
    assert!(guest.sh("getconf GNU_LIBC_VERSION").contains("2.31"));

    filter_is(&guest, "");
    guest.configure_smb();
    guest.wait_ready();
    assert_eq!(server.list("notebooks"), ["alice", "bob", "carol", "debian"]);
    works(&guest, "one");
    assert_eq!(server.read("notebooks/alice/one.ipynb"), b"{}\n");
    guest.reboot();
    filter_is(&guest, "");
    guest.wait_ready();
    works(&guest, "two");
    assert_eq!(guest.as_user("alice", "ls ~/notebooks/remote").ok(), "one.ipynb\ntwo.ipynb");

    comes_and_goes(&guest);
    assert_eq!(server.read("notebooks/alice/four.ipynb"), b"{}\n");
}

#[test]
#[ignore = "long: a guest of the oldest release; run it when the package or the unit changes"]
fn the_oldest_release_without_a_name_for_the_call_gets_another_filter() {
    let scenario = Scenario::new("the_oldest_release_without_a_name_for_the_call_gets_another_filter");
    let (_server, mut guest) = start(&scenario);
    guest.configure_smb();
    guest.wait_ready();

    // With the unit's own filter nothing could be mounted for anybody new, and the agent says why.
    guest.sh(&format!("mkdir -p $(dirname {MASK}); ln -s /dev/null {MASK}"));
    guest.sh(FORGET);
    guest.sh("systemctl restart dsvm-agent; useradd --create-home --shell /bin/bash dave");
    guest.wait_status("Function not implemented; mount_setattr");
    println!("{}", guest.ssh("dsvm-agent status").stdout);
    // The package sees to that by itself.
    guest.sh(&format!("rm {MASK}; systemctl daemon-reload; systemctl restart dsvm-agent"));
    filter_is(&guest, DROP_IN);
    guest.wait_ready();
    guest.log_in("dave", "echo x >~/notebooks/remote/x").ok();
    guest.reboot();
    filter_is(&guest, DROP_IN);
    guest.wait_ready();
    works(&guest, "one");
    // And it takes it back by itself, when systemd, too, has the new library.
    guest.sh(REMEMBER);
    filter_is(&guest, DROP_IN);
    guest.sh("systemctl daemon-reexec; systemctl restart dsvm-agent");
    filter_is(&guest, "");
    guest.wait_ready();
    works(&guest, "two");
}

fn start(scenario: &Scenario) -> (FileServer, Guest) {
    together(|| scenario.file_server(), || scenario.agent_vm_of(Suite::Bullseye, "vm1", Service::Running))
}

/// The package is upgraded, removed, installed again and purged.
fn comes_and_goes(guest: &Guest) {
    guest.put(std::fs::read(vm::package()).expect("the package"), "/root/old.deb", 0o644);
    guest.sh(NEWER);
    guest.sh("apt-get install --yes /root/new.deb");
    guest.wait_ready();
    works(guest, "three");

    let nobody_is_here = || {
        wait_for("nobody is here", SOON, || !guest.ssh("pgrep -u alice,bob,carol").success());
    };
    nobody_is_here();
    guest.sh("apt-get remove --yes dsvm-agent");
    assert_eq!(guest.log_in("alice", "echo in").ok(), "in", "a log-in misses nothing");
    guest.sh("apt-get install --yes --allow-downgrades /root/old.deb");
    guest.wait_ready();
    works(guest, "four");

    nobody_is_here();
    guest.sh("apt-get purge --yes dsvm-agent");
    assert!(!guest.ssh("test -e /var/lib/dsvm-agent").success(), "its state goes");
    let mounts = guest.sh("cat /proc/mounts");
    assert!(!mounts.contains("dsvm"), "{mounts}");
    assert_eq!(guest.ssh("systemctl --failed --no-legend").stdout.trim(), "", "nothing is left that fails");
}

/// Which filter is in force, and that systemd understands every line of the units, but for the names that it has not.
#[track_caller]
fn filter_is(guest: &Guest, drop_in: &str) {
    assert_eq!(guest.sh("systemctl show --property DropInPaths --value dsvm-agent"), drop_in);
    let units = "dsvm-agent.service dsvm-agent-metadata-guard.service dsvm-agent-going-down.service";
    let said = guest.ssh(&format!("systemd-analyze verify --man=no {units} 2>&1"));
    let lines = said.stdout.lines().filter(|line| drop_in.is_empty() || !line.contains("system call"));
    assert_eq!((lines.collect::<Vec<_>>(), said.success()), (Vec::new(), true), "{said}");
    // Something is refused in either case.
    let main = "$(systemctl show --property MainPID --value dsvm-agent)";
    assert!(guest.sh(&format!("cat /proc/{main}/status")).contains("Seccomp:\t2"));
}

/// Somebody saves, nobody else reads it, and the agent has nothing to complain of.
#[track_caller]
fn works(guest: &Guest, name: &str) {
    guest.log_in("alice", &format!("cd ~/notebooks/remote && echo '{{}}' >{name}.ipynb")).ok();
    for path in ["/datamnt/dsvmshare/notebooks/alice", "/run/dsvm-agent/share/root"] {
        assert!(guest.as_user("bob", &format!("ls {path}")).fails().contains("Permission denied"), "{path}");
    }
    assert!(guest.ssh("touch /datamnt/dsvmshare/x /datamnt/dsvmshare/notebooks/x").fails().contains("Read-only"));
    assert_eq!(guest.sh("systemctl is-active dsvm-agent"), "active");
    let status = guest.ssh("dsvm-agent status");
    assert!(status.success() && !status.stdout.contains('✘'), "{status}");
    let doctor = guest.ssh("dsvm-agent doctor");
    println!("{}", doctor.stdout);
    assert!(doctor.success(), "{doctor}");
}
