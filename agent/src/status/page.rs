//! Lays out text for a terminal: wraps, marks good and bad, escapes what users wrote.

use super::escape::{Charset, escape};
use super::render::Context;
use std::borrow::Cow;

/// Where a section's text begins, and a row's text below it.
pub(super) const COLUMN: usize = 11;
/// Where the text behind a mark begins, in columns behind the mark.
pub(super) const BEHIND_MARK: usize = 2;

/// Nothing is laid out for less: narrower terminals wrap it themselves.
const NARROWEST: usize = 40;
/// Longest text of one problem, in characters. Whoever makes it longer wants to hide the rest of the page.
const LONGEST: usize = 1000;
/// A problem has three lines of a terminal that is so wide; on narrower ones as many lines as give the same room.
const FULL_WIDTH: usize = 100;

/// Keeps a number and its unit in one line; it is shown as a space.
pub(super) const NO_BREAK: char = '\u{a0}';

/// Says at a glance how something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    Bad,
    Wait,
    Note,
    Unseen,
}

/// Text that grows line by line.
#[derive(Debug)]
pub(super) struct Page<'c> {
    context: &'c Context,
    text: String,
}

impl<'c> Page<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, text: String::new() }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// The symbol for `mark`, in its colour.
    pub(super) fn mark(&self, mark: Mark) -> String {
        let (symbol, ascii, colour) = match mark {
            Mark::Good => ("✔", "+", 32),
            Mark::Bad => ("✘", "!", 31),
            Mark::Wait => ("…", ".", 33),
            Mark::Note => ("●", "*", 33),
            Mark::Unseen => ("–", "-", 0),
        };
        let symbol = if self.context.symbols { symbol } else { ascii };
        if self.context.colour { format!("\x1b[{colour}m{symbol}\x1b[0m") } else { symbol.to_owned() }
    }

    /// What stands between two facts in a line.
    pub(super) fn dot(&self) -> &'static str {
        if self.context.symbols { " · " } else { " - " }
    }

    /// Text of the agent or of users, safe to show.
    pub(super) fn clean(&self, text: &str) -> String {
        let text = shorten(text, LONGEST, self.ellipsis());
        if self.context.unicode {
            return escape(&text, Charset::Unicode).into_owned();
        }
        // The agent's own signs have their like in ASCII.
        let text = text.replace('…', "...").replace('·', "-").replace('’', "'");
        escape(&text, Charset::Ascii).into_owned()
    }

    fn ellipsis(&self) -> &'static str {
        if self.context.unicode { "…" } else { "..." }
    }

    /// Wraps `text` behind `lead`, which is in the first line only, with further lines indented by `indent`.
    pub(super) fn paragraph(&mut self, lead: &str, indent: usize, text: &str) {
        let lines = match self.width() {
            None => vec![text.to_owned()],
            Some(width) => wrap(text, room(width, visible(lead)), room(width, indent)),
        };
        self.lines(lead, indent, &lines);
    }

    /// What is, with `tail` behind it, and what to do, in three lines at most. The remedy has its room first: half a
    /// command helps nobody. The tail is kept.
    pub(super) fn problem(&mut self, lead: &str, indent: usize, summary: &str, tail: &str, remedy: &str) {
        let summary = self.clean(summary);
        let remedy = self.clean(remedy);
        let whole = if tail.is_empty() { summary } else { format!("{summary} {tail}") };
        let Some(width) = self.width() else {
            self.lines(lead, indent, &[whole]);
            if !remedy.is_empty() {
                self.lines(&" ".repeat(indent), indent, &[remedy]);
            }
            return;
        };
        let room = room(width, indent);
        let budget = if width >= FULL_WIDTH { 3 } else { (3 * (FULL_WIDTH - indent)).div_ceil(room) + 1 };
        let mut below = if remedy.is_empty() { Vec::new() } else { wrap(&remedy, room, room) };
        cut(&mut below, budget - 1, room, "", self.ellipsis());
        let mut above = wrap(&whole, room, room);
        cut(&mut above, budget - below.len(), room, tail, self.ellipsis());
        self.lines(lead, indent, &above);
        self.lines(&" ".repeat(indent), indent, &below);
    }

    fn lines(&mut self, lead: &str, indent: usize, lines: &[String]) {
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                self.text.push_str(lead);
            } else {
                self.text.extend(std::iter::repeat_n(' ', indent));
            }
            self.text.push_str(&line.replace(NO_BREAK, " "));
            self.text.push('\n');
        }
    }

    fn width(&self) -> Option<usize> {
        self.context.width.map(|width| width.max(NARROWEST))
    }
}

