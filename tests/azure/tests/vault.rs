//! The key of an SMB share comes from Key Vault: into memory that only root may read, and nowhere else.

use azure::Azure;
use azure::world::{Mode, World};
use namespaces::{MOUNT_POINT, SOON, Sandbox, wait_for};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const FIRST: &str = "Rmlyc3Qga2V5IG9mIGEgdGVzdCwgd2hpY2ggb3BlbnMgbm90aGluZw==";
const SECOND: &str = "U2Vjb25kIGtleSBvZiBhIHRlc3QsIHdoaWNoIG9wZW5zIG5vdGhpbmc=";
const THIRD: &str = "VGhpcmQga2V5IG9mIGEgdGVzdCwgd2hpY2ggb3BlbnMgbm90aGluZyE=";
const FETCHED: &str = "/run/dsvm-agent/keys/vault";

/// A machine with instance metadata, whose vault has two keys, and an SMB share at which nobody answers.
fn machine() -> Option<(Sandbox, Azure)> {
    let vm = Sandbox::new("vm1")?;
    vm.user("ada");
    vm.sh("ip link set lo up; ip addr add 169.254.169.254/32 dev lo").ok();
    vm.write("/etc/hosts", "127.0.0.1 localhost contosods.file.core.windows.net\n");
    let mut world = World::new(Mode::Uniform, 1);
    for (name, key) in [("share-key", FIRST), ("share-key-2", SECOND)] {
        world.secrets.insert(name.to_owned(), key.to_owned());
    }
    let azure = vm.inside(|| Azure::at(world, ([169, 254, 169, 254], 80).into()).expect("it starts"));
    vm.config(&format!(
        "[share]\nsource = \"//contosods.file.core.windows.net/dsvmshare\"\nmount_point = \"{MOUNT_POINT}\"\n\
         [share.credentials]\n\
         key_vault = {{ vault = \"http://169.254.169.254\", secret = \"share-key\", secret2 = \"share-key-2\" }}\n"
    ));
    Some((vm, azure))
}

/// The processes of the agent on the machine, by their directories in its `/proc`.
fn processes(vm: &Sandbox) -> Vec<PathBuf> {
    let all = fs::read_dir(vm.path("/proc")).expect("processes").flatten().map(|e| e.path());
    let is_agent = |p: &PathBuf| fs::read(p.join("cmdline")).is_ok_and(|c| c.starts_with(b"dsvm-agent"));
    let launched = |p: &PathBuf| fs::read_link(p.join("exe")).is_ok_and(|e| e.ends_with("dsvm-agent"));
    all.filter(|p| is_agent(p) || launched(p)).collect()
}

/// Whether a process has `secret` anywhere in its memory: what a core file of it would hold, and more.
fn remembers(process: &Path, secret: &str) -> bool {
    let Ok(maps) = fs::File::open(process.join("maps")) else { return false };
    let Ok(memory) = fs::File::open(process.join("mem")) else { return false };
    for line in BufReader::new(maps).lines().map_while(Result::ok) {
        let mut parts = line.split([' ', '-']);
        let number = |p: Option<&str>| p.and_then(|p| u64::from_str_radix(p, 16).ok());
        let (Some(from), Some(to)) = (number(parts.next()), number(parts.next())) else { continue };
        // What cannot be written holds nothing that was read; the kernel's own pages cannot be read.
        let Ok(length) = usize::try_from(to - from) else { continue };
        if !parts.next().is_some_and(|rights| rights.contains('w')) || line.contains("[v") || length > 1 << 30 {
            continue;
        }
        let mut bytes = vec![0u8; length];
        let mut read = 0;
        while let Ok(n @ 1..) = memory.read_at(&mut bytes[read..], from + read as u64) {
            read += n;
        }
        if String::from_utf8_lossy(&bytes[..read]).contains(secret) {
            return true;
        }
    }
    false
}

