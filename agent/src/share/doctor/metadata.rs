//! Who may ask instance metadata for this VM's identity: found out by asking for a connection, as the agent and as
//! somebody who is nobody.

use super::{Outcome, Step};
use crate::share::model::Failure;
use std::net::IpAddr;

/// Where the rules of the package are explained.
const GUIDE: &str = "/usr/share/dsvm-agent/metadata-guard/README.md";
/// So many names are told.
const MOST_NAMES: usize = 5;

/// Who reaches instance metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Every user.
    All,
    /// Not everybody. With whoever is in the group `docker`, and so may become root.
    Some {
        /// Their log-in names.
        docker: Vec<String>,
    },
}

/// Who reaches it, by what came of a connection as the agent (nothing where that cannot be tried) and as a stranger. Nothing
/// where nobody answers: it is no VM of Azure's.
pub fn access(agent: Option<bool>, stranger: &Result<f64, Failure>, group: &str) -> Option<Access> {
    let refused = stranger.as_ref().is_err_and(|failure| failure.errno == Some(libc::ECONNREFUSED));
    match (agent, stranger) {
        (_, Ok(_)) => Some(Access::All),
        (Some(true), Err(_)) => Some(Access::Some { docker: members(group, "docker") }),
        // Elsewhere nobody answers, and nobody refuses.
        (None, Err(_)) if refused => Some(Access::Some { docker: members(group, "docker") }),
        (_, Err(_)) => None,
    }
}

/// The members of a group, by the text of group(5).
fn members(text: &str, name: &str) -> Vec<String> {
    let line =
        text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name));
    let members = line.and_then(|fields| fields.get(3).copied()).unwrap_or_default();
    members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect()
}

/// The address and port of instance metadata, where it is an address.
pub fn address(url: &crate::sys::http::Url) -> Option<(IpAddr, u16)> {
    Some((url.host().parse().ok()?, url.port()))
}

/// What is said of it.
pub(super) fn step(access: &Access) -> Step {
    let (outcome, seen) = match access {
        Access::All => (
            Outcome::Note,
            "every user may ask for this VM's identity and use it. To keep it to root: \
             sudo systemctl enable --now dsvm-agent-metadata-guard"
                .to_owned(),
        ),
        Access::Some { docker } => {
            let mut said = format!(
                "users cannot ask for this VM's identity: az login --identity and DefaultAzureCredential do not work for \
                 them ({GUIDE})"
            );
            if !docker.is_empty() {
                let more = docker.len().saturating_sub(MOST_NAMES);
                let names = docker.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                said = format!("{said}. Who is in the group docker gets around that: {names}{more}");
            }
            (if docker.is_empty() { Outcome::Right } else { Outcome::Note }, said)
        }
    };
    Step { name: "metadata".to_owned(), outcome, seen, problem: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::Attempt;

    const GROUP: &str = "root:x:0:\ndocker:x:999:alice,bob\ndockers:x:998:eve\n";

    #[test]
    fn who_reaches_it() {
        let failed = |errno| Err(Failure { attempt: Attempt::Connect, errno: Some(errno), details: Vec::new() });
        let some = Some(Access::Some { docker: vec!["alice".to_owned(), "bob".to_owned()] });
        for (agent, stranger, expected) in [
            (Some(true), Ok(1.0), Some(Access::All)),
            (None, Ok(1.0), Some(Access::All)),
            (Some(true), failed(libc::ECONNREFUSED), some.clone()),
            // Somebody else's rules may drop instead.
            (Some(true), failed(libc::ETIMEDOUT), some.clone()),
            (None, failed(libc::ECONNREFUSED), some),
            (None, failed(libc::ENETUNREACH), None),
            (Some(false), failed(libc::ECONNREFUSED), None),
            (Some(false), failed(libc::ETIMEDOUT), None),
        ] {
            assert_eq!(access(agent, &stranger, GROUP), expected, "{agent:?} {stranger:?}");
        }
        assert_eq!(members("", "docker"), [""; 0]);
        assert_eq!(members("docker:x:9:\n", "docker"), [""; 0]);
    }

    #[test]
    fn what_is_said_of_it() {
        assert!(step(&Access::All).seen.contains("enable --now dsvm-agent-metadata-guard"));
        let guarded = step(&Access::Some { docker: Vec::new() });
        assert!(guarded.outcome == Outcome::Right && guarded.seen.contains("az login --identity"), "{guarded:?}");
        let names = (0..7).map(|n| format!("u{n}")).collect();
        let undone = step(&Access::Some { docker: names });
        assert_eq!(undone.outcome, Outcome::Note);
        assert!(undone.seen.ends_with("gets around that: u0, u1, u2, u3, u4 and 2 more"), "{undone:?}");
    }
}
