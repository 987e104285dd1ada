//! Tables and properties of what is decided for users.

use super::*;
use crate::problem::Problem;
use crate::share::model::{Attempt, Failure, ShareState};
use crate::sys::mountinfo::Mount;
use crate::workspace::identities::Recorded;
use crate::workspace::memory::Held;
use crate::workspace::model::{Account, Directory, Link};
use proptest::prelude::*;
use rustix::io::Errno;

const NOW: Duration = Duration::from_secs(1000);
const VIEW: View =
    View { state: ShareState::Mounted, guard: Some(5), usable: Some(7), address: None, problems: Vec::new() };

fn account(name: &str, uid: u32) -> Account {
    Account::for_tests(name, uid)
}

/// Alice, linked, with a directory, and not here.
fn memory() -> Memory {
    let mut memory = Memory::default();
    take_accounts(&mut memory, &Settings::default(), vec![account("alice", 1001)], &[], 1000, NOW);
    let alice = memory.users.get_mut("alice").unwrap();
    (alice.point, alice.made, alice.linked, alice.checked) = (Some(5), Some(7), Some(NOW), Some(NOW));
    memory
}

fn mount(directory: &str) -> Mounted {
    let mount = UserMount {
        directory: directory.into(),
        mount: Mount {
            id: 9,
            parent: 5,
            device: "0:9".to_owned(),
            root: "/".into(),
            target: Path::new("/data").join(directory),
            attributes: "rw,nosuid,nodev".to_owned(),
            fs_type: "tmpfs".to_owned(),
            source: "share".into(),
            options: String::new(),
        },
        other: false,
        carries: false,
    };
    Mounted { guard: Some(5), users: vec![mount], ..Mounted::default() }
}

fn steps(memory: &Memory, mounted: &Mounted, linger: u64, now: Duration) -> Vec<Step> {
    let mut settings = Settings::default();
    settings.workspace.linger = Duration::from_secs(linger);
    decide(&settings, &VIEW, mounted, memory, &Busy::default(), now)
}

#[test]
fn the_systems_accounts_are_known_and_not_served() {
    let mut memory = Memory::default();
    let mut no_one = account("dave", 1004);
    no_one.gid = 0;
    let accounts = vec![account("alice", 1001), account("root", 0), account("postgres", 110), no_one];
    take_accounts(&mut memory, &Settings::default(), accounts, &[], 1000, NOW);
    assert_eq!(memory.users.keys().collect::<Vec<_>>(), ["alice"]);
    assert_eq!(memory.unserved.iter().collect::<Vec<_>>(), ["dave", "postgres", "root"]);
}

#[test]
fn an_answer_that_may_be_older_than_a_change_is_asked_for_again() {
    let mut memory = memory();
    assert_eq!(memory.asked, Some(NOW));
    memory.ask();
    take_accounts(&mut memory, &Settings::default(), Vec::new(), &[], 1000, NOW);
    assert_eq!(memory.asked, None);
}

#[test]
fn an_account_that_is_said_to_be_gone_has_everybody_asked_for_at_once_and_not_without_end() {
    let mut memory = memory();
    let at = |s: u64| NOW + Duration::from_secs(s);
    // Nothing told of the deletion, and everybody was asked for a moment ago.
    assert!(!memory.is_doubtful(at(1)));
    memory.doubt(at(1));
    assert!(memory.is_doubtful(at(1)));
    memory.asking(false, at(1));
    assert!(memory.is_doubtful(at(1)), "some were asked for by name");
    memory.asking(true, at(1));
    assert!(!memory.is_doubtful(at(1)));
    // What is told while they answer may be newer than the answer.
    memory.doubt(at(2));
    assert!(!memory.is_doubtful(at(30)) && memory.is_doubtful(at(31)));
    memory.asking(true, at(40));
    assert_eq!(memory.doubt, None);
    // A name service that confirms somebody only sometimes, of whom helpers speak all the time.
    let mut asked = 0;
    for second in 100..700 {
        memory.doubt(at(second));
        if memory.is_doubtful(at(second)) {
            memory.asking(true, at(second));
            asked += 1;
        }
    }
    assert_eq!(asked, 20, "once in half a minute");
    // When everybody is asked for anyway, that is enough.
    assert_eq!(memory.doubt, Some(at(700)));
    memory.asking(true, at(699));
    assert!(!memory.is_doubtful(at(10_000)));
}

