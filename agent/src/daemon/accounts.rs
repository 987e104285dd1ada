//! Who is somebody on this machine, as far as it matters for what one person may take of it.
//!
//! Whoever has subordinate ids (subuid(5)) can come as tens of thousands of users, none of which is an account. Together
//! they are one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What all numbers together count as that are no account's: (uid_t) -1, which is nobody's (chown(2)).
pub const STRANGER: u32 = u32::MAX;

/// The numbers of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The largest that this machine gives out itself (login.defs(5)).
    to: u32,
    /// Larger ones, which directory services give out, as far as they are known.
    others: BTreeSet<u32>,
}

impl Accounts {
    /// Those up to the end of `range`, and of `known` those beyond it.
    pub fn new(range: &RangeInclusive<u32>, known: impl Iterator<Item = u32>) -> Self {
        let to = *range.end();
        Self { to, others: known.filter(|uid| *uid > to).collect() }
    }

    /// Whom `uid` counts as.
    pub fn whose(&self, uid: u32) -> u32 {
        if uid <= self.to || self.others.contains(&uid) { uid } else { STRANGER }
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self { to: 60_000, others: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_nobodys_are_one() {
        let accounts = Accounts::new(&(1000..=60_000), [1001, 1_200_001_104].into_iter());
        assert_eq!(
            [0, 33, 1001, 60_000, 1_200_001_104].map(|uid| accounts.whose(uid)),
            [0, 33, 1001, 60_000, 1_200_001_104]
        );
        assert!([60_001, 100_000, 165_535, u32::MAX].into_iter().all(|uid| accounts.whose(uid) == STRANGER));
    }
}
