//! What people read on their terminals. Pure: times and facts come in as arguments. Nothing that a user wrote is in it
//! but what was escaped.

use crate::idle::model::{Risk, Source};
use crate::scale_set::decide::drain::{Notice, Outcome};
use crate::scale_set::model::Event;
use crate::status::duration::humane;
use crate::status::escape::{Charset, escape};
use crate::sys::clock::rfc3339;
use std::time::{Duration, SystemTime};

/// The VM may go since nobody uses it: not used for so long, and in so long, at once when that is past.
pub fn may_go(unused: Option<Duration>, left: Option<Duration>, risks: &[Risk]) -> String {
    let unused = unused.map_or("Not used since it was started.".to_owned(), |d| format!("Not used for {}.", humane(d)));
    let when = match left.filter(|left| !left.is_zero()) {
        Some(left) => format!("In {} this VM may go", humane(left)),
        None => "This VM may go at any time".to_owned(),
    };
    let lost = lost(risks).map(|lost| format!("; {lost} would end")).unwrap_or_default();
    format!("{unused} {when}{lost}.\nTo keep it: dsvm-agent keep 2h")
}

/// Something about an event of Azure's.
pub fn event(notice: Notice, event: Option<&Event>, wall: SystemTime) -> String {
    let when = when(event, wall);
    match notice {
        Notice::Deletion => format!(
            "This VM is deleted {when}; it cannot be stopped. Save now.\n\
             Files that are on this VM only are being copied to the share, if they are small enough."
        ),
        Notice::Reminder => format!("This VM is deleted {when}. Save now."),
        Notice::Restart => format!("This VM restarts {when}. Save now; log in again afterwards."),
        // Azure's Linux agent mounts that disk at /mnt unless it is told otherwise, and not every size of VM has one.
        Notice::Move => format!(
            "This VM moves to another machine {when}: what is on its temporary disk (usually /mnt) is lost.\n\
             Copy that now. Save now; log in again afterwards."
        ),
        Notice::CalledOff => "The deletion of this VM was called off: it stays.".to_owned(),
    }
}

/// Why nobody is let in any more.
pub fn log_in(event: Option<&Event>, wall: SystemTime) -> String {
    format!("This VM is deleted {}. Log in again in a minute: you get another one.", when(event, wall))
}

