//! `[[shared]]`: directories of the share for several people.

use super::super::fragment::{Entry, Fragment};
use super::super::place::{Given, Place};
use super::super::settings::{Shared, Workspace};
use super::{Findings, names, paths};
use std::path::Path;

/// What was taken before: a path, what it is, and where it stands, if it was written down.
type Taken<'a> = Vec<(String, &'static str, Option<&'a Place>)>;

/// The directories, each with its link. None of them lies within another, or where users' own are: what one may
/// write there, the other's rule would not hold for.
pub(super) fn shared(fragment: &Fragment, workspace: &Workspace, findings: &mut Findings) -> Vec<Shared> {
    let entries = fragment.shared.as_deref().unwrap_or_default();
    // Users' own directories are all of what lies above `{user}`, the share's root itself in the extreme.
    let users = workspace.directory.strip_suffix("{user}").unwrap_or_default().trim_end_matches('/').to_owned();
    let own = fragment.workspace_directory.as_ref().map(|given| &given.place);
    let mut directories: Taken<'_> = vec![(users, "workspace.directory", own)];
    let link = fragment.workspace_link.as_ref().map(|given| &given.place);
    let mut links: Taken<'_> = vec![(workspace.link.clone(), "workspace.link", link)];
    let mut out = Vec::new();
    for entry in entries {
        let directory = given(entry, "directory", entry.directory.as_ref(), findings, paths::shared_directory);
        let link = given(entry, "link", entry.link.as_ref(), findings, paths::link);
        let group = findings.read("shared.group", entry.group.as_ref(), |name| names::group(name));
        let directory = directory.filter(|d| is_free(d, "shared.directory", &mut directories, findings));
        let link = link.filter(|l| is_free(l, "shared.link", &mut links, findings));
        if let (Some(directory), Some(link)) = (directory, link) {
            let read_only = entry.read_only.as_ref().is_some_and(|given| given.value);
            let group = group.map(|given| given.value);
            out.push(Shared { directory: directory.value, link: link.value, group, read_only });
        }
    }
    out
}

/// What `key` was given, if it is right. It must be there.
fn given<'a>(
    entry: &'a Entry,
    key: &str,
    given: Option<&'a Given<String>>,
    findings: &mut Findings,
    read: impl FnOnce(&str) -> Result<String, String>,
) -> Option<Given<String>> {
    if given.is_none() && !entry.spoilt {
        findings.mistake(&entry.place, format!("[[shared]] has no shared.{key}: write both directory and link"));
    }
    findings.read(&format!("shared.{key}"), given, |text| read(text))
}