#[test]
fn the_names_to_ask_for_fit_into_one_message() {
    let mut memory = Memory::default();
    let all = (0..10_000).filter(|i| memory.name(&format!("contoso\\somebody-{i:05}"))).count();
    assert!((1000..10_000).contains(&all), "{all}");
    assert!(serde_json::to_vec(&memory.named).unwrap().len() < crate::worker::wire::LIMIT);
    assert!(memory.name("contoso\\somebody-00000"), "known already");
    assert!(!Memory::default().name(&"x".repeat(257)) && !Memory::default().name("a\nb"));
}

#[test]
fn a_mount_in_use_is_tried_again_after_a_pause_whoever_it_is() {
    for directory in ["notebooks/alice", "notebooks/gone"] {
        let (mut memory, mounted) = (memory(), mount(directory));
        memory.absent.insert("gone".to_owned());
        assert_eq!(steps(&memory, &mounted, 600, NOW).len(), 1, "{directory}");
        for errno in [Errno::BUSY, Errno::PERM] {
            let busy = Err(Failure::call(Attempt::Detach, errno));
            memory.detached(Path::new(directory), &busy, NOW, 0);
            forget(&mut memory, &Workspace::default(), &mounted, Some(5), NOW);
            assert_eq!(steps(&memory, &mounted, 600, NOW), [], "{directory}");
            assert_eq!(steps(&memory, &mounted, 600, NOW + Duration::from_secs(300)).len(), 1, "{directory}");
        }
        forget(&mut memory, &Workspace::default(), &Mounted::default(), Some(5), NOW);
        assert_eq!(memory.held, Default::default(), "gone is gone");
    }
}

#[test]
fn a_mount_that_carries_another_stays() {
    let mut mounted = mount("notebooks/alice");
    mounted.users[0].carries = true;
    assert_eq!(steps(&memory(), &mounted, 600, NOW), []);
}

#[test]
fn without_lingering_whoever_is_here_is_served() {
    let mut memory = memory();
    memory.see(Some(&BTreeSet::from([1001])), NOW);
    assert!(matches!(steps(&memory, &Mounted::default(), 0, NOW)[..], [Step::Attach { .. }]));
    assert_eq!(steps(&memory, &mount("notebooks/alice"), 0, NOW), []);
    assert_eq!(steps(&memory, &mount("notebooks/alice"), u64::MAX, NOW + Duration::from_secs(1)), []);
    assert_eq!(steps(&memory, &mount("notebooks/alice"), 0, NOW + Duration::from_secs(1)).len(), 1);
}

#[test]
fn name_services_that_do_not_answer_are_one_problem_and_not_the_homes() {
    let mut memory = memory();
    let alice = memory.users.get_mut("alice").unwrap();
    let failure = Failure::said(Attempt::Account, "the name services: there is no answer within 5 s");
    alice.link_failed(&failure, NOW, 0);
    alice.directory(7, &Directory::Failed { failure: failure.clone() }, NOW, 0);
    alice.mounted(Err(failure), NOW, 0);
    assert!(!alice.has_home(), "it was not looked at");
    let share = crate::config::settings::Share::smb_for_tests();
    let problems = problems(&share, &Mounted::default(), &memory);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        problems[0].summary,
        "The account of alice cannot be confirmed: the name services: there is no answer within 5 s. Nothing is done in \
         their name until it is; what is mounted stays."
    );
    assert_eq!(problems[0].code, "workspace.account-unconfirmed");
    // Anything else that keeps a helper from coming back is about the home.
    let alice = memory.users.get_mut("alice").unwrap();
    alice.link_failed(&Failure::said(Attempt::Worker, "no answer in 10 s"), NOW, 0);
    assert_eq!(alice.troubles[&Topic::Link].problem.as_ref().unwrap().code, "workspace.home-silent");
}

#[test]
fn a_pause_that_is_cut_short_makes_the_next_no_longer() {
    let at = |s: u64| NOW + Duration::from_secs(s);
    let failure = Failure::said(Attempt::Worker, "it ended without an answer");
    let mut memory = memory();
    let alice = memory.users.get_mut("alice").unwrap();
    // No helper can be started for ten seconds, in which she logs in again and again.
    for second in [0, 2, 4, 6, 8, 10] {
        alice.hurry(at(second));
        alice.link_begun();
        alice.link_failed(&failure, at(second), 0);
        assert_eq!(alice.troubles[&Topic::Link].again, at(second + 5), "after {second} s");
    }
    // Pauses that nobody cuts short grow.
    for (second, again) in [(15, 25), (25, 45), (45, 85), (85, 165)] {
        alice.link_failed(&failure, at(second), 0);
        assert_eq!(alice.troubles[&Topic::Link].again, at(again), "after {second} s");
    }
    assert_eq!(alice.troubles[&Topic::Link].failures, 10);
    alice.recheck(at(90));
    alice.link_failed(&failure, at(90), 0);
    assert_eq!(alice.troubles[&Topic::Link].again, at(170), "as long as the one that was cut short");
}

