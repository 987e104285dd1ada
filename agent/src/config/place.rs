//! Where a value stands, and what is wrong or worth knowing there.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in a configuration file, displayed as `file:line:column`, which editors and terminals can jump to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<Path>,
    position: Option<Position>,
}

/// A position in a file. Both count from 1; columns count characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Place {
    /// A file as a whole: one that cannot be read has no lines.
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into().into(), position: None }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The position in the file; nothing when the place is the file as a whole.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// `file:line`, without the column: enough for a person who reads where a setting comes from.
    pub fn file_and_line(&self) -> String {
        let file = printable(&self.file.to_string_lossy());
        match self.position {
            Some(Position { line, .. }) => format!("{file}:{line}"),
            None => file,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file_and_line())?;
        match self.position {
            Some(Position { column, .. }) => write!(f, ":{column}"),
            None => Ok(()),
        }
    }
}

/// Something that is wrong in the configuration, or, in a list of notes, worth knowing about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what to write instead, in one sentence that names the key. Never a secret.
    pub message: String,
}

impl Mistake {
    /// A mistake at `place`. Control characters in `message` are escaped: much of what mistakes quote was never meant
    /// for a terminal.
    pub fn new(place: Place, message: impl AsRef<str>) -> Self {
        Self { place, message: printable(message.as_ref()) }
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

impl<T> Given<T> {
    /// The same place with the value changed.
    pub fn map<U>(&self, change: impl FnOnce(&T) -> U) -> Given<U> {
        Given { value: change(&self.value), place: self.place.clone() }
    }
}

/// The place of every key that was given, by its full name such as `share.mount_point`, or `shared[0].link` where a
/// section may stand several times. A key that is not here has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Where `key` was given; nothing when its default is in force.
    pub fn get(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }

    pub(super) fn insert(&mut self, key: impl Into<String>, place: Place) {
        self.0.insert(key.into(), place);
    }
}

/// The text of a file, which turns the parser's byte offsets into places.
#[derive(Debug)]
pub(super) struct Text<'a> {
    file: Arc<Path>,
    text: &'a str,
    /// The byte offset at which each line begins.
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn new(file: &Path, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, lines }
    }

    /// The whole text.
    pub(super) fn as_str(&self) -> &'a str {
        self.text
    }

    /// The place of the character at the byte `offset`. Offsets past the end are the end.
    pub(super) fn place(&self, offset: usize) -> Place {
        // The parser's offsets are on character boundaries; an error must not turn into a panic if one is not.
        let offset = (0..=offset.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        // A byte order mark is no character that anybody sees.
        let before = self.text[begin..offset].chars().filter(|c| *c != '\u{feff}').count();
        Place { file: Arc::clone(&self.file), position: Some(Position { line, column: before + 1 }) }
    }
}

/// Whether `c` is not seen but does something: a control character, or one that reorders the text around it.
pub(crate) fn is_hidden(c: char) -> bool {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

/// `text` with control characters (and those that reorder text) escaped, so that nothing that a file contains or is
/// called reaches a terminal or a log as a command.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_characters() {
        let text = Text::new(Path::new("/etc/a.toml"), "a\nbü = 1\n\nx");
        for (offset, at) in [(0, "1:1"), (1, "1:2"), (2, "2:1"), (5, "2:3"), (10, "3:1"), (11, "4:1"), (99, "4:2")] {
            assert_eq!(text.place(offset).to_string(), format!("/etc/a.toml:{at}"), "offset {offset}");
        }
        // Within the two bytes of ü: its first.
        assert_eq!(text.place(4).to_string(), "/etc/a.toml:2:2");
        let text = Text::new(Path::new("a"), "\u{feff}key");
        assert_eq!(text.place(3).to_string(), "a:1:1");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let place = Place::of_file("/etc/\u{1b}[31m\n.toml");
        assert_eq!(Mistake::new(place, "is \u{7}").to_string(), "/etc/\\u{1b}[31m\\n.toml: is \\u{7}");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