/// Whether a path overlaps with none before it; it is taken then. Case does not count: SMB does not tell it.
fn is_free<'a>(given: &Given<String>, key: &'static str, taken: &mut Taken<'a>, findings: &mut Findings) -> bool {
    let lower = |text: &str| text.to_lowercase();
    let mine = lower(&given.value);
    let other = taken.iter().find(|(path, ..)| paths::overlap(Path::new(&mine), Path::new(&lower(path))));
    if let Some((path, what, place)) = other {
        let shown = if path.is_empty() { "the whole share".to_owned() } else { format!("{path:?}") };
        let place = place.map_or_else(|| "default".to_owned(), |place| place.file_and_line());
        let message = format!("{key} {:?} and {what} ({shown}, {place}) lie within each other", given.value);
        findings.mistake(&given.place, message);
        return false;
    }
    taken.push((given.value.clone(), key, None));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::place::Text;

    fn findings(text: &str) -> (Vec<Shared>, Vec<String>) {
        let (fragment, mistakes) = crate::config::fragment::read(&Text::new(Path::new("f"), text));
        let mut findings = Findings { mistakes, notes: Vec::new() };
        let settings = super::super::settings(&fragment, &mut findings);
        findings.mistakes.sort_by_key(|mistake| mistake.place.position());
        (settings.shared, findings.mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_mistake_has_its_place() {
        let two = "[[shared]]\ndirectory = \"a\"\nlink = \"x\"\n[[shared]]\n";
        for (text, says) in [
            ("[shared]\ndirectory = \"a\"".to_owned(), vec!["f:1:2: `shared` may stand several times: open each"]),
            ("shared = \"a\"".to_owned(), vec!["f:1:1: `shared` is a section"]),
            ("shared = [\"a\"]".to_owned(), vec!["f:1:11: `shared` is a section, not a text"]),
            ("[[shared]]\nlink = \"x\"".to_owned(), vec!["f:1:1: [[shared]] has no shared.directory"]),
            ("[[shared]]\ndirectory = \"a\"".to_owned(), vec!["f:1:1: [[shared]] has no shared.link"]),
            ("[[shared]]\ndirectory = 5\nlink = \"x\"".to_owned(), vec!["f:2:13: shared.directory wants a text"]),
            (
                "[[shared]]\ndirectory = \"a\"\nlink = \"x\"\nreadonly = true".to_owned(),
                vec!["f:4:1: unknown key `shared.readonly`: did you mean `shared.read_only`?"],
            ),
            (format!("{two}directory = \"/a\"\nlink = \"y\""), vec!["f:5:13: shared.directory must be relative"]),
            (format!("{two}directory = \"b/../c\"\nlink = \"y\""), vec!["f:5:13: shared.directory \"b/../c\" has the"]),
            (format!("{two}directory = \"b:\"\nlink = \"y\""), vec!["f:5:13: shared.directory \"b:\" has :"]),
            (format!("{two}directory = \"{{user}}\"\nlink = \"y\""), vec!["f:5:13: shared.directory replaces"]),
            (format!("{two}directory = \".dsvm-agent/x\"\nlink = \"y\""), vec!["f:5:13: shared.directory cannot be"]),
            (format!("{two}directory = \"b\"\nlink = \"../y\""), vec!["f:6:8: shared.link \"../y\" has the component"]),
            (format!("{two}directory = \"b\"\nlink = \"/y\""), vec!["f:6:8: shared.link must be relative"]),
            (format!("{two}directory = \"A/b\"\nlink = \"y\""), vec!["f:5:13: shared.directory \"A/b\" and"]),
            (format!("{two}directory = \"b\"\nlink = \"x/y\""), vec!["f:6:8: shared.link \"x/y\" and shared.link"]),
            (
                format!("{two}directory = \"notebooks/b\"\nlink = \"notebooks/remote\""),
                vec!["f:5:13: shared.directory \"notebooks/b\" and workspace.directory", "f:6:8: shared.link"],
            ),
            (
                "[workspace]\ndirectory = \"{user}\"\n[[shared]]\ndirectory = \"a\"\nlink = \"x\"".to_owned(),
                vec!["f:4:13: shared.directory \"a\" and workspace.directory (the whole share, f:2)"],
            ),
            (format!("{two}directory = \"b\"\nlink = \"y\"\ngroup = \"\""), vec!["f:7:9: shared.group has"]),
        ] {
            let (_, found) = findings(&text);
            let right = found.len() == says.len() && found.iter().zip(&says).all(|(f, s)| f.starts_with(s));
            assert!(right, "{text}\n{found:#?}\nis not {says:?}");
        }
    }

    #[test]
    fn what_is_right_has_no_mistake() {
        let text = "[[shared]]\ndirectory = \"team/data\"\nlink = \"data\"\ngroup = \"@data team\"\nread_only = true\n\
                    [[shared]]\ndirectory = \"team/lab\"\nlink = \"notebooks/lab\"";
        let (shared, found) = findings(text);
        assert!(found.is_empty(), "{found:?}");
        let seen: Vec<_> = shared.iter().map(|s| (s.template(), s.group.as_deref(), s.read_only)).collect();
        let data = ("team/data/{user}".to_owned(), Some("data team"), true);
        assert_eq!(seen, [data, ("team/lab/{user}".to_owned(), None, false)]);
    }
}