#[test]
fn the_key_is_in_memory_of_roots_and_nowhere_else() {
    let Some((vm, azure)) = machine() else { return };
    let agent = vm.agent_start();
    wait_for("the key is fetched", SOON, || vm.exists(FETCHED));
    assert_eq!(vm.read(FETCHED), format!("username=contosods\npassword={FIRST}\npassword2={SECOND}\n"));
    assert_eq!(vm.sh(&format!("stat -c '%U %a' {FETCHED}; stat -f -c %T {FETCHED}")).out, "root 600\nramfs");
    for path in [FETCHED, "/run/dsvm-agent/keys"] {
        assert!(!vm.as_user("ada", &format!("cat {path} {path}/*")).success(), "{path}");
        assert!(!vm.sh(&format!("setpriv --reuid dsvm-agent --clear-groups cat {path}")).success(), "{path}");
    }
    agent.wait_problem("share.unreachable");

    // The token is asked for with nothing but what must be said, and goes to the vault alone.
    let tokens = azure
        .world()
        .received
        .iter()
        .filter(|r| r.request.query("resource") == Some("https://vault.azure.net"))
        .count();
    assert!(tokens > 0);

    // The helpers that had it are gone; who stays never had it.
    let processes = processes(&vm);
    assert!(processes.len() >= 2, "{processes:?}");
    for process in &processes {
        for secret in [FIRST, SECOND] {
            assert!(!remembers(process, secret), "{}", process.display());
        }
        for file in ["cmdline", "environ"] {
            let text = fs::read(process.join(file)).unwrap_or_default();
            assert!(!text.windows(20).any(|w| w == &FIRST.as_bytes()[..20]), "{} {file}", process.display());
        }
    }
    // The test itself can find what is there: the launcher's own words.
    assert!(processes.iter().any(|p| remembers(p, "dsvm-agent")));
    let places = format!("grep -rlF -e {} -e {} /run /etc /var /home /tmp /srv /root", &FIRST[..20], &SECOND[..20]);
    assert_eq!(vm.sh(&places).out, FETCHED);
    assert!(!agent.log().contains(&FIRST[..20]));
    for command in ["status --json", "doctor --json", "plan --json", "config show"] {
        let shown = vm.sh(&format!("dsvm-agent {command}"));
        assert!(!format!("{}{}", shown.out, shown.err).contains(&FIRST[..20]), "{command}");
    }
}

#[test]
fn a_role_that_is_not_there_yet_is_waited_for_and_a_new_key_is_taken() {
    let Some((vm, azure)) = machine() else { return };
    azure.world().identities[0].secrets = false;
    let agent = vm.agent_start();
    agent.wait_problem("share.waiting-for-role");
    // Between two tries the server itself, which is not there either, may be what is told.
    wait_for("the status says what is normal", SOON, || {
        let text = vm.sh("dsvm-agent status").out;
        text.contains("says 403 to this VM's own identity") && text.contains("normal for about 10 min")
    });
    let report = vm.sh("dsvm-agent doctor --json");
    // The kernel that runs this may have no SMB, which then is the cause.
    let key = report.out.split("\"name\": ").find(|s| s.starts_with("\"key\"")).unwrap_or_default().to_owned();
    assert!(report.code == 1 && key.contains("share.waiting-for-role"), "{}", report.out);
    assert!(!vm.exists(FETCHED) && !vm.mounts().contains("ramfs"));

    // The role comes, and nobody does anything.
    azure.world().identities[0].secrets = true;
    wait_for("the key is fetched", SOON, || vm.exists(FETCHED));
    wait_for("it is no problem any more", SOON, || !agent.problems().contains(&"share.waiting-for-role".to_owned()));

    // The same key again changes nothing; another one is taken.
    let identity = || fs::metadata(vm.path(FETCHED)).map(|m| (m.ino(), m.ctime(), m.ctime_nsec())).expect("the file");
    let before = identity();
    let asked =
        |azure: &Azure| azure.world().received.iter().filter(|r| r.request.path.starts_with("/secrets/")).count();
    let count = asked(&azure);
    agent.signal("HUP");
    azure.until("it is asked for again", |world| {
        let now = world.received.iter().filter(|r| r.request.path.starts_with("/secrets/")).count();
        (now >= count + 2).then_some(())
    });
    agent.wait_looked();
    assert_eq!(identity(), before);
    azure.world().secrets.insert("share-key".to_owned(), THIRD.to_owned());
    agent.signal("HUP");
    wait_for("the new key is there", SOON, || vm.read(FETCHED).contains(THIRD));
    assert!(identity() != before);

    // A secret that is gone, or no key, leaves the one that is there.
    azure.world().secrets.insert("share-key".to_owned(), "two\nlines".to_owned());
    let count = asked(&azure);
    agent.signal("HUP");
    azure.until("it is asked for again", |world| {
        let now = world.received.iter().filter(|r| r.request.path.starts_with("/secrets/")).count();
        (now >= count + 2).then_some(())
    });
    agent.wait_looked();
    assert!(vm.read(FETCHED).contains(THIRD));
}
