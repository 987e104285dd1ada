//! All in one word.

use super::model::{Counts, Health, ProblemView, ShareState};

/// The health of the VM.
///
/// * `unconfigured`: no file configures a share. A file with mistakes is a problem instead.
/// * `settled`: the first passes are through: each user there was at the start is ready or has a problem,
///   and the share has answered: until then nobody knows whether it is full.
///
/// A user who is not ready yet makes nothing degraded: nobody needs to do anything, and after the first passes
/// a new user must not turn a whole VM red. One for whom it takes too long gets a problem.
pub fn health(
    share: ShareState,
    problems: &[ProblemView],
    counts: &Counts,
    unconfigured: bool,
    settled: bool,
) -> Health {
    if unconfigured {
        return Health::Unconfigured;
    }
    if !problems.is_empty() || counts.problems > 0 {
        return Health::Degraded;
    }
    match share {
        ShareState::Unreachable | ShareState::Refused | ShareState::Hung => Health::Degraded,
        // At first it takes its time; later the share is away.
        ShareState::Mounting if settled => Health::Degraded,
        ShareState::Mounting => Health::Starting,
        ShareState::Mounted if settled => Health::Ready,
        ShareState::Mounted => Health::Starting,
        ShareState::Unconfigured => Health::Unconfigured,
    }
}

/// The word, as in the status.
pub fn name(health: Health) -> &'static str {
    match health {
        Health::Unconfigured => "unconfigured",
        Health::Starting => "starting",
        Health::Ready => "ready",
        Health::Degraded => "degraded",
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::problem;
    use super::*;
    use Health::*;

    #[test]
    fn table() {
        let fine = Counts { users: 4, ready: 4, present: 1, ..Counts::default() };
        let pending = Counts { ready: 3, ..fine };
        let trouble = Counts { ready: 3, problems: 1, ..fine };
        for (share, problems, counts, unconfigured, settled, expected) in [
            (ShareState::Mounted, 0, fine, false, true, Ready),
            (ShareState::Mounted, 0, pending, false, true, Ready),
            (ShareState::Mounted, 0, pending, false, false, Starting),
            (ShareState::Mounted, 0, trouble, false, true, Degraded),
            (ShareState::Mounted, 1, fine, false, true, Degraded),
            (ShareState::Mounted, 1, fine, false, false, Degraded),
            (ShareState::Mounting, 0, pending, false, false, Starting),
            (ShareState::Mounting, 0, pending, false, true, Degraded),
            (ShareState::Mounting, 1, pending, false, false, Degraded),
            (ShareState::Unreachable, 0, pending, false, false, Degraded),
            (ShareState::Refused, 0, pending, false, true, Degraded),
            (ShareState::Hung, 0, fine, false, true, Degraded),
            (ShareState::Unconfigured, 0, Counts::default(), true, true, Unconfigured),
            (ShareState::Unconfigured, 1, Counts::default(), true, false, Unconfigured),
            (ShareState::Unconfigured, 1, Counts::default(), false, true, Degraded),
            (ShareState::Unconfigured, 0, Counts::default(), false, true, Unconfigured),
        ] {
            let problems = vec![problem("share.unreachable", None); problems];
            let found = health(share, &problems, &counts, unconfigured, settled);
            assert_eq!(found, expected, "{share:?} {problems:?} {counts:?} {unconfigured} {settled}");
        }
    }
}