/// What was copied for a user. They chose the names.
pub fn rescued(outcome: &Outcome, link: &str, into: &str) -> String {
    let mut text = match outcome.files {
        0 => "Nothing was copied to the share.".to_owned(),
        1 => format!("Rescued: 1 file, in ~/{link}/rescued/{into}"),
        files => format!("Rescued: {files} files, in ~/{link}/rescued/{into}"),
    };
    if outcome.left > 0 {
        let named = outcome.largest.iter().map(|(path, bytes)| format!("~/{path} ({})", size(*bytes as f64)));
        let named: Vec<String> = named.map(|n| escape(&n, Charset::Ascii).into_owned()).collect();
        let more = outcome.left.saturating_sub(named.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text += &format!("\nNot copied, too big most likely; copy yourself: {}{more}", named.join(", "));
    }
    if let Some(first) = outcome.unread.first() {
        let first = escape(&format!("~/{first}"), Charset::Ascii).into_owned();
        let more = if outcome.unread.len() > 1 { " and others" } else { "" };
        text += &format!("\nNot copied, because it cannot be read: {first}{more}");
    }
    text
}

/// `at 14:20 UTC (in 14 min)`.
fn when(event: Option<&Event>, wall: SystemTime) -> String {
    let Some(at) = event.filter(|e| !e.started).and_then(|e| e.not_before) else { return "now".to_owned() };
    let clock: String = rfc3339(at).chars().skip(11).take(5).collect();
    match at.duration_since(wall) {
        Ok(left) => format!("at {clock} UTC (in {})", humane(left)),
        Err(_) => "now".to_owned(),
    }
}

/// What ends with the VM, of all users together: `2 kernels (14 GiB in memory), 1 stopped job`.
fn lost(risks: &[Risk]) -> Option<String> {
    let sum = |source: Source| {
        let all = risks.iter().filter(|r| r.source == source).map(|r| r.value);
        Some(all.sum::<f64>()).filter(|sum| *sum >= 1.0)
    };
    let counted = |source: Source, one: &str, many: &str| {
        sum(source).map(|n| if n < 2.0 { format!("1 {one}") } else { format!("{n:.0} {many}") })
    };
    let held = [(Source::Memory, "in memory"), (Source::GpuMemory, "on the GPU")];
    let held: Vec<String> = held.iter().filter_map(|(s, place)| Some(format!("{} {place}", size(sum(*s)?)))).collect();
    let held = Some(held.join(", ")).filter(|held| !held.is_empty());
    let first = match (counted(Source::Kernels, "kernel", "kernels"), held) {
        (Some(kernels), Some(held)) => Some(format!("{kernels} ({held})")),
        (None, Some(held)) => Some(format!("programs with {held}")),
        (kernels, None) => kernels,
    };
    let stopped = counted(Source::Stopped, "stopped job", "stopped jobs");
    let due = counted(Source::Due, "job that is due later", "jobs that are due later");
    let parts: Vec<String> = [first, stopped, due].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// An amount of memory.
fn size(bytes: f64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit as f64) {
        Some((unit, name)) => format!("{:.0} {name}", bytes / *unit as f64),
        None => format!("{bytes:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk(source: Source, who: u32, value: f64) -> Risk {
        Risk { source, who: Some(who), value, unit: "", what: Some("secret".to_owned()) }
    }

    #[test]
    fn people_are_told_of_a_deletion_with_the_time_and_what_was_copied() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_633_160);
        let not_before = Some(wall + Duration::from_secs(14 * 60 + 40));
        let terminate = crate::scale_set::model::EventKind::Terminate;
        let announced = Event { id: "e".into(), kind: terminate, not_before, started: false, alone: true };
        let text = event(Notice::Deletion, Some(&announced), wall);
        assert!(
            text.starts_with("This VM is deleted at 14:20 UTC (in 14 min); it cannot be stopped. Save now"),
            "{text}"
        );
        assert!(log_in(Some(&announced), wall).contains("at 14:20 UTC (in 14 min). Log in again"));
        let begun = Event { started: true, ..announced };
        assert!(event(Notice::Reminder, Some(&begun), wall).starts_with("This VM is deleted now."));
        let largest = vec![("data/x\u{1b}[2J.parquet".to_owned(), 9 << 30)];
        let outcome = Outcome { files: 3, left: 2, largest, ..Outcome::default() };
        assert_eq!(
            rescued(&outcome, "notebooks/remote", "2026-03-04-dsvmpool_3"),
            "Rescued: 3 files, in ~/notebooks/remote/rescued/2026-03-04-dsvmpool_3\n\
             Not copied, too big most likely; copy yourself: ~/data/x\\u{1b}[2J.parquet (9 GiB) and 1 more"
        );
        let unread = vec!["pgdata".to_owned(), "b\u{7}".to_owned()];
        let outcome = Outcome { unread, ..Outcome::default() };
        assert_eq!(
            rescued(&outcome, "notebooks/remote", "2026-03-04-dsvmpool_3"),
            "Nothing was copied to the share.\nNot copied, because it cannot be read: ~/pgdata and others"
        );
    }

    #[test]
    fn people_are_told_what_a_restart_takes_and_what_it_leaves() {
        use crate::scale_set::model::EventKind;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_633_160);
        let not_before = Some(wall + Duration::from_secs(14 * 60 + 40));
        let at = |kind| Event { id: "e".into(), kind, not_before, started: false, alone: true };
        for (notice, kind, text) in [
            (
                Notice::Restart,
                EventKind::Reboot,
                "This VM restarts at 14:20 UTC (in 14 min). Save now; log in again afterwards.",
            ),
            (
                Notice::Move,
                EventKind::Redeploy,
                "This VM moves to another machine at 14:20 UTC (in 14 min): what is on its temporary disk (usually /mnt) is \
                 lost.\nCopy that now. Save now; log in again afterwards.",
            ),
        ] {
            assert_eq!(event(notice, Some(&at(kind)), wall), text);
        }
    }

    #[test]
    fn people_are_told_how_long_what_would_end_and_how_to_keep_it() {
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        let gib = 1024.0 * 1024.0 * 1024.0;
        let kernels = [
            risk(Source::Kernels, 1001, 1.0),
            risk(Source::Kernels, 1002, 1.0),
            risk(Source::Memory, 1001, 9.0 * gib),
            risk(Source::Memory, 1002, 5.0 * gib),
        ];
        assert_eq!(
            may_go(minutes(45), minutes(15), &kernels),
            "Not used for 45 min. In 15 min this VM may go; 2 kernels (14 GiB in memory) would end.\n\
             To keep it: dsvm-agent keep 2h"
        );
        assert_eq!(
            may_go(None, None, &[]),
            "Not used since it was started. This VM may go at any time.\nTo keep it: dsvm-agent keep 2h"
        );
        for (risks, says) in [
            (
                vec![risk(Source::Stopped, 1, 1.0), risk(Source::Due, 1, 2.0)],
                "1 stopped job, 2 jobs that are due later",
            ),
            (vec![risk(Source::GpuMemory, 1, 2.0 * gib)], "programs with 2 GiB on the GPU"),
            (vec![risk(Source::Kernels, 1, 1.0)], "; 1 kernel would end"),
        ] {
            let text = may_go(minutes(45), minutes(15), &risks);
            assert!(text.contains(says) && !text.contains("secret"), "{text}");
        }
    }
}
