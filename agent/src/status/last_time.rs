//! What a person is told at a log-in of the VM before this one.

use super::model::LastView;
use std::time::Duration;

/// One sentence. `today` is when this is told, as in the status (RFC 3339, UTC). To be escaped: it quotes what lies where
/// its reader may write.
pub fn sentence(last: &LastView, today: &str) -> String {
    let mut out = format!("Last time: {} went {}. ", last.node, when(&last.at, today));
    out.push_str(&match (last.files, last.whole) {
        (0, _) => format!("No file could be kept: see {}/READ-ME.txt", last.place),
        (1, _) => format!("1 file kept in {}", last.place),
        (n, _) => format!("{n} files kept in {}", last.place),
    });
    if last.files > 0 && (last.left > 0 || !last.whole) {
        let left = match last.left {
            0 => "not all was kept".to_owned(),
            1 => "1 was not kept".to_owned(),
            n => format!("{n} were not kept"),
        };
        out.push_str(&format!("; {left}: see READ-ME.txt there"));
    }
    out
}

/// `yesterday 21:40 UTC`.
fn when(at: &str, today: &str) -> String {
    let day = |text: &str| text.get(..10).unwrap_or_default().to_owned();
    let clock = at.get(11..16).unwrap_or_default();
    let yesterday = humantime::parse_rfc3339(today).ok().and_then(|t| t.checked_sub(Duration::from_secs(24 * 3600)));
    let yesterday = yesterday.map(crate::sys::clock::rfc3339).unwrap_or_default();
    match day(at) {
        same if same == day(today) => format!("today {clock} UTC"),
        before if before == day(&yesterday) => format!("yesterday {clock} UTC"),
        other => format!("on {other} at {clock} UTC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixtures::last_time;

    #[test]
    fn it_says_what_went_when_and_where_the_files_are() {
        let last = last_time();
        let today = "2026-03-05T08:00:00Z";
        assert_eq!(
            sentence(&last, today),
            "Last time: dsvmpool_3 went yesterday 21:40 UTC. \
             3 files kept in ~/notebooks/remote/rescued/2026-03-04-dsvmpool_3"
        );
        for (last, today, says) in [
            (
                LastView { files: 1, left: 2, ..last.clone() },
                today,
                "1 file kept in ~/notebooks/remote/rescued/2026-03-04-dsvmpool_3; 2 were not kept: see READ-ME.txt there",
            ),
            (LastView { left: 1, ..last.clone() }, today, "; 1 was not kept: see"),
            (LastView { whole: false, ..last.clone() }, today, "; not all was kept: see"),
            (
                LastView { files: 0, left: 1, ..last.clone() },
                today,
                "No file could be kept: see ~/notebooks/remote/rescued/2026-03-04-dsvmpool_3/READ-ME.txt",
            ),
            (last.clone(), "2026-03-04T23:00:00Z", "went today 21:40 UTC."),
            (last.clone(), "2026-03-09T23:00:00Z", "went on 2026-03-04 at 21:40 UTC."),
            (LastView { at: "é".repeat(9), ..last.clone() }, "", "went on "),
        ] {
            assert!(sentence(&last, today).contains(says), "{}", sentence(&last, today));
        }
    }
}
