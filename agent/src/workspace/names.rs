//! How a log-in name is written as the name of a directory on the share: fixed for ever, and reversible.
//!
//! * Lower-case ASCII letters, digits and `-` `_` `.` `@` `+` `=` `$` `#` `!` `&` `'` `(` `)` `,` `;` `[` `]` `^`
//!   `` ` `` `{` `}` and inner spaces stand for themselves.
//! * Every other byte is written `%XX` with two upper-case hexadecimal digits: `%` itself, upper-case letters, what SMB
//!   forbids (`" \ / : | < > * ?` and control characters), `~`, and everything outside ASCII.
//! * A dot or a space at the end is written so too, since Windows drops it; so is a name that is only dots.
//! * The first letter of a name that Windows reserves for a device (`con`, `prn`, `aux`, `nul`, `clock$`, `com0` to `com9`,
//!   `lpt0` to `lpt9`, also with something behind a dot) is written so too.
//!
//! Upper-case letters are escaped because SMB does not tell case apart: `Alice` and `alice` are two people, and get
//! `%41lice` and `alice`. `~` is escaped because servers that know long names by short ones, too, may call
//! `bob@contoso.com` something like `bob@co~1`: somebody of that name would be given bob's directory. Forbidden and
//! reserved names: the vendor's "Naming and referencing shares, directories, files, and metadata".

use std::fmt::Write as _;

/// Longest name of a directory on Azure Files, in characters, which are bytes here.
pub const LONGEST: usize = 255;

