//! The status in one sentence, for `systemctl status`.

use super::escape::{Charset, escape};
use super::model::*;
use super::page::shorten;
use super::public::public;

/// Longest sentence, in characters: `systemctl` shows it in one line.
const LONGEST: usize = 240;

/// The one true sentence: `Ready: //host/share is mounted; 4 of 4 users have their notebooks.` When something is wrong
/// it is the first problem's. One line, and without a user's name, since everybody may read it.
pub fn sentence(status: &Status) -> String {
    let status = public(status);
    let said = match status.health {
        Health::Unconfigured => {
            "Not configured: this VM has no /etc/dsvm-agent/agent.toml; nothing is mounted.".to_owned()
        }
        Health::Starting => format!("Starting: {}; {}.", share(&status.share), users(&status.counts)),
        Health::Ready => format!("Ready: {}; {}.", share(&status.share), users(&status.counts)),
        Health::Degraded => degraded(&status),
    };
    let said = shorten(&said, LONGEST, "...");
    escape(&said, Charset::Unicode).into_owned()
}

fn degraded(status: &Status) -> String {
    let attention = status.counts.problems;
    match status.problems.iter().find(|view| view.count.is_none()) {
        Some(first) => {
            let more = status.problems.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            format!("Degraded: {}{more}", first.problem.summary)
        }
        None if status.share.state != ShareState::Mounted => format!("Degraded: {}.", share(&status.share)),
        None if attention > 0 => {
            let needs = if attention == 1 { "needs" } else { "need" };
            let of = status.counts.users.max(attention);
            format!("Degraded: {attention} of {} {needs} attention: sudo dsvm-agent status", people(of))
        }
        None => "Degraded: something needs attention: sudo dsvm-agent status".to_owned(),
    }
}

fn share(share: &ShareView) -> String {
    let name = share.source.as_deref().unwrap_or("the share");
    let state = match share.state {
        ShareState::Mounted => "is mounted",
        ShareState::Mounting => "is being mounted",
        ShareState::Unreachable => "is unreachable",
        ShareState::Refused => "is refused",
        ShareState::Hung => "does not answer",
        ShareState::Unconfigured => return "no share is configured".to_owned(),
    };
    format!("{name} {state}")
}

fn users(counts: &Counts) -> String {
    match counts.users {
        0 => "no users yet".to_owned(),
        all => format!("{} of {} have their notebooks", counts.ready, people(all)),
    }
}

fn people(count: u64) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{count} users") }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, problem};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_what_is_true() {
        let mut starting = fixtures::status();
        starting.health = Health::Starting;
        starting.share.state = ShareState::Mounting;
        starting.counts = Counts::default();
        let mut hung = fixtures::status();
        hung.health = Health::Degraded;
        hung.share.state = ShareState::Hung;
        let mut two = fixtures::degraded();
        two.problems.push(problem("share.nearly-full", None));
        for (status, said) in [
            (
                fixtures::status(),
                "Ready: //contosods.file.core.windows.net/dsvmshare is mounted; 4 of 4 users have their notebooks.",
            ),
            (starting, "Starting: //contosods.file.core.windows.net/dsvmshare is being mounted; no users yet."),
            (fixtures::degraded(), "Degraded: 1 of 5 users needs attention: sudo dsvm-agent status"),
            (two, "Degraded: Something is wrong. (and 1 more)"),
            (hung, "Degraded: //contosods.file.core.windows.net/dsvmshare does not answer."),
            (
                fixtures::unreachable(),
                "Degraded: contosods.file.core.windows.net is 20.60.1.2 (public); port 445 gave no answer in 3 s.",
            ),
            (
                fixtures::unconfigured(),
                "Not configured: this VM has no /etc/dsvm-agent/agent.toml; nothing is mounted.",
            ),
        ] {
            assert_eq!(sentence(&status), said);
        }
    }

    proptest! {
        /// A line end in it would be another message to systemd.
        #[test]
        fn is_one_short_line(text in proptest::collection::vec(any::<char>(), 0..400)) {
            let mut status = fixtures::unreachable();
            status.problems[0].problem.summary = text.into_iter().collect();
            let said = sentence(&status);
            prop_assert!(!said.chars().any(char::is_control));
            prop_assert!(said.chars().count() < 10 * LONGEST);
        }
    }
}
