//! What notebooks feel on a share whose server is 1 ms away, each way: on the agent's mount, on the one that the script
//! made which the agent replaces, and on one with the options that the vendor recommends.

use crate::place::{self, Mounts, SCRIPTS};
use crate::table::{Row, Unit, median};
use std::collections::BTreeMap;
use std::time::Duration;
use vm::server::HOST;
use vm::{FileServer, Guest};

/// Somebody else's mount of the share: type, source, options, and who it is.
struct Theirs {
    kind: &'static str,
    source: String,
    options: String,
    whose: &'static str,
}

const KEY: &str = "credentials=/etc/dsvm-agent/share.key";
const NFS: &str = "vers=4,minorversion=1,sec=sys,noresvport,nconnect=4,actimeo=30,rsize=1048576,wsize=1048576";

/// The old script's own options, and the vendor's pages' for SMB and NFS on Linux.
fn theirs() -> [Theirs; 3] {
    let smb = "//contosods.file.core.windows.net/dsvmshare".to_owned();
    let open = "dir_mode=0777,file_mode=0777";
    [
        Theirs {
            kind: "cifs",
            source: smb.clone(),
            options: format!("vers=3.0,seal,{KEY},{open}"),
            whose: "mount.cifs, the old script's vers=3.0,0777",
        },
        Theirs {
            kind: "cifs",
            source: smb,
            options: format!("vers=3.1.1,seal,{KEY},serverino,nosharesock,actimeo=30,mfsymlinks,{open}"),
            whose: "mount.cifs, the vendor's options",
        },
        Theirs {
            kind: "nfs",
            source: format!("{HOST}:/contosods/dsvmshare"),
            options: NFS.to_owned(),
            whose: "mount.nfs, the vendor's options",
        },
    ]
}

/// Work and mounting, over SMB and then over NFS.
pub fn measure(guest: &Guest, server: &FileServer, times: u32) -> Vec<Row> {
    // The old script's dialect is one that the strict server of the tests refuses.
    server.sh("sed -i 's/min protocol = SMB3_11/min protocol = SMB3_00/' /etc/samba/smb.conf; systemctl restart smbd");
    server.start_nfs(false);
    server.sh("install -d -m 1777 /contosods/dsvmshare/notebooks");
    server.delay(1);
    guest.sh("modprobe sch_netem; tc qdisc replace dev eth1 root netem delay 1ms");
    let [old, vendor, nfs] = theirs();
    let mut rows = Vec::new();
    for (kind, others) in [("SMB", vec![old, vendor]), ("NFS", vec![nfs])] {
        place::configure(guest, Mounts::OnPresence);
        if kind == "NFS" {
            guest.sh("sed -i 's|^source = .*|source = \"contosods.file.core.windows.net:/contosods/dsvmshare\"|; \
                      /^.share.credentials/,/^file/d' /etc/dsvm-agent/agent.toml");
        }
        guest.sh("mkdir -p /etc/dsvm-agent/agent.d");
        guest.put("[workspace]\nlinger = \"1s\"\n", "/etc/dsvm-agent/agent.d/90-linger.toml", 0o644);
        guest.sh(&format!("{SCRIPTS}/start clear"));
        guest.sh("systemctl start dsvm-agent; dsvm-agent wait --timeout 90s");
        let mounting = numbers(guest, &format!("{SCRIPTS}/login alice /datamnt/dsvmshare/notebooks/alice {times}"));
        guest.stay_logged_in("alice");
        let ours = work(guest, "/datamnt/dsvmshare/notebooks/alice");
        guest.log_out("alice");
        for other in others {
            let mount = format!("{SCRIPTS}/mount-time {times} {} {} {}", other.kind, other.source, other.options);
            let what = format!("mount over {kind}, until a log-in goes on");
            let took = numbers(guest, &mount);
            rows.push(Row::beside(&what, Unit::Milliseconds, median(&mounting), other.whose, median(&took)));
            guest.sh(&format!(
                "mkdir -p /bench/theirs && mount -t {} {} /bench/theirs -o {} && mkdir -p -m 1777 /bench/theirs/bench-area",
                other.kind, other.source, other.options
            ));
            let theirs = work(guest, "/bench/theirs/bench-area");
            guest.sh("rm -rf /bench/theirs/bench-area; umount /bench/theirs");
            for (what, seconds) in &ours {
                let other_seconds = theirs.get(what).copied().unwrap_or(f64::NAN);
                rows.push(Row::beside(&format!("{kind}: {what}"), Unit::Seconds, *seconds, other.whose, other_seconds));
            }
        }
    }
    server.delay(0);
    guest.sh("tc qdisc delete dev eth1 root; rm /etc/dsvm-agent/agent.d/90-linger.toml");
    rows
}

fn numbers(guest: &Guest, line: &str) -> Vec<f64> {
    let text = guest.ssh_within(line, Duration::from_secs(900)).ok();
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no number: {line}"))).collect()
}

/// Seconds that alice's work takes in a directory, by what it is; no number for what fails.
fn work(guest: &Guest, directory: &str) -> BTreeMap<String, f64> {
    let line = format!("{SCRIPTS}/notebook {directory}; rm -rf {directory}/bench");
    let text = guest.as_user_within("alice", &line, Duration::from_secs(900)).ok();
    eprintln!("bench: {directory}:\n{text}");
    parse(&text)
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let figure = |line: &str| {
        let mut words = line.split_whitespace();
        let what = match words.next()? {
            "create" => "create 100 files",
            "stat" => "500 stats",
            "read" => "read 300 files",
            "save" => "save 30 notebooks",
            "sqlite" => "SQLite, 20 inserts",
            "git" => "git init, add, commit",
            other => panic!("no figure: {other}"),
        };
        Some((what.to_owned(), words.next()?.parse().unwrap_or(f64::NAN)))
    };
    text.lines().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_fails_has_no_number() {
        let figures = super::parse("create 1.5\nsqlite failed database is locked\n");
        assert!((figures["create 100 files"] - 1.5).abs() < 1e-9 && figures["SQLite, 20 inserts"].is_nan());
    }
}
