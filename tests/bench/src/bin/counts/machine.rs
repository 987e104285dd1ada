//! The VM that everything happens on: a thousand people, all of them there, with their notebooks mounted.

use dsvm_agent::config::{self, Settings};
use dsvm_agent::daemon::engine::{Decision, Engine, Facts};
use dsvm_agent::share::model::Probe;
use dsvm_agent::sys::mountinfo;
use dsvm_agent::workspace::decide;
use dsvm_agent::workspace::model::{Account, Found};
use dsvm_agent::workspace::names;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// So many people.
pub const PEOPLE: u32 = 1000;
/// The first one's number.
pub const FIRST: u32 = 1001;
/// When everything happens, by the boot-time clock.
pub const NOW: Duration = Duration::from_secs(100_000);

/// The numbers of the mounts that are the agent's own.
const GUARD: u64 = 1000;
const ROOT: u64 = 1001;

/// A configuration with most of what there is.
pub const CONFIGURATION: &str = r#"
[share]
source = "//contosods.file.core.windows.net/dsvmshare"
mount_point = "/datamnt/dsvmshare"

[share.smb]
isolation = "per-user"
options = ["closetimeo=1"]

[share.credentials]
file = "/etc/dsvm-agent/share.key"

[workspace]
directory = "notebooks/{user}"
link = "notebooks/remote"
exclude = ["backup", "@guests"]
mount = "on-presence"
linger = "10m"

[idle]
after = "60m"
announce = "15m"
boot_grace = "30m"
keep_max = "72h"

[idle.tuning]
sample = "30s"
window = "5m"
cpu_cores = 0.05
memory = { above = "2GiB", after = "3h" }

[scale_set]
enabled = "auto"
protect = "in-use"
metrics = true
client_id = ""
listen = "0.0.0.0:9460"

[status]
textfile = "/var/lib/prometheus/node-exporter/dsvm.prom"
"#;

/// What the configuration asks for.
pub fn settings() -> Settings {
    config::from_texts(vec![("/etc/dsvm-agent/agent.toml".into(), CONFIGURATION.to_owned())])
        .expect("no mistake")
        .settings
}

/// What people are called: some by a directory service, whose names are escaped on the share.
pub fn name(number: u32) -> String {
    if number.is_multiple_of(10) { format!("Ada.Lovelace{number}@contoso.com") } else { format!("person{number}") }
}

/// Everybody's account.
pub fn accounts() -> Vec<Account> {
    let account = |number: u32| {
        let (name, uid) = (name(number), FIRST + number);
        let team = format!("team{}", number % 40);
        Account {
            uid,
            gid: uid,
            groups: vec![uid, 100, 5000 + number % 40],
            named_groups: BTreeMap::from([(name.clone(), uid), ("users".to_owned(), 100), (team, 5000 + number % 40)]),
            home: format!("/home/{name}").into(),
            shell: "/bin/bash".into(),
            name,
        }
    };
    (0..PEOPLE).map(account).collect()
}

/// The table of mounts as Linux 6.12 shows it: the system's, the guard, the share's root, and everybody's directory.
pub fn mounts() -> String {
    let mut out = String::from("21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro\n");
    for (number, place) in ["proc", "sys", "dev", "run", "tmp", "boot", "mnt"].iter().enumerate() {
        let _ = writeln!(out, "{} 21 0:{number} / /{place} rw,nosuid,nodev shared:2 - tmpfs {place} rw", 22 + number);
    }
    let share = "//contosods.file.core.windows.net/dsvmshare";
    let options = |uid: u32, patience: &str| {
        format!(
            "rw,vers=3.1.1,seal,cache=strict,upcall_target=app,username=contosods,uid={uid},forceuid,gid={uid},forcegid,\
             addr=10.0.0.4,file_mode=0600,dir_mode=0700,{patience},nounix,serverino,mapposix,nobrl,mfsymlinks,\
             reparse=nfs,rsize=4194304,actimeo=30,closetimeo=1"
        )
    };
    let point = "/datamnt/dsvmshare";
    let _ =
        writeln!(out, "{GUARD} 21 0:40 / {point} ro,nosuid,nodev,noexec shared:9 - tmpfs dsvm-agent-guard ro,mode=755");
    let root = options(0, "soft,nosharesock");
    let _ =
        writeln!(out, "{ROOT} 25 0:41 / /run/dsvm-agent/share/root rw,nosuid,nodev shared:10 - cifs {share} {root}");
    for number in 0..PEOPLE {
        let (id, own) = (2000 + number, names::escape(&name(number)).expect("it can be written"));
        let head = format!("{id} {GUARD} 0:{id} / {point}/notebooks/{own} rw,nosuid,nodev,relatime shared:{id}");
        let _ = writeln!(out, "{head} - cifs {share}/notebooks/{own} {}", options(FIRST + number, "hard"));
    }
    out
}

/// What a pass sees.
pub fn facts() -> Facts {
    Facts {
        now: NOW,
        mounts: Ok(mountinfo::parse(mounts().as_bytes()).expect("lines as they should be")),
        present: Some((FIRST..FIRST + PEOPLE).collect()),
        range: 1000..=60_000,
        points: Default::default(),
        keys: None,
        short: Vec::new(),
    }
}

/// An engine that has done everything there is to do.
pub fn engine() -> Engine {
    let settings = settings();
    let mut engine = Engine::new(settings.clone(), None, 0);
    let found = Found { accounts: accounts(), whole: true, ..Found::default() };
    decide::take(&mut engine.users, &settings, found, 1000, NOW);
    for record in engine.users.users.values_mut() {
        (record.point, record.made) = (Some(GUARD), Some(ROOT));
        (record.checked, record.linked) = (Some(NOW), Some(NOW));
    }
    let alive = Probe { ms: 2.1, bytes_total: 5 << 40, bytes_free: 3 << 40, stalled: 0 };
    engine.share.probed(Ok(alive), NOW);
    (engine.share.root_id, engine.share.keys.taken, engine.share.tended) = (Some(ROOT), Some(None), Some(NOW));
    engine
}

/// The same, and what it decides: to do nothing.
pub fn decided() -> (Engine, Decision) {
    let mut engine = engine();
    let decision = engine.decide(&facts());
    assert_eq!((&decision.steps[..], &decision.problems[..]), (&[][..], &[][..]), "nothing to do, and nothing wrong");
    assert_eq!(decision.mounted.users.len(), PEOPLE as usize);
    (engine, decision)
}
