//! From a TOML value to the type of a key, or a mistake that says what to write instead.

use super::fragment::describe;
use super::place::{Given, Mistake, Text};
use super::settings::{Enabled, Isolation, MountWhen, Protect};
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// What a key can be read as.
pub(super) trait Value: Sized {
    /// The value of `key`. Nothing when it cannot be used; `mistakes` has the reason then.
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self>;
}

/// Notes that `key` wants something else than it has.
fn wrong_type<T>(
    key: &str,
    wanted: &str,
    value: &Spanned<DeValue<'_>>,
    text: &Text<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let message = format!("{key} wants {wanted}, not {}", describe(value.get_ref()));
    mistakes.push(Mistake::new(text.place(value.span().start), message));
    None
}

impl Value for String {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(read) => Some(read.to_string()),
            _ => wrong_type(key, "a text in quotes", value, text, mistakes),
        }
    }
}

impl Value for bool {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(read) => Some(*read),
            _ => wrong_type(key, "true or false, without quotes", value, text, mistakes),
        }
    }
}

impl Value for u16 {
    /// A TCP port: every key of this type is one.
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let wanted = "a whole number from 1 to 65535";
        let DeValue::Integer(read) = value.get_ref() else {
            return wrong_type(key, wanted, value, text, mistakes);
        };
        match u16::from_str_radix(read.as_str(), read.radix()) {
            Ok(port) if port != 0 => Some(port),
            _ => {
                let message = format!("{key} wants {wanted}");
                mistakes.push(Mistake::new(text.place(value.span().start), message));
                None
            }
        }
    }
}

impl Value for f64 {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let read = match value.get_ref() {
            DeValue::Integer(read) => i32::from_str_radix(read.as_str(), read.radix()).ok().map(f64::from),
            DeValue::Float(read) => read.as_str().parse().ok().filter(|read: &f64| read.is_finite()),
            _ => None,
        };
        read.or_else(|| wrong_type(key, "a number, such as 0.05", value, text, mistakes))
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Value for Size {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let wanted = "a size, such as \"512MiB\" or \"2GiB\"";
        let DeValue::String(read) = value.get_ref() else {
            return wrong_type(key, wanted, value, text, mistakes);
        };
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let parsed = units.iter().find_map(|(unit, shift)| {
            let number: u64 = read.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift).filter(|_| number > 0)
        });
        if parsed.is_none() {
            let message = format!("{key} is no size: {read:?}; write \"512MiB\" or \"2GiB\"");
            mistakes.push(Mistake::new(text.place(value.span().start), message));
        }
        parsed.map(Size)
    }
}

impl Value for Vec<Given<String>> {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            return wrong_type(key, "a list of texts, such as [\"one\", \"two\"]", value, text, mistakes);
        };
        let before = mistakes.len();
        let read = items
            .iter()
            .filter_map(|item| {
                let value = String::read(&format!("each item of {key}"), item, text, mistakes)?;
                Some(Given { value, place: text.place(item.span().start) })
            })
            .collect();
        (mistakes.len() == before).then_some(read)
    }
}

/// Reads one of a few words.
fn word<T: Copy>(
    words: &[(&str, T)],
    key: &str,
    value: &Spanned<DeValue<'_>>,
    text: &Text<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let wanted = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    let DeValue::String(read) = value.get_ref() else {
        return wrong_type(key, &wanted, value, text, mistakes);
    };
    let found = words.iter().find(|(word, _)| *word == read.as_ref()).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let message = format!("{key} is {wanted}, not {read:?}");
        mistakes.push(Mistake::new(text.place(value.span().start), message));
    }
    found
}

impl Value for Isolation {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        word(&[("per-user", Isolation::PerUser), ("open", Isolation::Open)], key, value, text, mistakes)
    }
}

impl Value for MountWhen {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        word(&[("on-presence", MountWhen::OnPresence), ("always", MountWhen::Always)], key, value, text, mistakes)
    }
}

impl Value for Enabled {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        word(&[("auto", Enabled::Auto), ("on", Enabled::On), ("off", Enabled::Off)], key, value, text, mistakes)
    }
}

impl Value for Protect {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let words = [("in-use", Protect::InUse), ("scale-in", Protect::ScaleIn), ("off", Protect::Off)];
        word(&words, key, value, text, mistakes)
    }
}

impl Value for Duration {
    fn read(key: &str, value: &Spanned<DeValue<'_>>, text: &Text<'_>, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let unit = "has no unit: write \"30m\" or \"90s\"";
        let message = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => format!("{key} {unit}"),
            DeValue::String(read) => match humantime::parse_duration(read) {
                Ok(read) => return Some(read),
                Err(_) if read.trim().parse::<f64>().is_ok() => format!("{key} {unit}"),
                Err(_) => format!("{key} is no duration: {read:?}; write \"30m\", \"90s\" or \"1h 30m\""),
            },
            _ => return wrong_type(key, "a duration, such as \"30m\" or \"90s\"", value, text, mistakes),
        };
        mistakes.push(Mistake::new(text.place(value.span().start), message));
        None
    }
}
