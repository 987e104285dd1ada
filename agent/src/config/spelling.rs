//! Which key was meant by one that does not exist.

/// The key among `known` that was most likely meant by `key`; full names, such as `share.mount_point`. A section that
/// was meant is named as well. Nothing when none is close.
pub(super) fn meant(key: &str, known: &[&str]) -> Option<String> {
    let sections = known.iter().flat_map(|known| known.match_indices('.').map(|(dot, _)| &known[..dot]));
    let candidates = || known.iter().copied().chain(sections.clone());

    let close = candidates()
        .map(|candidate| (distance(&flat(key), &flat(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(last(candidate)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, candidate)) = close {
        return Some(candidate.to_owned());
    }
    // The right name in the wrong section. Where several sections have it, none is more likely.
    let mut elsewhere = known.iter().filter(|candidate| last(candidate) == last(key));
    match (elsewhere.next(), elsewhere.next()) {
        (Some(only), None) => Some((*only).to_owned()),
        _ => None,
    }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// How many letters may differ: a short name is quickly another name.
fn allowed(name: &str) -> usize {
    match name.len() {
        0..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// `mount-point`, `mountPoint` and `mount_point` are one name to people.
fn flat(key: &str) -> Vec<char> {
    key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).take(128).collect()
}

/// Edit distance (Levenshtein): insertions, deletions and replacements, one for each.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant() {
        let table = [
            ("share.mountpoint", Some("share.mount_point")),
            ("share.mount-point", Some("share.mount_point")),
            ("share.mountPoint", Some("share.mount_point")),
            ("share.soruce", Some("share.source")),
            ("share.ports", Some("share.port")),
            ("share.credential.file", Some("share.credentials.file")),
            ("share.credential", Some("share.credentials")),
            ("workspaces", Some("workspace")),
            ("workspace.lingers", Some("workspace.linger")),
            ("mount_point", Some("share.mount_point")),
            ("share.linger", Some("workspace.linger")),
            // In two sections: no telling.
            ("share.options", None),
            ("share.password", None),
            ("pool", None),
            ("", None),
        ];
        for (key, expected) in table {
            assert_eq!(meant(key, super::super::fragment::KEYS).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn distances() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        for (a, b, d) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!(distance(&chars(a), &chars(b)), d, "{a} {b}");
        }
    }
}