#[test]
fn what_is_wrong_no_longer_is_forgotten() {
    let failure = || Err(Failure::call(Attempt::Attach, Errno::TIMEDOUT));
    let (workspace, none) = (Workspace::default(), Mounted::default());
    for (here, mounted, forgotten) in
        [(true, &mount("notebooks/alice"), true), (false, &none, true), (true, &none, false)]
    {
        let mut memory = memory();
        let alice = memory.users.get_mut("alice").unwrap();
        alice.last_present = here.then_some(NOW);
        alice.mounted(failure(), NOW, 0);
        alice.pointed(4, failure(), NOW, 0);
        forget(&mut memory, &workspace, mounted, Some(5), NOW);
        assert_eq!(!memory.users["alice"].has_problem(), forgotten, "{here}");
    }
    let mut memory = memory();
    memory.held.insert("notebooks/alice".into(), Held { again: NOW, failures: 1 });
    forget(&mut memory, &workspace, &mount("notebooks/alice"), Some(5), NOW);
    assert_eq!(memory.held.len(), 1);
}

#[test]
fn whoever_is_here_comes_first_and_nothing_is_begun_twice() {
    let mut memory = Memory::default();
    let accounts = ["ada", "bob", "zoe"].iter().enumerate().map(|(i, n)| account(n, 1001 + i as u32)).collect();
    take_accounts(&mut memory, &Settings::default(), accounts, &[], 1000, NOW);
    memory.users.values_mut().for_each(|r| (r.point, r.made) = (Some(5), Some(7)));
    memory.see(Some(&BTreeSet::from([1003])), NOW);
    let names = |steps: &[Step]| {
        steps
            .iter()
            .filter_map(|s| if let Step::Link { name } = s { Some(name.clone()) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&steps(&memory, &Mounted::default(), 600, NOW)), ["zoe", "ada", "bob"]);
    let busy = Busy {
        links: BTreeSet::from(["zoe".to_owned()]),
        mounts: BTreeSet::from(["notebooks/zoe".into()]),
        ..Busy::default()
    };
    let all = decide(&Settings::default(), &VIEW, &Mounted::default(), &memory, &busy, NOW);
    assert_eq!(names(&all), ["ada", "bob"]);
    assert!(!all.iter().any(|s| matches!(s, Step::Attach { .. })), "{all:?}");
}

#[test]
fn each_thing_waits_for_what_it_stands_on() {
    // (guard, usable, point, made) -> steps
    let nothing: &[&str] = &[];
    let table = [
        (None, Some(7), None, None, nothing),
        (Some(5), None, None, None, &["points"]),
        (Some(5), Some(7), None, None, &["points", "directories"]),
        (Some(5), None, Some(5), Some(7), &["link"]),
        (Some(5), Some(7), Some(5), None, &["directories", "link"]),
        (Some(5), Some(7), Some(5), Some(7), &["attach", "link"]),
    ];
    for (guard, usable, point, made, expected) in table {
        let mut memory = memory();
        let alice = memory.users.get_mut("alice").unwrap();
        (alice.point, alice.made, alice.linked, alice.last_present) = (point, made, None, Some(NOW));
        let view = View { guard, usable, ..VIEW };
        let steps = decide(&Settings::default(), &view, &Mounted::default(), &memory, &Busy::default(), NOW);
        let kinds: Vec<&str> = steps.iter().map(kind).collect();
        assert_eq!(kinds, expected, "{view:?}");
    }
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::MountPoints { .. } => "points",
        Step::Directories { .. } => "directories",
        Step::OwnDirectory { .. } => "own",
        Step::Link { .. } => "link",
        Step::Attach { .. } => "attach",
        Step::ShowAll { .. } => "show",
        Step::Detach { .. } => "detach",
    }
}

#[test]
fn a_home_that_never_comes_is_looked_for_when_its_user_does() {
    let mut memory = memory();
    let alice = memory.users.get_mut("alice").unwrap();
    alice.linked = None;
    let mut now = NOW;
    let mut looks = 0;
    while alice.wants_link(false, now) && looks < 100 {
        alice.link("notebooks/remote", &Link::NoHome, now, 0);
        (looks, now) = (looks + 1, now + Duration::from_secs(400));
    }
    assert!((3..10).contains(&looks), "{looks}");
    assert!(!alice.wants_link(false, now + Duration::from_secs(100_000)) && alice.wants_link(true, now));
    alice.hurry(now);
    assert!(alice.wants_link(false, now));
}

