//! What scenarios rely on: the harness itself, before any agent is on a guest.

use std::time::{Duration, Instant};

use vm::server::{ACCOUNT, HOST, KEY, KEY2, SHARE};
use vm::{Clock, Guest, Image, Output, Recipe, Scenario, Service, Suite, USERS, quoted, together, wait_for};

const USER_DATA: &str = "#cloud-config
users:
  - name: alice
    shell: /bin/bash
  - name: bob
    shell: /bin/bash
write_files:
  - path: /etc/proof
    content: written by cloud-init
";

/// A guest as it is after its first boot, with alice and bob.
fn booted(suite: Suite) -> vm::State {
    Recipe::new("booted", Image::of(suite)).user_data(USER_DATA).state(|_| {})
}

/// Mounts the share as the old script did: by the helper, with the key on the command line.
fn mount(guest: &Guest, options: &str) -> Output {
    guest.ssh(&format!(
        "mkdir -p /mnt/share; mount -t cifs //{HOST}/{SHARE} /mnt/share -o username={ACCOUNT},password={},{options}",
        quoted(KEY)
    ))
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn a_stock_guest_is_set_up_by_cloud_init() {
    let scenario = Scenario::new("a_stock_guest_is_set_up_by_cloud_init");
    let mut guest = scenario.guest("vm1").user_data(USER_DATA).boot();
    assert_eq!(guest.sh("cloud-init status"), "status: done");
    assert_eq!(guest.sh("systemctl --failed --no-legend"), "");
    assert_eq!(guest.get("/etc/proof"), b"written by cloud-init");
    assert_eq!(guest.sh("hostname"), "vm1");
    assert_eq!(guest.as_user("alice", "id -un; pwd; touch mine").ok(), "alice\n/home/alice");
    assert!(guest.as_user("bob", "touch /home/alice/not-mine").fails().contains("Permission denied"));
    assert_eq!(guest.log_in("bob", "id -un").ok(), "bob");
    for off in ["smbd", "nfs-server", "jupyterhub"] {
        assert!(!guest.ssh(&format!("systemctl is-active {off}")).success(), "{off} runs unasked");
    }

    guest.reboot();
    assert_eq!(guest.sh("stat -c %U /home/alice/mine"), "alice");
    guest.sh("sync");
    guest.kill();
    guest.power_on();
    assert_eq!(guest.sh("stat -c %U /home/alice/mine"), "alice");
    guest.power_off_clean();
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn an_older_guest_is_set_up_too() {
    let scenario = Scenario::new("an_older_guest_is_set_up_too");
    let guest = scenario.resume("vm1", &booted(Suite::Bookworm));
    assert!(guest.sh("cat /etc/debian_version").starts_with("12"));
    assert_eq!(guest.sh("cloud-init status"), "status: done");
    assert_eq!(guest.get("/etc/proof"), b"written by cloud-init");
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn a_saved_guest_comes_back_in_seconds_and_as_itself() {
    let scenario = Scenario::new("a_saved_guest_comes_back_in_seconds_and_as_itself");
    let state = booted(Suite::Trixie);
    let began = Instant::now();
    let mut first = scenario.resume("vm1", &state);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    let second = state.resume_with(&scenario, "vm2", Clock::AsSaved);

    first.sh("touch /root/only-here");
    assert!(!second.ssh("test -e /root/only-here").success(), "two guests share a disk");
    assert_eq!((first.sh("hostname"), second.sh("hostname")), ("vm1".to_owned(), "vm2".to_owned()));
    first.sh("ping -c 3 -W 5 vm2");
    second.sh("ping -c 3 -W 5 vm1");
    let now: u64 = first.sh("date +%s").parse().expect("a number");
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    assert!(now.abs_diff(here) < 10, "the guest has {now}, this machine {here}");

    first.cable(false);
    assert!(!second.ssh("ping -c 1 -W 2 vm1").success(), "a cable that was pulled carries");
    first.cable(true);
    wait_for("the cable carries again", Duration::from_secs(30), || second.ssh("ping -c 1 -W 2 vm1").success());

    first.reboot();
    assert_eq!(first.sh("hostname; ls /root/only-here"), "vm1\n/root/only-here");
    wait_for("it has its address again", Duration::from_secs(30), || second.ssh("ping -c 1 -W 2 vm1").success());
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn two_guests_share_a_file_server_that_insists_on_encryption() {
    let scenario = Scenario::new("two_guests_share_a_file_server_that_insists_on_encryption");
    let state = booted(Suite::Trixie);
    let server = scenario.file_server();
    let (first, second) = together(|| scenario.resume("vm1", &state), || scenario.resume("vm2", &state));

    assert!(mount(&first, "vers=3.0,seal").fails().contains("mount error(95)"), "an old dialect was taken");
    // A client that does not ask for encryption gets it all the same.
    mount(&first, "vers=3.1.1").ok();
    let sessions = first.sh("cat /proc/fs/cifs/DebugData");
    assert!(sessions.lines().any(|line| line.contains("SessionId") && line.contains("encrypted")), "{sessions}");
    first.sh("umount /mnt/share");
    mount(&first, "vers=3.1.1,seal").ok();
    mount(&second, "vers=3.1.1,seal").ok();

    first.sh("mkdir -p /mnt/share/notebooks/alice && echo 1+1 >/mnt/share/notebooks/alice/x");
    assert_eq!(second.sh("cat /mnt/share/notebooks/alice/x"), "1+1");
    assert_eq!(server.read("notebooks/alice/x"), b"1+1\n");
    server.write("notebooks/bob/y", "2+2\n");
    assert_eq!(server.list("notebooks"), ["alice", "bob"]);
    assert_eq!(first.sh("cat /mnt/share/notebooks/bob/y"), "2+2");

    let address = server.serve("hello", "hello");
    assert_eq!(second.sh(&format!("curl -sS {address}")), "hello");

    server.change_key(KEY2);
    first.sh("umount /mnt/share");
    assert!(mount(&first, "vers=3.1.1,seal").fails().contains("mount error(13)"), "the old key still opens");

    first.resolve(HOST, second.address());
    assert_eq!(first.sh(&format!("getent hosts {HOST} | cut -d' ' -f1")), "10.77.0.12");
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn a_server_that_drops_silently_makes_its_clients_hang() {
    let scenario = Scenario::new("a_server_that_drops_silently_makes_its_clients_hang");
    let state = booted(Suite::Trixie);
    let (server, guest) = together(|| scenario.file_server(), || scenario.resume("vm1", &state));
    mount(&guest, "vers=3.1.1,seal").ok();
    let look = "stat --file-system /mnt/share";
    guest.ssh_within(look, Duration::from_secs(10)).ok();

    server.delay(200);
    let began = Instant::now();
    guest.sh("touch /mnt/share/late");
    assert!(began.elapsed() > Duration::from_millis(200), "nothing was late");
    server.delay(0);

    server.drop_silently();
    assert!(guest.ssh_within(look, Duration::from_secs(10)).timed_out(), "a dead server answers");
    server.undrop();
    wait_for("the share answers again", Duration::from_secs(120), || {
        guest.ssh_within(look, Duration::from_secs(10)).success()
    });
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn the_server_has_the_share_on_nfs_when_asked() {
    let scenario = Scenario::new("the_server_has_the_share_on_nfs_when_asked");
    let state = booted(Suite::Trixie);
    let (server, guest) = together(|| scenario.file_server(), || scenario.resume("vm1", &state));
    server.start_nfs(false);
    let mount = format!("mkdir -p /mnt/nfs; mount -t nfs -o vers=4.1 {HOST}:/{ACCOUNT}/{SHARE} /mnt/nfs");
    guest.sh(&mount);
    guest.sh("touch /mnt/nfs/there");
    assert_eq!(server.sh("stat -c %U /contosods/dsvmshare/there"), "root");
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn people_sign_in_to_the_real_hub() {
    let scenario = Scenario::new("people_sign_in_to_the_real_hub");
    let guest = scenario.resume("vm1", &booted(Suite::Trixie));
    guest.sh("echo alice:secret | chpasswd; systemctl start jupyterhub");
    let hub = "http://127.0.0.1:8000/hub";
    wait_for("the hub answers", Duration::from_secs(240), || {
        guest.ssh(&format!("curl -fsS -o /dev/null {hub}/login")).success()
    });
    guest.sh(&format!(
        "set -e; jar=$(mktemp)
        curl -fsS -c $jar -b $jar -o /dev/null {hub}/login
        token=$(awk '$6 == \"_xsrf\" {{ print $7 }}' $jar)
        curl -fsSL -c $jar -b $jar -o /dev/null -d username=alice -d password=secret -d _xsrf=$token {hub}/login"
    ));
    wait_for("alice's own server runs", Duration::from_secs(300), || {
        !guest.sh("pgrep -u alice -f jupyterhub-singleuser || true").is_empty()
    });
}

#[test]
#[ignore = "long: other scenarios stand on it; run it when the harness changes"]
fn an_agent_guest_has_the_package_and_its_users() {
    let scenario = Scenario::new("an_agent_guest_has_the_package_and_its_users");
    let guest = scenario.agent_vm("vm1", Service::Running);
    let state = "dpkg-query --showformat='${db:Status-Abbrev}' --show dsvm-agent";
    assert_eq!(guest.sh(state).trim(), "ii");
    assert_eq!(guest.sh("systemctl is-enabled dsvm-agent"), "enabled");
    for user in USERS {
        assert_eq!(guest.log_in(user, "id -un").ok(), user);
    }
    assert!(!guest.ssh("test -e /root/agent.deb").success());

    guest.stay_logged_in("alice");
    assert!(guest.sh("loginctl list-sessions --no-legend").contains("alice"));
    guest.log_out("alice");
    wait_for("alice is gone", Duration::from_secs(60), || {
        !guest.sh("loginctl list-sessions --no-legend").contains("alice")
    });
}
