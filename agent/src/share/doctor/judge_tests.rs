use super::*;
use crate::config::settings::{Credentials, Source};
use crate::share::model::{Mounted, RootMount};
use std::net::IpAddr;

const PUBLIC: &str = "20.60.1.2";

fn address() -> IpAddr {
    PUBLIC.parse().unwrap()
}

fn share() -> Share {
    let host = "contosods.file.core.windows.net".to_owned();
    Share {
        source: Source::Smb { host, share: "dsvmshare".to_owned() },
        credentials: Some(Credentials::File("/etc/dsvm-agent/share.key".into())),
        ..Share::smb_for_tests()
    }
}

fn settings(share: Share) -> Configuration {
    let settings = Box::new(Settings { share: Some(share), ..Settings::default() });
    Configuration::Good { settings, files: vec!["/etc/dsvm-agent/agent.toml".to_owned()], notes: Vec::new() }
}

/// Everything as it should be.
fn healthy() -> Seen {
    let root = RootMount { id: 7, other: None, address: None, differences: Vec::new(), protocol: None };
    let agent = Agent::Runs { standing: "runs, looked 4 s ago".to_owned(), problems: Vec::new() };
    Seen {
        kernel: Some(Ok(Kernel {
            release: "6.12".to_owned(),
            module: Some(true),
            second_key: Some(true),
            openat2: true,
            request_key: true,
            fips: false,
        })),
        key: Some(Ok(("contosods".to_owned(), 2))),
        addresses: Some(Ok(vec![address()])),
        ports: vec![(address(), Ok(2.0))],
        greeting: Some(Ok(Greeting {
            protocol: "SMB 3.1.1".into(),
            wanted: true,
            encrypts: Some(true),
            time_ms: None,
        })),
        ahead_ms: Some(12),
        synchronised: Some(true),
        trial: Some(Ok(Trial {
            ms: 30.0,
            bytes_total: 1 << 40,
            bytes_free: 1 << 39,
            refusal: None,
            parent_is_there: true,
        })),
        mounted: Some(Mounted { guard: Some(5), root: Some(root), ..Mounted::default() }),
        probe: Some(Ok(Probe { ms: 2.0, bytes_total: 1, bytes_free: 1, stalled: 0 })),
        ..Seen::new(true, settings(share()), agent)
    }
}

fn refused(attempt: Attempt, errno: i32, details: &[&str]) -> Failure {
    Failure { attempt, errno: Some(errno), details: details.iter().map(|d| (*d).to_owned()).collect() }
}

fn outcome(report: &Report, name: &str) -> Outcome {
    report.steps.iter().find(|s| s.name == name).map(|s| s.outcome).unwrap()
}

#[test]
fn nothing_is_wrong_with_what_is_right() {
    let report = judge(&healthy());
    assert!(report.right && report.complete && report.cause.is_none(), "{report:#?}");
    let names: Vec<&str> = report.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "configuration",
            "kernel",
            "key",
            "name",
            "port",
            "protocol",
            "clock",
            "log-on",
            "share",
            "permissions",
            "mounts",
            "answers",
            "agent"
        ]
    );
    assert!(report.steps.iter().all(|s| s.outcome == Outcome::Right), "{report:#?}");
}

/// What was seen when something failed, with everything behind it unseen as the looker leaves it.
fn broken(change: impl Fn(&mut Seen)) -> Report {
    let mut seen = healthy();
    change(&mut seen);
    judge(&seen)
}

