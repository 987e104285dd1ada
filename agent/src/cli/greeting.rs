//! What a person reads at log-in: where notebooks are kept, that the rest goes with the VM, and what was kept when an
//! earlier one went. From the published status, this process's own view of the mounts, and what the agent says of its
//! reader at once; it waits for nobody and never fails.

use super::terminal::Terminal;
use crate::share::model::GUARD_SOURCE;
use crate::status::age::{Moment, age, lasting};
use crate::status::ask::{self, Asked};
use crate::status::duration::humane;
use crate::status::escape::{Charset, escape};
use crate::status::last_time::sentence;
use crate::status::model::{Health, OwnView, ShareState, Status, UserState};
use crate::status::publish::SOCKET;
use crate::status::read::read_public;
use crate::sys::mountinfo::{self, Mount};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The link in homes where no status says another.
const USUAL_LINK: &str = "notebooks/remote";
/// The command's whole life: a home may lie on a server that is dead.
const LIFE: Duration = Duration::from_secs(1);
/// The agent answers in a millisecond or two. One that does not is not waited for.
const ANSWER: Duration = Duration::from_millis(100);
/// Notebooks come within seconds. What lasts longer has a reason, and the status says it.
const SOON: Duration = Duration::from_secs(60);

/// What lies where the link belongs, and what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notebooks {
    /// The user's own directory, mounted.
    Connected,
    /// The right place, and nothing mounted on it.
    NotYet,
    /// Nothing.
    NoLink,
    /// Something else.
    Elsewhere,
}

/// Prints the lines for the user of this process, if a person can read them: `dir` is where the agent publishes.
pub fn run(dir: &Path) {
    // Root has no notebooks.
    if !std::io::stdout().is_terminal() || rustix::process::geteuid().is_root() {
        return;
    }
    std::thread::spawn(|| {
        std::thread::sleep(LIFE);
        std::process::exit(0);
    });
    let (Ok(now), Some(home)) = (Moment::now(), std::env::var_os("HOME").filter(|h| !h.is_empty())) else { return };
    let status = read_public(dir).ok().filter(|s| !age(&s.agent, &now).is_stale());
    let link = status.as_ref().and_then(|s| s.workspace.link.as_deref()).unwrap_or(USUAL_LINK);
    let target = std::fs::read_link(Path::new(&home).join(link)).map_err(|e| e.kind() == std::io::ErrorKind::NotFound);
    let mount_point = status.as_ref().and_then(|s| s.share.mount_point.as_deref()).map(Path::new);
    let notebooks = notebooks(target, &mountinfo::read().unwrap_or_default(), mount_point);
    let charset = if Terminal::of_stdout().unicode { Charset::Unicode } else { Charset::Ascii };
    let mut out = std::io::stdout().lock();
    let own = status.as_ref().and_then(|_| own(dir));
    for line in lines(status.as_ref(), link, notebooks, own.as_ref(), &now) {
        // A terminal that went away wants no more.
        let _ = writeln!(out, "{}", escape(&line, charset));
    }
}

/// What the agent says of the user of this process, if it does at once.
fn own(dir: &Path) -> Option<OwnView> {
    match ask::own(&dir.join(SOCKET), ANSWER) {
        Asked::Answer(own) => Some(own),
        Asked::NobodyThere | Asked::NoAnswer(_) => None,
    }
}

/// What the link leads to. Without one: whether there is nothing at all. `mount_point` is where the share belongs.
fn notebooks(target: Result<PathBuf, bool>, mounts: &[Mount], mount_point: Option<&Path>) -> Notebooks {
    let target = match target {
        Ok(target) => target,
        Err(true) => return Notebooks::NoLink,
        Err(false) => return Notebooks::Elsewhere,
    };
    let on_the_way: Vec<&Mount> = mounts.iter().filter(|m| target.starts_with(&m.target)).collect();
    let is_guard = |m: &Mount| m.fs_type == "tmpfs" && m.source == GUARD_SOURCE;
    let Some(guard) = on_the_way.iter().find(|m| is_guard(m)) else {
        // The link is right, and leads nowhere as long as nothing at all lies where the share belongs.
        let right = mount_point.is_some_and(|at| target.starts_with(at));
        return if right { Notebooks::NotYet } else { Notebooks::Elsewhere };
    };
    let connected = on_the_way.iter().any(|m| m.target == target && m.parent == guard.id);
    if connected { Notebooks::Connected } else { Notebooks::NotYet }
}

