//! In which order what a pass decided is asked for: the launcher starts one helper after the other, and people wait for what
//! some of them do.

use super::engine::Step;
use crate::share::model::Step as ShareStep;
use crate::workspace::model::Step as UserStep;
use std::time::Duration;

/// All steps, those first for which most others wait. Steps of one kind keep their order.
pub fn sorted(steps: &[Step]) -> Vec<&Step> {
    let mut all: Vec<&Step> = steps.iter().collect();
    all.sort_by_key(|step| turn(step));
    all
}

/// Whether a step is begun before anything else is looked at: nothing depends on who is here, or may have changed by then.
pub fn is_first(step: &Step) -> bool {
    matches!(step, Step::Share(ShareStep::Reach { .. } | ShareStep::LayGuard))
}

/// The configuration is kept so long after the agent's start at the latest: until then a mistake in it would be in force.
const KEEP_AT_LATEST: Duration = Duration::from_secs(1);

/// Whether a step can wait until everybody is served: asking the share whether it answers, and giving it its keys, where it has
/// just been mounted with them (`fresh`), or is being mounted.
pub fn can_wait(step: &Step, fresh: bool) -> bool {
    fresh && matches!(step, Step::Share(ShareStep::Probe | ShareStep::Rekey { force: false }))
}

/// How long the settings are not kept yet, `up` after the agent's start: until there is nothing else to do. Nothing may be
/// `left` that others wait for, and nothing be under way (`idle`) but the server `mounting` the share.
pub fn before_keeping(left: bool, idle: bool, mounting: bool, up: Duration) -> Duration {
    if !left && (idle || mounting) { Duration::ZERO } else { KEEP_AT_LATEST.saturating_sub(up) }
}

fn turn(step: &Step) -> u8 {
    match step {
        // Others answer these, and take as long as they take.
        Step::Share(ShareStep::Reach { .. } | ShareStep::FetchKeys) => 0,
        // Nobody waits for these, but a full house must not put them off.
        Step::Share(ShareStep::Probe | ShareStep::Rekey { .. } | ShareStep::ReadAhead { .. }) => 2,
        Step::Share(_) | Step::Accounts(_) => 1,
        Step::User(UserStep::MountPoints { .. } | UserStep::Directories { .. }) => 1,
        // One for each user: they fill what room there is.
        Step::User(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::AskAccounts;
    use super::*;

    #[test]
    fn what_most_others_wait_for_comes_first() {
        let name = || "ada".to_owned();
        let (probe, keys) = (Step::Share(ShareStep::Probe), Step::Share(ShareStep::Rekey { force: false }));
        let reach = Step::Share(ShareStep::Reach { host: "h".to_owned(), port: 445 });
        let (guard, accounts) = (Step::Share(ShareStep::LayGuard), Step::Accounts(AskAccounts::AskAccounts));
        let directories = Step::User(UserStep::Directories { names: vec![name()] });
        let attach = Step::User(UserStep::Attach { name: name(), address: None });
        let link = Step::User(UserStep::Link { name: name() });
        for (steps, expected) in [
            (vec![], vec![]),
            (vec![&guard, &reach, &accounts], vec![&reach, &guard, &accounts]),
            (vec![&probe, &keys, &directories, &attach, &link], vec![&directories, &probe, &keys, &attach, &link]),
            (vec![&link, &attach, &probe], vec![&probe, &link, &attach]),
        ] {
            let all: Vec<Step> = steps.into_iter().cloned().collect();
            assert_eq!(sorted(&all), expected);
        }
        let first: Vec<&Step> =
            [&guard, &reach, &accounts, &probe, &directories, &link].into_iter().filter(|s| is_first(s)).collect();
        assert_eq!(first, [&guard, &reach]);
    }

    #[test]
    fn what_nobody_waits_for_can_wait() {
        let share = Step::Share;
        for (step, fresh, expected) in [
            (share(ShareStep::Probe), true, true),
            (share(ShareStep::Rekey { force: false }), true, true),
            // It was mounted before the agent was started, and may be dead, or have an old key.
            (share(ShareStep::Probe), false, false),
            (share(ShareStep::Rekey { force: false }), false, false),
            (share(ShareStep::Rekey { force: true }), true, false),
            (share(ShareStep::LayGuard), true, false),
            (Step::User(UserStep::Link { name: "ada".to_owned() }), true, false),
        ] {
            assert_eq!(can_wait(&step, fresh), expected, "{step:?}");
        }
        for (left, idle, mounting, up, expected) in [
            (true, true, false, 300, 700),
            (true, false, true, 300, 700),
            (false, false, false, 300, 700),
            (false, false, false, 1_000, 0),
            (true, false, true, 5_000, 0),
            (false, true, false, 300, 0),
            (false, false, true, 300, 0),
        ] {
            let before = before_keeping(left, idle, mounting, Duration::from_millis(up));
            assert_eq!(before, Duration::from_millis(expected), "{left} {idle} {mounting} {up}");
        }
    }
}