#[test]
fn each_fault_is_the_cause_and_has_its_code() {
    let gone = |seen: &mut Seen| (seen.trial, seen.greeting) = (None, None);
    type Change = Box<dyn Fn(&mut Seen)>;
    let table: Vec<(&str, &str, Change)> = vec![
        (
            "configuration",
            "config.mistake",
            Box::new(|s| s.configuration = Configuration::Bad(Problem::new("config.mistake", "m", "r"))),
        ),
        (
            "configuration",
            "share.unconfigured",
            Box::new(|s| {
                s.configuration = Configuration::Good { settings: Box::default(), files: vec![], notes: vec![] };
            }),
        ),
        ("kernel", "share.kernel-too-old", Box::new(|s| s.kernel.as_mut().unwrap().as_mut().unwrap().openat2 = false)),
        (
            "kernel",
            "share.kernel-without-module",
            Box::new(|s| s.kernel.as_mut().unwrap().as_mut().unwrap().module = Some(false)),
        ),
        ("kernel", "share.fips", Box::new(|s| s.kernel.as_mut().unwrap().as_mut().unwrap().fips = true)),
        (
            "key",
            "share.credentials",
            Box::new(|s| s.key = Some(Err(Failure::said(Attempt::Credentials, "no such file")))),
        ),
        (
            "name",
            "share.name-unknown",
            Box::new(move |s| {
                s.addresses = Some(Err(Failure::said(Attempt::Resolve, "Name or service not known")));
                s.ports.clear();
                gone(s);
            }),
        ),
        (
            "port",
            "share.unreachable",
            Box::new(move |s| {
                s.ports[0].1 = Err(refused(Attempt::Connect, libc::ETIMEDOUT, &[PUBLIC]));
                gone(s);
            }),
        ),
        (
            "protocol",
            "share.protocol-refused",
            Box::new(|s| {
                s.greeting = Some(Ok(Greeting {
                    protocol: "SMB 2.1".into(),
                    wanted: false,
                    encrypts: Some(false),
                    time_ms: None,
                }));
                s.trial = None;
            }),
        ),
        (
            "protocol",
            "share.encryption-refused",
            Box::new(|s| {
                s.greeting = Some(Ok(Greeting {
                    protocol: "SMB 3.1.1".into(),
                    wanted: true,
                    encrypts: Some(false),
                    time_ms: None,
                }));
                s.trial = None;
            }),
        ),
        ("clock", "share.clock-differs", Box::new(|s| s.ahead_ms = Some(-400_000))),
        (
            "log-on",
            "share.key-refused",
            Box::new(|s| s.trial = Some(Err(refused(Attempt::Mount, libc::EACCES, &["STATUS_LOGON_FAILURE"])))),
        ),
        ("log-on", "share.not-found", Box::new(|s| s.trial = Some(Err(refused(Attempt::Mount, libc::ENOENT, &[]))))),
        (
            "log-on",
            "share.option-refused",
            Box::new(|s| s.trial = Some(Err(refused(Attempt::Mount, libc::EINVAL, &["option nosuch"])))),
        ),
        ("share", "share.full", Box::new(|s| s.trial.as_mut().unwrap().as_mut().unwrap().bytes_free = 0)),
        (
            "permissions",
            "share.read-only",
            Box::new(|s| {
                s.trial.as_mut().unwrap().as_mut().unwrap().refusal =
                    Some(Failure::call(Attempt::Directory, Errno::ROFS));
            }),
        ),
        (
            "mounts",
            "share.mount-point-taken",
            Box::new(|s| {
                s.mounted = Some(Mounted { in_the_way: Some("tmpfs".into()), ..Mounted::default() });
            }),
        ),
        (
            "answers",
            "share.hung",
            Box::new(|s| s.probe = Some(Err(refused(Attempt::Probe, libc::ETIMEDOUT, &["no answer in 10 s"])))),
        ),
        ("agent", "agent.absent", Box::new(|s| s.agent = Agent::Absent)),
        ("agent", "agent.mute", Box::new(|s| s.agent = Agent::Mute("It is old.".into()))),
    ];
    for (cause, code, change) in table {
        let report = broken(change);
        assert_eq!(report.cause.as_deref(), Some(cause), "{code}: {report:#?}");
        assert!(!report.right);
        let problem = report.steps.iter().find(|s| s.name == cause).unwrap().problem.as_ref().unwrap();
        assert_eq!(problem.code, code);
        assert!(crate::problem::registry::find(code).is_some(), "{code}");
        assert!(!problem.remedy.contains("doctor") && !problem.remedy.is_empty(), "{problem:?}");
    }
}

#[test]
fn what_rests_on_a_failed_step_was_not_looked_at() {
    let report = broken(|s| {
        s.ports[0].1 = Err(refused(Attempt::Connect, libc::ECONNREFUSED, &[PUBLIC]));
        (s.trial, s.greeting) = (None, None);
    });
    for name in ["protocol", "log-on", "share", "permissions"] {
        assert_eq!(outcome(&report, name), Outcome::Unseen, "{name}");
    }
    assert!(!report.complete);
}

#[test]
fn what_is_only_worth_knowing_is_not_wrong() {
    let report = broken(|s| {
        let kernel = s.kernel.as_mut().unwrap().as_mut().unwrap();
        (kernel.second_key, kernel.request_key) = (Some(false), false);
        s.synchronised = Some(false);
        s.ports.push(("10.0.0.4".parse().unwrap(), Err(refused(Attempt::Connect, libc::ECONNREFUSED, &["10.0.0.4"]))));
        let problem = Problem::new("workspace.link-occupied", "s", "r");
        s.agent = Agent::Runs { standing: "runs".to_owned(), problems: vec![problem] };
    });
    assert!(report.right, "{report:#?}");
    for name in ["kernel", "clock", "port", "agent"] {
        assert_eq!(outcome(&report, name), Outcome::Note, "{name}");
    }
    let kernel = report.steps.iter().find(|s| s.name == "kernel").unwrap();
    assert!(kernel.seen.contains("no second key") && kernel.seen.contains("keyutils"), "{}", kernel.seen);
}

#[test]
fn others_than_root_are_told_what_they_cannot_see() {
    let agent = Agent::Runs { standing: "runs".to_owned(), problems: Vec::new() };
    let seen = Seen {
        addresses: Some(Ok(vec![address()])),
        ports: vec![(address(), Ok(2.0))],
        mounted: Some(Mounted::default()),
        ..Seen::new(false, settings(share()), agent.clone())
    };
    let report = judge(&seen);
    assert!(report.right && !report.complete);
    for name in ["kernel", "key", "log-on", "share", "permissions"] {
        let step = report.steps.iter().find(|s| s.name == name).unwrap();
        assert!(step.outcome == Outcome::Unseen && step.seen.contains("sudo dsvm-agent doctor"), "{step:?}");
    }
    let hidden = judge(&Seen::new(false, Configuration::Hidden, agent));
    assert!(hidden.right && hidden.steps.len() == 2, "{hidden:#?}");
}

#[test]
fn a_local_directory_has_no_name_and_no_port() {
    let local = Share { source: Source::Directory("/srv/share".into()), credentials: None, ..share() };
    let seen = Seen { configuration: settings(local), ..healthy() };
    let report = judge(&seen);
    assert!(report.right, "{report:#?}");
    assert!(!report.steps.iter().any(|s| ["name", "port", "protocol", "key"].contains(&s.name.as_str())));
}

#[test]
fn a_report_is_read_back_by_programs() {
    let report = broken(|s| s.agent = Agent::Absent);
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.starts_with(r#"{"schema":1,"right":false"#), "{text}");
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}
