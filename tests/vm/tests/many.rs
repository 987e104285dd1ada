//! Many accounts, few of whom are here: links for all, mounts for those, over one connection.

use std::time::{Duration, Instant};

use vm::{Guest, Scenario, Service, together, wait_for};

/// Accounts `u1` to `uN` with homes, as a directory of people has them: all at once.
const ACCOUNTS: &str = r#"
import os, sys
count, first = int(sys.argv[1]), 10001
with open("/etc/passwd", "a") as passwd, open("/etc/group", "a") as group, open("/etc/shadow", "a") as shadow:
    for n in range(1, count + 1):
        uid = first + n
        passwd.write(f"u{n}:x:{uid}:{uid}::/home/u{n}:/bin/bash\n")
        group.write(f"u{n}:x:{uid}:\n")
        shadow.write(f"u{n}:*:20000:0:99999:7:::\n")
        os.mkdir(f"/home/u{n}", 0o755)
        os.chown(f"/home/u{n}", uid, uid)
"#;

/// The user's own service manager looks at everything anew and answers.
const MANAGER: &str = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user daemon-reload";

/// How many users' directories are mounted.
fn mounted(guest: &Guest) -> usize {
    guest.sh("grep -c ' /datamnt/dsvmshare/notebooks/u' /proc/self/mountinfo || true").parse().expect("a number")
}

/// Seconds that a command of `u1`'s takes, up to `within`.
fn takes(guest: &Guest, line: &str, within: u64) -> f64 {
    let began = Instant::now();
    guest.as_user_within("u1", line, Duration::from_secs(within));
    began.elapsed().as_secs_f64()
}

fn many(name: &str, accounts: usize, here: usize, patience: Duration) {
    let scenario = Scenario::new(name);
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    guest.configure_smb();
    guest.sh("mkdir -p /etc/dsvm-agent/agent.d");
    guest.put("[workspace]\nlinger = \"5s\"\n", "/etc/dsvm-agent/agent.d/50-linger.toml", 0o644);
    guest.wait_ready();
    guest.put(ACCOUNTS, "/root/accounts.py", 0o644);
    let began = Instant::now();
    guest.sh(&format!("python3 /root/accounts.py {accounts}"));
    // Alice, bob, carol and debian are there, too.
    let ready = accounts + 4;
    wait_for("all have their links", patience, || {
        let status = guest.ssh("dsvm-agent status --json").stdout;
        status.contains(&format!("\"ready\": {ready},"))
    });
    println!("{accounts} accounts linked in {:.0} s", began.elapsed().as_secs_f64());
    let links = guest.sh("ls -d /home/u*/notebooks/remote | wc -l");
    assert_eq!(links.parse(), Ok(accounts));
    assert_eq!(server.list("notebooks").len(), ready);
    assert_eq!(mounted(&guest), 0, "nobody is here");

    for round in 1..=2 {
        let began = Instant::now();
        // With their own service managers, as people who are logged in have them.
        // One after the other: sixty at once are more than an emulated guest starts before systemd gives up on them.
        let came = guest.ssh_within(
            &format!("for n in $(seq {here}); do systemctl start user@$(id -u u$n).service; done"),
            patience,
        );
        assert!(came.success(), "{came}");
        wait_for("those who are here have their notebooks", patience, || mounted(&guest) == here);
        println!("round {round}: {here} came and had their notebooks after {:.0} s", began.elapsed().as_secs_f64());
        let connections = guest.sh("ss -Htn state established dport = :445 | wc -l");
        assert!(matches!(connections.as_str(), "1" | "2"), "theirs, and the agent's own: {connections}");
        guest.as_user("u1", "echo mine >~/notebooks/remote/mine").ok();
        assert!(guest.as_user("u2", "cat /datamnt/dsvmshare/notebooks/u1/mine").fails().contains("Permission denied"));
        let (df, status) = (takes(&guest, "df", 120), takes(&guest, "dsvm-agent status", 120));
        let manager = takes(&guest, MANAGER, 120);
        println!(
            "round {round}: df of an ordinary user {df:.1} s, status {status:.1} s, own service manager {manager:.1} s"
        );
        if round == 2 {
            server.drop_silently();
            guest.wait_away();
            // `df` asks every file system that its user may reach, and hers does not answer: only without those it ends.
            let local = guest.as_user_within("u1", "df --local >/dev/null", Duration::from_secs(60));
            assert!(local.success(), "{local}");
            let (df, status) = (takes(&guest, "df", 60), takes(&guest, "dsvm-agent status", 60));
            let answers = guest.as_user_within("u1", MANAGER, Duration::from_secs(60));
            assert!(answers.success(), "the user's own service manager answers: {answers}");
            let manager = takes(&guest, MANAGER, 60);
            println!(
                "server dead: df of an ordinary user {df:.1} s (60 s at most), status {status:.1} s, own service manager {manager:.1} s"
            );
            let login = guest.log_in("alice", "true");
            assert!(login.success(), "{login}");
            server.undrop();
            guest.wait_ready();
        }
        guest.ssh_within(
            &format!("for n in $(seq {here}); do systemctl stop user@$(id -u u$n).service; done"),
            patience,
        );
        wait_for("whoever is gone has none mounted", patience, || mounted(&guest) == 0);
    }
    assert_eq!(server.read("notebooks/u1/mine"), b"mine\n");
}

#[test]
#[ignore = "long: three minutes for what a thousand accounts show too; run it when mounts or presence change"]
fn of_sixty_accounts_the_six_who_are_here_have_mounts() {
    many("of_sixty_accounts_the_six_who_are_here_have_mounts", 60, 6, Duration::from_secs(180));
}

#[test]
#[ignore = "long: half an hour in an emulated guest"]
fn of_a_thousand_accounts_the_sixty_who_are_here_have_mounts() {
    many("of_a_thousand_accounts_the_sixty_who_are_here_have_mounts", 1000, 60, Duration::from_secs(1800));
}