#[test]
fn what_root_may_not_make_its_user_makes_at_once_and_then_it_is_said() {
    let mut memory = memory();
    let alice = memory.users.get_mut("alice").unwrap();
    alice.made = None;
    let steps = |memory: &Memory, now| {
        let steps = decide(&Settings::default(), &VIEW, &Mounted::default(), memory, &Busy::default(), now);
        steps.iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(steps(&memory, NOW), ["directories"]);
    let answer = |memory: &mut Memory, seen| memory.users.get_mut("alice").unwrap().directory(7, &seen, NOW, 0);
    answer(&mut memory, Directory::Squashed);
    assert!(!memory.users["alice"].has_problem());
    assert_eq!(steps(&memory, NOW), ["own"]);
    answer(&mut memory, Directory::Squashed);
    let problem = memory.users["alice"].troubles[&Topic::Directory].problem.clone().unwrap();
    assert_eq!((problem.code.as_str(), steps(&memory, NOW)), ("workspace.root-squash", vec![]));
    assert_eq!(steps(&memory, NOW + Duration::from_secs(60)), ["own"]);
    answer(&mut memory, Directory::Ready { made: true });
    assert!(!memory.users["alice"].has_problem() && memory.users["alice"].made == Some(7));
    // Everybody may make directories there: whose this one is, was looked at.
    answer(&mut memory, Directory::Foreign { uid: 1002, recorded: None });
    assert!(memory.users["alice"].is_foreign());
}

/// The two texts that a person with another number, or with their own directory in the link's place, was promised.
#[test]
fn the_promised_texts_are_read_as_they_were_promised() {
    let recorded = Some(Recorded { since: "2026-03-02T08:00:00Z".to_owned(), node: "dsvmpool_3".to_owned() });
    let said = |p: Problem| format!("{} {} {}", p.code, p.summary, p.remedy);
    let foreign = Directory::Foreign { uid: 1002, recorded };
    let differs = directory_problem(&account("carol", 1004), "notebooks/carol", &foreign).map(said);
    assert_eq!(
        differs.unwrap(),
        "workspace.uid-differs carol is uid 1004 here; on the share, notebooks/carol belongs to uid 1002 (since 2026-03-02, \
         dsvmpool_3). Not opened. Give carol uid 1002 on every VM, then start a fresh VM. Do not chown the share."
    );
    let own = Link::Directory { files: 3, bytes: 2 << 20, more: false };
    let occupied = link_problem(&account("bob", 1002), "notebooks/remote", &own, true).map(said);
    assert_eq!(
        occupied.unwrap(),
        "workspace.link-occupied ~/notebooks/remote is bob's own directory (3 files, 2 MiB), not the share. Nothing was \
         touched; nothing in it is on the share. To copy it there, verified, and keep the original: sudo dsvm-agent \
         workspace import bob"
    );
}

#[test]
fn every_text_says_what_was_left_alone_and_what_to_do() {
    let ada = account("ada", 1001);
    let links = [
        (Link::Elsewhere { target: "/data/ada".into() }, "workspace.link-elsewhere"),
        (Link::Directory { files: 3, bytes: 2 << 20, more: false }, "workspace.link-occupied"),
        (Link::Other, "workspace.link-occupied"),
        (Link::Blocked { path: "/home/ada/notebooks".into(), errno: 13 }, "workspace.home-blocked"),
        (Link::Missing, "workspace.link-missing"),
    ];
    for (seen, code) in links {
        let problem = link_problem(&ada, "notebooks/remote", &seen, true).unwrap();
        assert_eq!((problem.code.as_str(), problem.subject.as_deref()), (code, Some("ada")));
        assert!(!problem.remedy.is_empty() && !problem.summary.contains('\n'));
    }
    let text = |files, bytes, more| {
        link_problem(&ada, "notebooks/remote", &Link::Directory { files, bytes, more }, true).unwrap().summary
    };
    let said = "~/notebooks/remote is ada's own directory (3 files, 2 MiB), not the share. Nothing was touched; nothing in it \
                is on the share.";
    assert_eq!(text(3, 2 << 20, false), said);
    assert!(text(0, 0, false).contains("(empty)") && text(1, 7, false).contains("(1 file, 7 bytes)"));
    assert!(text(1000, 0, true).contains("1000 files or more"));
    for seen in [Link::Right { made: true }, Link::Right { made: false }, Link::NoHome] {
        assert_eq!(link_problem(&ada, "notebooks/remote", &seen, true), None);
    }
    assert_eq!(directory_problem(&ada, "notebooks/ada", &Directory::Ready { made: true }), None);
    let occupied = directory_problem(&ada, "notebooks/ada", &Directory::Occupied).unwrap();
    assert!(occupied.summary.contains("not touched"), "{occupied:?}");
}

/// A record, a mount of theirs, and who is here, as nearly anything may come together.
fn anything() -> impl Strategy<Value = (Memory, Mounted, View, Busy, Duration)> {
    let id = || prop::option::of(0u64..3);
    let record = (id(), id(), prop::option::of(0u64..2000), prop::option::of(0u64..2000), any::<bool>(), any::<bool>());
    let users = prop::collection::vec((record, any::<bool>(), any::<bool>()), 0..5);
    (users, id(), id(), any::<bool>(), any::<bool>(), 0u64..3000).prop_map(
        |(users, guard, usable, points, busy, now)| {
            let now = Duration::from_secs(now);
            let accounts = (0..users.len()).map(|i| account(&format!("u{i}"), 1001 + i as u32)).collect();
            let (mut memory, mut mounted) = (Memory::default(), Mounted { guard, ..Mounted::default() });
            take_accounts(&mut memory, &Settings::default(), accounts, &[], 1000, now);
            for (record, ((point, made, linked, present, look, renumbered), has_mount, carries)) in
                memory.users.values_mut().zip(&users)
            {
                (record.point, record.made, record.renumbered) = (*point, *made, *renumbered);
                record.look = look.then_some(Duration::from_secs(1));
                (record.linked, record.last_present) =
                    (linked.map(Duration::from_secs), present.map(Duration::from_secs));
                if *has_mount && guard.is_some() {
                    let mut own = mount(&record.directory).users.remove(0);
                    own.carries = *carries;
                    mounted.users.push(own);
                }
            }
            let view = View { guard, usable, ..VIEW };
            (memory, mounted, view, Busy { points, directories: busy, ..Busy::default() }, now)
        },
    )
}

proptest! {
    #[test]
    fn no_step_ever_stands_on_nothing((memory, mounted, view, busy, now) in anything()) {
        let settings = Settings::default();
        for step in decide(&settings, &view, &mounted, &memory, &busy, now) {
            let is_mounted = |d: &str| mounted.users.iter().any(|m| m.directory == Path::new(d));
            match step {
                Step::MountPoints { names } => {
                    prop_assert!(view.guard.is_some() && !busy.points && !names.is_empty() && names.len() <= BATCH);
                }
                Step::Directories { names } => {
                    prop_assert!(view.usable.is_some() && !busy.directories && !names.is_empty() && names.len() <= BATCH);
                }
                Step::OwnDirectory { name } => {
                    let record = &memory.users[&name];
                    prop_assert!(view.usable.is_some() && record.squashed == view.usable && record.made != view.usable);
                }
                Step::Link { name } => {
                    let record = &memory.users[&name];
                    prop_assert!(view.guard.is_some() && record.point == view.guard, "a link leads to a guarded place only");
                }
                Step::Attach { name, .. } => {
                    let record = &memory.users[&name];
                    prop_assert!(view.usable.is_some() && record.made == view.usable && record.point == view.guard);
                    prop_assert!(record.is_here(settings.workspace.linger, now) && !is_mounted(&record.directory));
                }
                Step::ShowAll { .. } => prop_assert!(false, "only where the settings say so"),
                Step::Detach { directory, .. } => {
                    let own = mounted.users.iter().find(|m| m.directory == directory);
                    prop_assert!(own.is_some_and(|m| !m.carries), "only what is there and carries nothing");
                }
            }
        }
    }

    #[test]
    fn nobody_who_is_here_and_in_order_loses_their_mount((memory, mounted, view, busy, now) in anything()) {
        let settings = Settings::default();
        let steps = decide(&settings, &view, &mounted, &memory, &busy, now);
        for record in memory.users.values().filter(|r| r.is_here(settings.workspace.linger, now) && !r.is_foreign()) {
            let kept = !steps.iter().any(|s| matches!(s, Step::Detach { directory, .. } if directory == Path::new(&record.directory)));
            prop_assert!(kept, "{record:?}");
        }
    }

    #[test]
    fn pauses_grow_and_end_below_seven_minutes(failures in 0u32..100, jitter: u64) {
        let (this, next) = (pause(failures, 0), pause(failures + 1, 0));
        prop_assert!(this <= next && pause(failures, jitter) >= this && pause(failures, jitter) < Duration::from_secs(400));
    }
}
