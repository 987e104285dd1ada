//! The text, whole, for each state of the VM; and that nothing gets through.

use super::super::fixtures::{self, occupied, problem, user};
use super::super::idle::{FilesView, IdleView, RiskView};
use super::super::public::public;
use super::*;
use proptest::prelude::*;
use std::time::Duration;

pub(super) fn root() -> Context {
    Context {
        now: fixtures::moment(),
        width: Some(150),
        colour: false,
        symbols: true,
        unicode: true,
        home: Some("/root".to_owned()),
        is_root: true,
    }
}

fn person() -> Context {
    Context { home: Some("/home/bob".to_owned()), is_root: false, ..root() }
}

#[track_caller]
fn shows(status: &Status, own: Option<&OwnView>, ctx: &Context, expected: &str) {
    let text = render(status, own, ctx);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn ready() {
    shows(
        &fixtures::status(),
        None,
        &root(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
users      ✔ 4 ready
",
    );
}

#[test]
fn degraded_for_root() {
    let mut status = fixtures::degraded();
    status.users.push(user("frank", 1006, UserState::Pending));
    status.users.push(user("grace", 1007, UserState::Pending));
    status.counts.users = 7;
    shows(&status, None, &root(), "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
users      ✔ 4 ready   ✘ 1 needs attention   … 2 not yet
  bob      ✘ ~/notebooks/remote is bob's own directory (3 files, 2 MiB), not the share. Nothing was touched; nothing in it is on the share.
             (for 4 min)
             To copy it there, verified, and keep the original: sudo dsvm-agent workspace import bob
           not yet: frank, grace
");
}

#[test]
fn degraded_for_others() {
    let status = public(&fixtures::degraded());
    let alice = OwnView {
        user: Some(user("alice", 1001, UserState::Ready)),
        problems: Vec::new(),
        idle: None,
        elsewhere: Vec::new(),
    };
    let bob = OwnView {
        user: Some(user("bob", 1002, UserState::Problem)),
        problems: vec![occupied("bob")],
        idle: None,
        elsewhere: Vec::new(),
    };
    shows(
        &status,
        Some(&alice),
        &Context { home: Some("/home/alice/".to_owned()), ..person() },
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
you        ✔ ~/notebooks/remote is notebooks/alice on the share
users      ✔ 4 ready   ✘ 1 needs attention
           ✘ One user: workspace.link-occupied. (for 4 min)
             An administrator sees who, and what to do: sudo dsvm-agent status
",
    );
    shows(&status, Some(&bob), &person(), "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
you        ✘ ~/notebooks/remote is bob's own directory (3 files, 2 MiB), not the share. Nothing was touched; nothing in it is on the share.
             (for 4 min)
             To copy it there, verified, and keep the original: sudo dsvm-agent workspace import bob
users      ✔ 4 ready   ✘ 1 needs attention
");
    shows(
        &status,
        None,
        &person(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
you        … not known: the agent gives no answer
users      ✔ 4 ready   ✘ 1 needs attention
           ✘ One user: workspace.link-occupied. (for 4 min)
             An administrator sees who, and what to do: sudo dsvm-agent status
",
    );
    shows(
        &status,
        Some(&OwnView { user: None, problems: Vec::new(), idle: None, elsewhere: Vec::new() }),
        &person(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
you        … no directory on the share is kept for you. Files saved here go away with the VM.
users      ✔ 4 ready   ✘ 1 needs attention
           ✘ One user: workspace.link-occupied. (for 4 min)
             An administrator sees who, and what to do: sudo dsvm-agent status
",
    );
}

#[test]
fn narrow_and_plain() {
    let narrow = Context { width: Some(60), symbols: false, unicode: false, ..root() };
    shows(
        &fixtures::degraded(),
        None,
        &narrow,
        "\
dsvm-agent 0.1.0 on dsvmpool_7 - up 3 h 12 min - looked
           4 s ago
share      + mounted
             //contosods.file.core.windows.net/dsvmshare
             (SMB 3.1.1, encrypted) - answers in 2.1 ms
users      + 4 ready   ! 1 needs attention
  bob      ! ~/notebooks/remote is bob's own directory (3
             files, 2 MiB), not the share. Nothing was
             touched; nothing in it is on the share.
             (for 4 min)
             To copy it there, verified, and keep the
             original: sudo dsvm-agent workspace import bob
",
    );
}

#[test]
fn without_a_terminal_lines_are_whole() {
    let piped = Context { width: None, symbols: false, ..root() };
    shows(&fixtures::degraded(), None, &piped, "\
dsvm-agent 0.1.0 on dsvmpool_7 - up 3 h 12 min - looked 4 s ago
share      + mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) - answers in 2.1 ms
users      + 4 ready   ! 1 needs attention
  bob      ! ~/notebooks/remote is bob's own directory (3 files, 2 MiB), not the share. Nothing was touched; nothing in it is on the share. (for 4 min)
             To copy it there, verified, and keep the original: sudo dsvm-agent workspace import bob
");
}

#[test]
fn dead_server() {
    shows(
        &fixtures::unreachable(),
        None,
        &Context { width: Some(110), ..root() },
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✘ unreachable for 4 min   //contosods.file.core.windows.net/dsvmshare (SMB)
             contosods.file.core.windows.net is 20.60.1.2 (public); port 445 gave no answer in 3 s.
             Likely: private DNS zone not linked to this network, or 445 blocked. Do: sudo dsvm-agent doctor
users      … 4 not yet
           not yet: alice, bob, carol, dave
",
    );
}

#[test]
fn unconfigured() {
    shows(
        &fixtures::unconfigured(),
        None,
        &root(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✘ not configured
             This VM has no /etc/dsvm-agent/agent.toml: nothing is mounted. Files saved here go away with the VM.
             Do: write the file (see /usr/share/doc/dsvm-agent), then sudo systemctl reload dsvm-agent
",
    );
}

#[test]
fn starting() {
    let mut status = fixtures::unreachable();
    status.health = Health::Starting;
    status.share.state = ShareState::Mounting;
    status.problems.clear();
    shows(
        &status,
        None,
        &root(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      … being mounted for 4 min   //contosods.file.core.windows.net/dsvmshare (SMB)
             Wait before opening notebooks: files saved elsewhere go away with the VM.
users      … 4 not yet
           not yet: alice, bob, carol, dave
",
    );
    let own = OwnView {
        user: Some(user("bob", 1002, UserState::Pending)),
        problems: Vec::new(),
        idle: None,
        elsewhere: Vec::new(),
    };
    shows(&public(&status), Some(&own), &person(), "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      … being mounted for 4 min   //contosods.file.core.windows.net/dsvmshare (SMB)
             Wait before opening notebooks: files saved elsewhere go away with the VM.
you        … ~/notebooks/remote is not connected yet. Wait before opening notebooks: files saved elsewhere go away with the VM.
users      … 4 not yet
");
}

#[test]
fn every_state_of_the_share_is_explained() {
    for (state, mark, words) in [
        (ShareState::Refused, "✘", "refused"),
        (ShareState::Hung, "✘", "not answering"),
        (ShareState::Mounting, "…", "being mounted"),
        (ShareState::Unreachable, "✘", "unreachable"),
    ] {
        let mut status = fixtures::unreachable();
        status.problems.clear();
        status.share.state = state;
        let text = render(&status, None, &root());
        assert!(text.contains(&format!("share      {mark} {words} for 4 min   //contosods")), "{text}");
        assert!(text.contains("sudo dsvm-agent doctor"), "{text}");
    }
}

#[test]
fn broken_configuration_is_not_called_missing() {
    let mut status = fixtures::unconfigured();
    status.health = Health::Degraded;
    let mut broken = problem("config.invalid", Some("/etc/dsvm-agent/agent.toml"));
    broken.problem.summary = "/etc/dsvm-agent/agent.toml:3:1: unknown key `sauce`.".to_owned();
    status.problems = vec![broken];
    shows(
        &status,
        None,
        &root(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✘ not configured
users      … none yet
problems   ✘ /etc/dsvm-agent/agent.toml:3:1: unknown key `sauce`. (for 4 min)
             Do: something
",
    );
}

#[test]
fn users_stand_together_and_their_number_is_bounded() {
    let mut status = fixtures::status();
    status.problems = vec![
        problem("workspace.link-occupied", Some("zoe")),
        problem("workspace.uid-differs", Some("a.very.long.name.of.somebody")),
        problem("workspace.uid-differs", Some("zoe")),
    ];
    status.users[0].state = UserState::Problem;
    status.counts = Counts { users: 6, ready: 3, problems: 3, ..Counts::default() };
    shows(
        &status,
        None,
        &root(),
        "\
dsvm-agent 0.1.0 on dsvmpool_7 · up 3 h 12 min · looked 4 s ago
share      ✔ mounted   //contosods.file.core.windows.net/dsvmshare (SMB 3.1.1, encrypted) · answers in 2.1 ms
users      ✔ 3 ready   ✘ 3 need attention
  zoe      ✘ Something is wrong. (for 4 min)
             Do: something
           ✘ Something is wrong. (for 4 min)
             Do: something
  a.very.long.name.of.somebody
           ✘ Something is wrong. (for 4 min)
             Do: something
  alice    ✘ needs attention
",
    );

    status.problems = (0..25).map(|n| problem("workspace.uid-differs", Some(&format!("user{n}")))).collect();
    status.users = (0..40).map(|n| user(&format!("late{n}"), n, UserState::Pending)).collect();
    let text = render(&status, None, &root());
    assert!(text.contains("and 5 more: sudo dsvm-agent status --json"), "{text}");
    assert!(text.contains("late11, 28 more"), "{text}");
}

#[test]
fn age_is_by_the_boot_clock() {
    let looked = |seconds, boot: &str| {
        let now = Moment { boottime: Duration::from_secs(seconds), boot_id: boot.to_owned() };
        let text = render(&fixtures::degraded(), None, &Context { now, ..root() });
        (text.lines().next().unwrap_or_default().to_owned(), text)
    };
    assert!(looked(11_516, "boot-1").0.ends_with("up 3 h 11 min · looked just now"));
    assert!(looked(11_516 + 300, "boot-1").0.ends_with("has not looked for 5 min"));
    assert!(looked(11_516 + 300, "boot-1").1.contains("(for 8 min)"));
    let (first, text) = looked(60, "boot-2");
    assert!(first.ends_with("up 1 min · looked before this boot"), "{first}");
    assert!(!text.contains("(for"), "what cannot be dated has no duration: {text}");
}

#[test]
fn what_users_wrote_cannot_act() {
    let mut status = fixtures::degraded();
    status.problems[0].problem.subject = Some("bob\u{1b}[2J\n".to_owned());
    status.problems[0].problem.summary =
        "~/notebooks/remote points to \u{202e}gnp.\u{7}\r\nusers   ✔ 9 ready".to_owned();
    let text = render(&status, None, &root());
    assert!(text.contains("bob\\u{1b}[2J\\n"), "{text}");
    assert!(text.contains("points to \\u{202e}gnp.\\u{7}\\u{d}\\nusers"), "{text}");
}

#[test]
fn colours_only_the_marks() {
    let ctx = Context { colour: true, ..root() };
    let text = render(&fixtures::degraded(), None, &ctx);
    assert!(text.contains("users      \x1b[32m✔\x1b[0m 4 ready   \x1b[31m✘\x1b[0m 1 needs attention\n"), "{text}");
    let plain = text.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "");
    assert_eq!(plain, render(&fixtures::degraded(), None, &root()));
}

/// Words of the code stay out of what people read.
#[test]
fn speaks_no_code() {
    for status in [fixtures::status(), fixtures::degraded(), fixtures::unreachable(), fixtures::unconfigured()] {
        for ctx in [root(), person()] {
            let text = render(&status, None, &ctx).to_lowercase();
            for word in ["pass ", "step", "worker", "source", "brain", "launcher", "null"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
        }
    }
}

/// Any characters at all, and more of those that act.
fn wild() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        2 => any::<char>(),
        1 => proptest::sample::select(vec!['\u{1b}', '\n', '\r', '\u{7}', '\u{9b}', '\u{202e}', ' ', '\u{a0}', '/']),
        2 => proptest::char::range('a', 'e'),
    ];
    proptest::collection::vec(one, 0..80).prop_map(|chars| chars.into_iter().collect())
}

prop_compose! {
    fn wild_problem()(
        code in wild(), share: bool, subject in proptest::option::of(wild()), summary in wild(), remedy in wild(),
        since in wild(), count in proptest::option::of(any::<u64>()),
    ) -> ProblemView {
        let code = if share { format!("share.{code}") } else { code };
        let problem = crate::problem::Problem { code, subject, summary, remedy };
        ProblemView { problem, since, count }
    }
}

prop_compose! {
    fn wild_last_time()(
        node in wild(), at in wild(), place in wild(), (files, left, whole) in any::<(u64, u64, bool)>(),
    ) -> LastView {
        LastView { node, at, files, left, whole, place }
    }
}

prop_compose! {
    fn wild_user()(
        name in wild(), state in 0..3, mounted: bool, directory in wild(), link in wild(),
        last_time in proptest::option::of(wild_last_time()),
    ) -> UserView {
        let state = [UserState::Ready, UserState::Pending, UserState::Problem][state as usize];
        UserView { name, uid: 1, state, mounted, directory, link, last_time: last_time.map(Box::new) }
    }
}

prop_compose! {
    fn wild_files()(
        who in proptest::option::of(wild()), newest in proptest::collection::vec(wild(), 0..4), value: f64,
        (bytes, more) in any::<(u64, bool)>(),
    ) -> RiskView {
        RiskView {
            kind: "files".to_owned(),
            uid: Some(1),
            who,
            value,
            unit: "files".to_owned(),
            what: newest.first().cloned(),
            count: None,
            files: Some(FilesView { bytes, newest, more }),
        }
    }
}

prop_compose! {
    fn wild_status()(
        version in wild(), node in wild(), boottime: f64, share_source in wild(), protocol in wild(), probe: f64,
        state in 0..6, health in 0..4, (users, ready, problems) in any::<(u64, u64, u64)>(),
        views in proptest::collection::vec(wild_problem(), 0..4),
        rows in proptest::collection::vec(wild_user(), 0..4), link in proptest::option::of(wild()),
        at_risk in proptest::collection::vec(wild_files(), 0..3),
    ) -> Status {
        use ShareState::*;
        let mut status = fixtures::status();
        status.agent.version = version;
        status.node.name = node;
        status.agent.pass_boottime_s = boottime;
        status.share.source = Some(share_source);
        status.share.protocol = Some(protocol);
        status.share.probe_ms = Some(probe);
        status.share.state = [Unconfigured, Mounting, Mounted, Unreachable, Refused, Hung][state as usize];
        status.health =
            [Health::Unconfigured, Health::Starting, Health::Ready, Health::Degraded][health as usize];
        status.counts = Counts { users, ready, problems, ..Counts::default() };
        status.problems = views;
        status.users = rows;
        status.workspace.link = link;
        status.idle = Some(IdleView { at_risk, ..fixtures::idle() });
        status
    }
}

proptest! {
    #[test]
    fn never_panics_and_emits_no_control_character(
        status in wild_status(),
        own in proptest::option::of((proptest::option::of(wild_user()), proptest::collection::vec(wild_problem(), 0..3))),
        width in proptest::option::of(0_usize..200), symbols: bool, unicode: bool, is_root: bool,
        home in proptest::option::of(wild()),
    ) {
        let own = own.map(|(user, problems)| OwnView { user, problems, idle: None, elsewhere: Vec::new() });
        let ctx = Context { width, symbols, unicode, is_root, home, ..root() };
        let text = render(&status, own.as_ref(), &ctx);
        prop_assert!(text.ends_with('\n'));
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
        prop_assert!(symbols || unicode || text.is_ascii());
        if let Some(width) = width {
            let widest = text.lines().map(visible).max().unwrap_or_default();
            prop_assert!(widest <= width.max(45), "{widest} of {width}: {text}");
        }
        let _ = super::super::sentence::sentence(&status);
        let _ = public(&status);
    }
}

#[test]
fn whoever_is_on_two_vms_reads_that_no_lock_reaches_across() {
    let mut own = OwnView {
        user: Some(user("alice", 1001, UserState::Ready)),
        problems: Vec::new(),
        idle: None,
        elsewhere: vec!["dsvmpool_3".to_owned(), "e\u{1b}[2J".to_owned()],
    };
    let status = public(&fixtures::status());
    let text = render(&status, Some(&own), &person());
    assert!(text.contains("You are on dsvmpool_3, e\\u{1b}[2J too. Files are not locked from VM to VM"), "{text}");
    own.elsewhere.clear();
    assert!(!render(&status, Some(&own), &person()).contains("You are on"));
}