/// The directory's name of a log-in name, or nothing when it is empty or too long to be written.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    let reserved = is_reserved(name);
    let only_dots = name.bytes().all(|b| b == b'.');
    let last = name.len() - 1;
    let mut out = String::with_capacity(name.len());
    for (i, b) in name.bytes().enumerate() {
        let plain = match b {
            b'a'..=b'z' | b'0'..=b'9' => !(reserved && i == 0),
            b'.' => i != last && !only_dots,
            b' ' => i != last && i != 0,
            b'-' | b'_' | b'@' | b'+' | b'=' | b'$' | b'#' | b'!' | b'&' | b'\'' | b'(' | b')' | b',' | b';' => true,
            b'[' | b']' | b'^' | b'`' | b'{' | b'}' => true,
            _ => false,
        };
        if plain {
            out.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    (out.len() <= LONGEST).then_some(out)
}

/// The log-in name of a directory's name; nothing for a name that [`escape`] never writes.
pub fn unescape(directory: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(directory.len());
    let mut rest = directory.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(b);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (escape(&name).as_deref() == Some(directory)).then_some(name)
}

/// The log-in name of the user whose directory this is, by the setting `workspace.directory`.
pub fn whose(template: &str, directory: &str) -> Option<String> {
    unescape(directory.strip_prefix(template.strip_suffix("{user}")?)?)
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    matches!(stem, "con" | "prn" | "aux" | "nul" | "clock$")
        || numbered.is_some_and(|n| matches!(n.as_bytes(), [b'0'..=b'9']) || matches!(n, "¹" | "²" | "³"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table() {
        for (name, directory) in [
            ("alice", "alice"),
            ("Alice", "%41lice"),
            ("jean-luc.p_2", "jean-luc.p_2"),
            ("user@contoso.com", "user@contoso.com"),
            ("CONTOSO\\bob", "%43%4F%4E%54%4F%53%4F%5Cbob"),
            ("con", "%63on"),
            ("nul.x", "%6Eul.x"),
            ("com1", "%63om1"),
            ("com", "com"),
            ("com10", "com10"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("bob.", "bob%2E"),
            (" bob ", "%20bob%20"),
            ("a/b", "a%2Fb"),
            ("../x", "..%2Fx"),
            ("50%", "50%25"),
            ("zoë", "zo%C3%AB"),
            ("a\nb", "a%0Ab"),
            ("ws$", "ws$"),
            ("bob@co~1", "bob@co%7E1"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(directory));
            assert_eq!(unescape(directory).as_deref(), Some(name));
        }
        assert_eq!(escape(""), None);
        assert_eq!(escape(&"a".repeat(255)).map(|d| d.len()), Some(255));
        assert_eq!(escape(&"a".repeat(256)), None);
        assert_eq!(escape(&"A".repeat(86)), None);
    }

    #[test]
    fn a_directory_says_whose_it_is() {
        for (template, directory, name) in [
            ("notebooks/{user}", "notebooks/%41lice", Some("Alice")),
            ("{user}", "alice", Some("alice")),
            ("team a/{user}", "team a/alice", Some("alice")),
            ("notebooks/{user}", "notebooks/Alice", None),
            ("notebooks/{user}", "notebooks/a/b", None),
            ("notebooks/{user}", "notebooks/", None),
            ("notebooks/{user}", "other/alice", None),
        ] {
            assert_eq!(whose(template, directory).as_deref(), name, "{directory}");
        }
    }

    #[test]
    fn what_is_never_written_is_nobodys() {
        for directory in ["Alice", "%61lice", "con", "a%2fb", "%", "%4", "bob.", "", "a:b", "e~1", "%FF"] {
            assert_eq!(unescape(directory), None, "{directory}");
        }
    }

    proptest! {
        #[test]
        fn it_is_reversible(name in "\\PC{1,80}|[ -~\\x00-\\x1f]{1,80}") {
            if let Some(directory) = escape(&name) {
                prop_assert_eq!(unescape(&directory), Some(name));
            }
        }

        #[test]
        fn two_names_never_share_a_directory_even_where_case_does_not_count(a in "[a-cA-C%.4 ]{1,6}", b in "[a-cA-C%.4 ]{1,6}") {
            let (x, y) = (escape(&a).unwrap(), escape(&b).unwrap());
            prop_assert_eq!(a == b, x.eq_ignore_ascii_case(&y));
        }

        /// Whatever `useradd --badname` takes: any letters but those that passwd(5) is made of, up to 255 bytes.
        #[test]
        fn no_two_users_of_any_names_share_a_directory(names in proptest::collection::vec("[^:\n/\0]{1,12}|(con|nul|com[0-9¹])(\\.[a-zA-Z]{0,3})?|[A-Za-z]{0,3}[. ]{0,3}", 2..6)) {
            let mut taken = std::collections::BTreeMap::new();
            for name in names.iter().filter(|n| !n.is_empty()) {
                let directory = escape(name).unwrap();
                prop_assert_eq!(unescape(&directory), Some(name.clone()));
                // As a server sees it that does not tell case apart and drops what stands at the end.
                let seen = directory.trim_end_matches(['.', ' ']).to_lowercase();
                let before = taken.insert(seen, name.clone());
                prop_assert!(before.is_none_or(|other| other == *name));
            }
        }

        #[test]
        fn a_long_name_is_written_whole_or_not_at_all(name in "[a-zA-Z0-9 é]{80,255}") {
            match escape(&name) {
                Some(directory) => prop_assert_eq!(unescape(&directory), Some(name)),
                None => prop_assert!(name.len() + 2 * name.bytes().filter(|b| !b.is_ascii_lowercase()).count() > LONGEST),
            }
        }

        #[test]
        fn the_result_is_one_safe_component(name in "\\PC{1,80}|[ -~\\x00-\\x1f]{1,80}") {
            if let Some(d) = escape(&name) {
                prop_assert!(d.is_ascii() && d.len() <= LONGEST && !d.is_empty());
                prop_assert!(!d.bytes().any(|b| b < 0x20 || b == 0x7f || b"\"\\/:|<>*?~".contains(&b)));
                prop_assert!(!d.ends_with('.') && !d.ends_with(' ') && d != "." && d != "..");
                prop_assert!(!is_reserved(&d));
            }
        }
    }
}
