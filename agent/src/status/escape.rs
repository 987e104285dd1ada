//! Makes text that users wrote (names, paths, what a server said) safe to show on a terminal.
//!
//! Nothing that moves the cursor, changes colours, breaks the line, reverses its direction ("Trojan Source",
//! CVE-2021-42574) or cannot be seen gets through: each such character is shown by its number, `\u{1b}`. A backslash
//! is left as it is, so that text that went through here already stays the same, and `CONTOSO\alice` can be read.

use std::borrow::Cow;
use std::fmt::Write;

/// What the reader's terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8.
    Unicode,
    /// Nothing but ASCII: everything else is shown by its number.
    Ascii,
}

/// `text` on one line and without anything that acts on a terminal. Escaping twice is the same as once.
pub fn escape(text: &str, charset: Charset) -> Cow<'_, str> {
    let Some(first) = text.find(|c| !plain(c, charset)) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if plain(c, charset) {
            out.push(c);
        } else if c == '\n' {
            out.push_str("\\n");
        } else if c == '\t' {
            out.push_str("\\t");
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(out)
}

/// Whether `c` can be shown as it is.
fn plain(c: char, charset: Charset) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    charset == Charset::Unicode && !c.is_control() && !invisible(c)
}

/// Characters that are not controls by Unicode's class `Cc` and still change how others are shown, or show nothing:
/// class `Cf` (all of it that is not tied to one script's digits), line and paragraph separators, the blank letters
/// and the private areas, whose look nobody knows.
fn invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x2800 | 0x3164
        | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
        | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_would_act() {
        for (raw, shown) in [
            ("alice", "alice"),
            ("CONTOSO\\alice", "CONTOSO\\alice"),
            ("jos\u{e9} 山田", "jos\u{e9} 山田"),
            ("a\nb\tc\rd", "a\\nb\\tc\\u{d}d"),
            ("\u{1b}[2J\u{7f}\u{9b}31m", "\\u{1b}[2J\\u{7f}\\u{9b}31m"),
            ("ipynb.\u{202e}exe\u{2066}", "ipynb.\\u{202e}exe\\u{2066}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{2028}\u{e0041}", "\\u{2028}\\u{e0041}"),
        ] {
            assert_eq!(escape(raw, Charset::Unicode), shown);
        }
        assert_eq!(escape("jos\u{e9}", Charset::Ascii), "jos\\u{e9}");
    }

    #[test]
    fn copies_nothing_that_is_plain() {
        assert!(matches!(escape("alice", Charset::Unicode), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_acts(text in proptest::collection::vec(any::<char>(), 0..60)) {
            let text: String = text.into_iter().collect();
            for charset in [Charset::Unicode, Charset::Ascii] {
                let once = escape(&text, charset).into_owned();
                prop_assert!(!once.chars().any(char::is_control));
                let reverses = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                let reversed = once.contains(reverses);
                prop_assert!(!reversed);
                prop_assert!(charset == Charset::Unicode || once.is_ascii());
                prop_assert_eq!(escape(&once, charset), once.as_str(), "twice is once");
            }
        }

        #[test]
        fn what_is_plain_is_left_alone(text in "[ -~]{0,60}") {
            prop_assert_eq!(escape(&text, Charset::Ascii), text.as_str());
        }
    }
}
