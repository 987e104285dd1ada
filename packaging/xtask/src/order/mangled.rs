//! Mangled names of Rust's functions (RFC 2603, "Symbol grammar summary"), as patterns that match them in every build.

/// The name with `*` for what is another in the next build though the function is the same: the numbers of crates, which
/// come from the compiler's version and the profile; backward references, which count the letters of these numbers; and at the end
/// the crate in which a generic function was made, which is any of those that need it.
pub fn pattern(name: &str) -> String {
    let Some(encoded) = name.strip_prefix("_R") else { return name.to_owned() };
    let mut rest = encoded;
    let mut parts = Vec::new();
    while let Some(part) = Part::take(&mut rest) {
        parts.push(part);
    }
    // A path of types, or an argument, would be closed by another letter.
    match parts[..] {
        [.., _, Part::Any("B")] => drop(parts.pop()),
        [.., Part::Any("Cs"), Part::As(crates)] if is_identifier(crates) => parts.truncate(parts.len() - 2),
        _ => return ["_R".to_owned(), parts.iter().map(Part::text).collect()].concat(),
    }
    ["_R".to_owned(), parts.iter().map(Part::text).collect(), "*".to_owned()].concat()
}

/// What an encoded path is made of, as far as that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    As(&'a str),
    /// This, a number and `_`.
    Any(&'static str),
}

impl<'a> Part<'a> {
    fn take(rest: &mut &'a str) -> Option<Self> {
        let text = *rest;
        let first = text.chars().next()?;
        let number = |from: usize| {
            let end = from + text.get(from..)?.find('_')?;
            text.get(from..end)?.chars().all(|c| c.is_ascii_alphanumeric()).then_some(end + 1)
        };
        let (part, end) = match first {
            '0'..='9' => identifier(text),
            'B' => number(1).map(|end| (Part::Any("B"), end)),
            'C' if text.starts_with("Cs") => number(2).map(|end| (Part::Any("Cs"), end)),
            // A constant: its type, and its value in hexadecimal digits, which are no length of an identifier.
            'a' | 'b' | 'c' | 'h' | 'i' | 'j' | 'l' | 'm' | 'n' | 'o' | 't' | 'x' | 'y' => constant(text),
            's' => number(1).and_then(|end| Some((Part::As(text.get(..end)?), end))),
            _ => None,
        }
        // Any other letter, and what is in no grammar of ours.
        .or_else(|| Some((Part::As(text.get(..first.len_utf8())?), first.len_utf8())))?;
        *rest = text.get(end..)?;
        Some(part)
    }

    fn text(&self) -> String {
        match self {
            Part::As(text) => (*text).to_owned(),
            Part::Any(before) => format!("{before}*_"),
        }
    }
}

fn constant(text: &str) -> Option<(Part<'_>, usize)> {
    let digits = text.chars().skip(1).take_while(|c| matches!(c, '0'..='9' | 'a'..='f')).count();
    let end = digits + 2;
    (digits > 0 && text.get(..end)?.ends_with('_')).then_some((Part::As(text.get(..end)?), end))
}

/// A number, `_` where the name begins with one or a digit, and so many bytes.
fn identifier(text: &str) -> Option<(Part<'_>, usize)> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let length: usize = text.get(..digits)?.parse().ok()?;
    let begins = digits + usize::from(text.get(digits..)?.starts_with('_'));
    let end = begins.checked_add(length)?;
    Some((Part::As(text.get(..end)?), end))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_builds_may_be_anything() {
        for (name, expected) in [
            // A function, and one in which letters of identifiers look like the grammar's.
            ("_RNvCsjrHSEGnQ3l9_3std4main", "_RNvCs*_3std4main"),
            ("_RNvNtCs4X_3foo8BarCs9Z_3baz", "_RNvNtCs*_3foo8BarCs9Z_3baz"),
            ("_RNvNtCs4X_3foo5B1_Cs3baz", "_RNvNtCs*_3foo5B1_Cs3baz"),
            // A generic one, made in a crate that is named, and in one that was named before.
            ("_RINvMNtCsgEm_4core3stre12strip_prefixcECs9_11toml_parser", "_RINvMNtCs*_4core3stre12strip_prefixcE*"),
            (
                "_RNvMs3_NtCslN_5alloc7raw_vecINtB5_6RawVecNtCsh5_3foo3BarE8grow_oneB1I_",
                "_RNvMs3_NtCs*_5alloc7raw_vecINtB*_6RawVecNtCs*_3foo3BarE8grow_one*",
            ),
            // An array's length, which begins with digits.
            ("_RINvCsa_3foo3barAhKj10_ECsb_3baz", "_RINvCs*_3foo3barAhKj10_E*"),
            ("_RINvCsa_3foo3barKB2_E", "_RINvCs*_3foo3barKB*_E"),
            ("_RINvCsa_3foo3barATB2_B3_Ej2_EB1e_", "_RINvCs*_3foo3barATB*_B*_Ej2_E*"),
            // A method of a number.
            ("_RNvMNtCsa_4core3numj7add_two", "_RNvMNtCs*_4core3numj7add_two"),
            // A closure and its number.
            ("_RNCNvCsa_3foo3bars0_0B3_", "_RNCNvCs*_3foo3bars0_0*"),
            ("_RNvCsa_3foo4_1ab", "_RNvCs*_3foo4_1ab"),
            // No name of Rust's, or none that is whole.
            ("main", "main"),
            ("ring_core_0_17_14__Cs1_", "ring_core_0_17_14__Cs1_"),
            ("_R99x", "_R99x"),
        ] {
            assert_eq!(pattern(name), expected, "{name}");
        }
    }
}
