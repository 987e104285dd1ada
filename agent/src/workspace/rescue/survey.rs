//! What would be lost, counted and in part named.

use super::walk::walk;
use super::{LONGEST, NAMED, Place, Surveyed};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;

/// Looks at a home, as the user that this process is, until `until` by the boot-time clock at the latest.
///
/// # Errors
/// When the home cannot be looked at.
pub fn survey(place: &Place, until: Duration) -> Result<Surveyed, Errno> {
    let walked = walk(place, until)?;
    let mut newest: Vec<_> = walked.files.iter().collect();
    newest.sort_by(|a, b| b.entry.modified.cmp(&a.entry.modified).then_with(|| a.entry.path.cmp(&b.entry.path)));
    Ok(Surveyed {
        files: walked.files.len() as u64,
        bytes: walked.files.iter().map(|f| f.entry.size).fold(0, u64::saturating_add),
        newest: newest.iter().take(NAMED).map(|found| told(&walked.path(found))).collect(),
        whole: walked.whole,
    })
}

/// A path as it is told: text, and not longer than anybody reads.
pub(super) fn told(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.char_indices().nth(LONGEST) {
        None => text.into_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