/// Columns that are left in a line behind `used`.
fn room(width: usize, used: usize) -> usize {
    width.saturating_sub(used).max(NARROWEST / 2)
}

/// `text` in lines of at most `first`, then `rest` columns. Breaks at spaces, and inside of what is longer than a line.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    // Spaces that stand before the next word, if it comes in the same line.
    let mut gap = 0;
    for word in text.split(' ') {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        let room = if lines.len() == 1 { first } else { rest };
        if let Some(line) = lines.last_mut() {
            let used = visible(line);
            if used == 0 || used + gap + visible(word) <= room {
                if used > 0 {
                    line.extend(std::iter::repeat_n(' ', gap));
                }
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
        break_last(&mut lines, first, rest);
        gap = 1;
    }
    lines
}

/// Breaks the last line, which is one word, until it fits.
fn break_last(lines: &mut Vec<String>, first: usize, rest: usize) {
    loop {
        let room = if lines.len() == 1 { first } else { rest };
        let Some(line) = lines.last_mut() else { return };
        if visible(line) <= room {
            return;
        }
        let at = fitting(line, room);
        if at == 0 || at == line.len() {
            return;
        }
        let further = line.split_off(at);
        lines.push(further);
    }
}

/// Leaves `most` lines; when that cuts something off, the last one ends in an ellipsis and `tail`.
fn cut(lines: &mut Vec<String>, most: usize, room: usize, tail: &str, ellipsis: &str) {
    if lines.len() <= most {
        return;
    }
    lines.truncate(most);
    let Some(last) = lines.last_mut() else { return };
    let tail = if tail.is_empty() { String::new() } else { format!(" {tail}") };
    let left = room.saturating_sub(visible(ellipsis) + 1 + visible(&tail));
    let fits = fitting(last, left);
    // Rather a word less than half a word.
    let whole = if fits < last.len() { last[..fits].rfind(' ').unwrap_or(fits) } else { fits };
    let kept = last[..whole].trim_end().len();
    last.truncate(kept);
    last.push(' ');
    last.push_str(ellipsis);
    last.push_str(&tail);
}

/// How many bytes of `line` fit into `room` columns. `line` holds no colours there.
fn fitting(line: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, c) in line.char_indices() {
        used += columns(c);
        if used > room {
            return at;
        }
    }
    line.len()
}

/// Columns that `text` takes. The only escape sequences in it are this file's own colours.
pub(super) fn visible(text: &str) -> usize {
    let mut columns_used = 0;
    let mut in_colour = false;
    for c in text.chars() {
        match c {
            '\x1b' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            _ => columns_used += columns(c),
        }
    }
    columns_used
}

/// Columns of one character, as terminals draw it: by blocks, since a wrong guess costs a ragged line only.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36F | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

/// `text`, or its first `longest` characters and an ellipsis.
pub(super) fn shorten<'t>(text: &'t str, longest: usize, ellipsis: &str) -> Cow<'t, str> {
    match text.char_indices().nth(longest) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}{ellipsis}", &text[..at])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wraps_at_spaces_and_inside_long_words() {
        for (text, first, rest, lines) in [
            ("", 10, 10, vec![""]),
            ("one two three", 7, 10, vec!["one two", "three"]),
            ("a   b", 10, 10, vec!["a   b"]),
            ("aaaa   bbbb", 8, 10, vec!["aaaa", "bbbb"]),
            ("abcdefghij k", 4, 5, vec!["abcd", "efghi", "j k"]),
            ("x abcdefgh", 4, 4, vec!["x", "abcd", "efgh"]),
            ("山田山田", 4, 4, vec!["山田", "山田"]),
            ("\x1b[32m+\x1b[0m ok", 4, 4, vec!["\x1b[32m+\x1b[0m ok"]),
        ] {
            assert_eq!(wrap(text, first, rest), lines, "{text}");
        }
    }

    #[test]
    fn cuts_and_keeps_the_tail() {
        let mut lines = wrap("one two three four five (for 4 s)", 12, 12);
        cut(&mut lines, 2, 12, "(4 s)", "…");
        assert_eq!(lines, ["one two", "thre … (4 s)"]);
        cut(&mut lines, 2, 12, "(4 s)", "…");
        assert_eq!(lines.len(), 2, "what fits stays");
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_nothing_is_lost(text in "[a-z ]{0,200}", first in 4_usize..40, rest in 4_usize..40) {
            let lines = wrap(&text, first, rest);
            for (number, line) in lines.iter().enumerate() {
                let room = if number == 0 { first } else { rest };
                prop_assert!(visible(line) <= room);
            }
            prop_assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }
}
