//! When the key is fetched from Key Vault, and what is said when it does not come: pure. The fetching is [`super::fetch`].

use super::diagnosis::diagnose;
use super::model::Failure;
use crate::config::settings::{Credentials, Share};
use crate::problem::Problem;
use std::time::Duration;

/// How often the key is asked for, to see whether it changed.
const POLL: Duration = Duration::from_secs(5 * 60);
/// The longest pause while there is no key: a role that was just given works within minutes.
const PAUSE_WITHOUT: Duration = Duration::from_secs(30);
/// So many failures in a row are said although there is a key: the vault may be serviced.
const SAID_AFTER: u32 = 3;

/// What is remembered of the vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The key was fetched: it is there for whoever mounts.
    pub present: bool,
    /// Not before then again.
    pub next: Duration,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure.
    pub failure: Option<Failure>,
}

/// Whether the share's key comes from Key Vault.
pub fn is_used(share: &Share) -> bool {
    matches!(share.credentials, Some(Credentials::KeyVault(_)))
}

impl Memory {
    /// Whether it is time to fetch.
    pub fn is_due(&self, share: &Share, now: Duration) -> bool {
        is_used(share) && now >= self.next
    }

    /// Whether nothing can be mounted yet for lack of a key.
    pub fn is_missing(&self, share: &Share) -> bool {
        is_used(share) && !self.present
    }

    /// The key was fetched, or not.
    pub fn fetched(&mut self, result: Result<(), Failure>, now: Duration, jitter: u64) {
        let spread = |base: Duration| base + base * u32::try_from(jitter % 200).unwrap_or(0) / 1000;
        match result {
            // A fifth earlier at most, so that it is never later than promised and not all VMs ask at once.
            Ok(()) => {
                let next = now + POLL - POLL * u32::try_from(jitter % 200).unwrap_or(0) / 1000;
                *self = Self { present: true, next, failures: 0, failure: None };
            }
            Err(failure) => {
                let longest = if self.present { POLL } else { PAUSE_WITHOUT };
                let pause = Duration::from_secs(5 << self.failures.min(6)).min(longest);
                self.next = now + spread(pause).min(POLL);
                self.failures = self.failures.saturating_add(1);
                self.failure = Some(failure);
            }
        }
    }

    /// What a person needs to know although there is a key: it cannot be renewed.
    pub fn problem(&self, share: &Share) -> Option<Problem> {
        let failure = self.failure.as_ref().filter(|_| self.present && self.failures >= SAID_AFTER)?;
        let problem = diagnose(share, failure).problem;
        Some(Problem { summary: format!("{} What is mounted stays.", problem.summary), ..problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::KeyVault;
    use crate::share::model::Attempt;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn share() -> Share {
        let vault =
            KeyVault { vault: "contoso-kv".to_owned(), secret: "share-key".to_owned(), secret2: None, client_id: None };
        Share { credentials: Some(Credentials::KeyVault(vault)), ..Share::smb_for_tests() }
    }

    fn refused() -> Result<(), Failure> {
        Err(Failure::said(Attempt::Vault, "contoso-kv says 403 to the identity of this VM"))
    }

    #[test]
    fn nothing_is_mounted_before_there_is_a_key_and_afterwards_it_is_polled() {
        let mut memory = Memory::default();
        assert!(memory.is_missing(&share()) && memory.is_due(&share(), NOW));
        memory.fetched(Ok(()), NOW, 0);
        assert!(!memory.is_missing(&share()) && !memory.is_due(&share(), NOW + POLL - Duration::from_secs(61)));
        assert!(memory.is_due(&share(), NOW + POLL));
        let other = Share::smb_for_tests();
        assert!(!Memory::default().is_missing(&other) && !Memory::default().is_due(&other, NOW));
    }

    #[test]
    fn a_refusal_is_asked_again_soon_and_said_only_when_it_lasts() {
        let mut memory = Memory::default();
        memory.fetched(refused(), NOW, 0);
        assert!(memory.is_due(&share(), NOW + Duration::from_secs(5)), "the role may be there any moment");
        for _ in 0..20 {
            memory.fetched(refused(), NOW, 199);
        }
        assert!(memory.next <= NOW + PAUSE_WITHOUT * 6 / 5);
        memory.fetched(Ok(()), NOW, 0);
        for said in [false, false, true] {
            memory.fetched(refused(), NOW, 0);
            assert_eq!(memory.problem(&share()).is_some(), said);
        }
        let problem = memory.problem(&share()).unwrap();
        assert!(problem.code == "share.waiting-for-role" && problem.summary.ends_with("What is mounted stays."));
        assert!(!memory.is_missing(&share()), "the key that is there is good until the server says otherwise");
    }

    proptest! {
        #[test]
        fn a_new_key_is_seen_within_five_minutes(jitter: u64, failures in 0u32..100, present: bool, well: bool) {
            let mut memory = Memory { present, failures, ..Memory::default() };
            memory.fetched(if well { Ok(()) } else { refused() }, NOW, jitter);
            prop_assert!(memory.next > NOW && memory.next <= NOW + POLL);
        }
    }
}
