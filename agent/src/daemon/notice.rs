//! What people read on their terminals. Pure: times and facts come in as arguments. Nothing that a user wrote is in it
//! but what was escaped.

use crate::idle::model::{Risk, Source};
use crate::status::duration::humane;
use std::time::Duration;

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