/// The lines. `status` is nothing where no agent runs that could be relied on.
fn lines(
    status: Option<&Status>,
    link: &str,
    notebooks: Notebooks,
    own: Option<&OwnView>,
    now: &Moment,
) -> Vec<String> {
    let Some(status) = status else {
        return vec![match notebooks {
            Notebooks::Connected => {
                format!("Saved for every VM: ~/{link}   Everything else here goes away with this VM.")
            }
            _ => "Your notebooks are not connected: the agent of this VM does not run. Files saved here will be lost."
                .to_owned(),
        }];
    };
    let people = match status.counts.present {
        0 => String::new(),
        1 => ", 1 person".to_owned(),
        n => format!(", {n} people"),
    };
    let vm = format!("({}{people})", status.node.name);
    if status.health == Health::Unconfigured {
        return vec![format!("Nothing here is kept: this VM has no share. Files saved here go away with it {vm}.")];
    }
    if let Some(drain) = status.scale_set.as_ref().and_then(|set| set.drain.as_ref()) {
        let clock = drain.at.as_deref().and_then(|at| at.get(11..16));
        let when = clock.map_or("now".to_owned(), |clock| format!("at {clock} UTC"));
        return vec![format!(
            "This VM is deleted {when}; it cannot be stopped. Save now, and log in again for another one {vm}."
        )];
    }
    let so_long = status.share.since.as_deref().filter(|_| status.share.state != ShareState::Mounted);
    let so_long = so_long.and_then(|since| lasting(since, &status.agent, now));
    // It will not come by waiting: something is wrong with it, or with the share for long.
    let is_wrong = own.and_then(|own| own.user.as_ref()).is_some_and(|user| user.state == UserState::Problem);
    let lasts = is_wrong || so_long.is_some_and(|d| d >= SOON);
    let so_long = so_long.map(|d| format!(" ({})", humane(d))).unwrap_or_default();
    let not_yet = match lasts {
        false => format!(
            "Your notebooks are not connected yet{so_long}. Wait before opening any: files saved elsewhere will be lost."
        ),
        true => format!(
            "Your notebooks are not connected{so_long}: files saved elsewhere will be lost. Why: dsvm-agent status"
        ),
    };
    let first = match (notebooks, status.share.state) {
        (Notebooks::Connected, ShareState::Hung | ShareState::Unreachable) => {
            format!("Your notebooks do not answer just now{so_long}. Saving waits until they do.")
        }
        (Notebooks::Connected, _) => {
            format!("Saved for every VM: ~/{link}   Everything else here goes away with this VM {vm}.")
        }
        (Notebooks::NotYet, _) => not_yet,
        // The link is made together with the rest, so it may still come.
        (Notebooks::NoLink, state) if state != ShareState::Mounted => not_yet,
        (Notebooks::NoLink | Notebooks::Elsewhere, _) => {
            format!(
                "~/{link} is not on the share: what you save here goes away with this VM {vm}. Why: dsvm-agent status"
            )
        }
    };
    let quiet = status.idle.as_ref().map(|idle| humane(Duration::from_secs(idle.after_s)));
    let quiet = quiet.map(|d| match status.idle.as_ref().and_then(|idle| idle.leave.as_ref()) {
        // The line is older than the log-in, which is use.
        Some(_) => {
            format!(
                "Nobody used this VM and it was about to go. It stays for {d} after you; longer: dsvm-agent keep 8h"
            )
        }
        None => format!("After {d} without use this VM may go. To keep it: dsvm-agent keep 8h"),
    });
    let last = own.and_then(|own| own.user.as_ref()?.last_time.as_ref());
    let last = last.map(|last| sentence(last, &status.agent.pass_at));
    [Some(first), quiet, last].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixtures;
    use crate::status::idle::{IdleView, LeaveView};
    use crate::status::model::UserView;
    use crate::status::model::{DrainView, ScaleSetView};

    fn mount(id: u64, parent: u64, target: &str, fs_type: &str, source: &str) -> Mount {
        Mount {
            id,
            parent,
            device: "0:1".to_owned(),
            root: "/".into(),
            target: target.into(),
            attributes: "rw".to_owned(),
            fs_type: fs_type.to_owned(),
            source: source.into(),
            options: String::new(),
        }
    }

    #[test]
    fn only_what_lies_on_the_guard_is_the_share() {
        let root = mount(1, 0, "/", "ext4", "/dev/vda");
        let guard = mount(2, 1, "/data", "tmpfs", GUARD_SOURCE);
        let alice = mount(3, 2, "/data/notebooks/alice", "cifs", "//s/x");
        let to = |path: &str| Ok(PathBuf::from(path));
        let all = [root.clone(), guard.clone(), alice.clone()];
        for (target, mounts, expected) in [
            (to("/data/notebooks/alice"), &all[..], Notebooks::Connected),
            (to("/data/notebooks/alice"), &all[..2], Notebooks::NotYet),
            (to("/data/notebooks/bob"), &all[..], Notebooks::NotYet),
            (to("/data/notebooks/alice"), &all[..1], Notebooks::Elsewhere),
            (to("/home/alice/elsewhere"), &all[..], Notebooks::Elsewhere),
            (Err(true), &all[..], Notebooks::NoLink),
            (Err(false), &all[..], Notebooks::Elsewhere),
        ] {
            assert_eq!(notebooks(target.clone(), mounts, None), expected, "{target:?}");
        }
        // Not even the guard is there yet.
        for (mount_point, expected) in [("/data", Notebooks::NotYet), ("/dat", Notebooks::Elsewhere)] {
            assert_eq!(notebooks(to("/data/notebooks/alice"), &all[..1], Some(Path::new(mount_point))), expected);
        }
        // Somebody else's mount of the same name.
        let fake = mount(3, 1, "/data/notebooks/alice", "tmpfs", "x");
        assert_eq!(notebooks(to("/data/notebooks/alice"), &[root, guard, fake], None), Notebooks::NotYet);
    }

    #[test]
    fn the_lines() {
        let (status, now) = (fixtures::status(), fixtures::moment());
        let said =
            |status: &Status, notebooks| lines(Some(status), "notebooks/remote", notebooks, None, &now).join("|");
        let (node, idle) = (&status.node.name, Status { idle: None, ..status.clone() });
        let both = lines(Some(&status), "notebooks/remote", Notebooks::Connected, None, &now);
        let alone = lines(Some(&idle), "notebooks/remote", Notebooks::Connected, None, &now);
        assert_eq!((both.len(), alone.len()), (1 + usize::from(status.idle.is_some()), 1));
        let mut told = fixtures::nobody();
        let alice = fixtures::user("alice", 1001, UserState::Ready);
        told.user = Some(UserView { last_time: Some(Box::new(fixtures::last_time())), ..alice });
        let three = lines(Some(&idle), "notebooks/remote", Notebooks::Connected, Some(&told), &now);
        assert!(three.len() == 2 && three[1].starts_with("Last time: dsvmpool_3 went "), "{three:?}");
        let mut leaving = status.clone();
        let leave = LeaveView { epoch: 1, announced_at: None, until: None, due: true, committed: true };
        leaving.idle = Some(IdleView { leave: Some(leave), ..fixtures::idle() });
        let text = said(&leaving, Notebooks::Connected);
        assert!(text.contains("was about to go. It stays for 60 min after you; longer: dsvm-agent keep 8h"), "{text}");
        let mut ending = leaving;
        let drain = DrainView {
            at: Some("2026-03-04T14:20:00Z".to_owned()),
            log_ins_refused: true,
            rescued: 0,
            left: 0,
            written: false,
            approved: false,
            shared: false,
        };
        ending.scale_set = Some(ScaleSetView { drain: Some(drain), ..fixtures::free() });
        let text = said(&ending, Notebooks::Connected);
        assert!(text.starts_with("This VM is deleted at 14:20 UTC; it cannot be stopped. Save now"), "{text}");
        let status = idle;
        let mut mounted = status.clone();
        mounted.counts.present = 2;
        assert_eq!(
            said(&mounted, Notebooks::Connected),
            format!(
                "Saved for every VM: ~/notebooks/remote   Everything else here goes away with this VM ({node}, 2 people)."
            )
        );
        assert!(said(&mounted, Notebooks::NotYet).starts_with("Your notebooks are not connected yet. Wait"));
        for notebooks in [Notebooks::NoLink, Notebooks::Elsewhere] {
            assert!(said(&mounted, notebooks).starts_with("~/notebooks/remote is not on the share"));
        }
        let mut away = mounted.clone();
        (away.share.state, away.share.since) = (ShareState::Unreachable, Some("2026-03-04T11:59:52Z".to_owned()));
        assert!(said(&away, Notebooks::NotYet).starts_with("Your notebooks are not connected yet (12 s). Wait"));
        assert!(said(&away, Notebooks::NoLink).starts_with("Your notebooks are not connected yet (12 s). Wait"));
        assert!(said(&away, Notebooks::Connected).contains("do not answer just now (12 s)"));
        // What lasts has a reason; so has what is wrong with this user alone.
        away.share.since = Some("2026-03-04T11:00:00Z".to_owned());
        let text = said(&away, Notebooks::NotYet);
        assert_eq!(
            text,
            "Your notebooks are not connected (60 min): files saved elsewhere will be lost. Why: dsvm-agent status"
        );
        told.user = Some(fixtures::user("alice", 1001, UserState::Problem));
        let text = lines(Some(&mounted), "n", Notebooks::NotYet, Some(&told), &now);
        assert!(text[0].starts_with("Your notebooks are not connected: files") && text.len() == 1, "{text:?}");
        let mut none = mounted.clone();
        none.health = Health::Unconfigured;
        assert!(said(&none, Notebooks::NoLink).starts_with("Nothing here is kept"));
        for notebooks in [Notebooks::NoLink, Notebooks::NotYet, Notebooks::Elsewhere] {
            assert!(lines(None, "n", notebooks, None, &now)[0].contains("will be lost"));
        }
        assert!(lines(None, "n", Notebooks::Connected, None, &now)[0].starts_with("Saved for every VM: ~/n"));
    }
}
