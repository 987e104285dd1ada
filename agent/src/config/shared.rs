//! `[[shared]]`: a section that may stand several times, once for each directory.

use super::fragment::{Fragment, Reader, describe};
use super::place::{Given, Mistake, Place, Places};
use super::value::Value;
use toml::Spanned;
use toml::de::DeValue;

/// The section.
pub(super) const NAME: &str = "shared";

/// One of them, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it begins.
    pub place: Place,
    /// The directory on the share.
    pub directory: Option<Given<String>>,
    /// The link in every home.
    pub link: Option<Given<String>>,
    /// Whose it is.
    pub group: Option<Given<String>>,
    /// Whether nobody can write to it.
    pub read_only: Option<Given<bool>>,
    /// Something in it could not be used, and has a mistake already.
    pub spoilt: bool,
}

/// Adds the place of every key that was given, by `shared[0].link` and the like.
pub(super) fn places(entries: &[Entry], places: &mut Places) {
    for (index, entry) in entries.iter().enumerate() {
        let texts = [("directory", &entry.directory), ("link", &entry.link), ("group", &entry.group)];
        let texts = texts.into_iter().filter_map(|(key, given)| Some((key, &given.as_ref()?.place)));
        for (key, place) in texts.chain(entry.read_only.as_ref().map(|given| ("read_only", &given.place))) {
            places.insert(format!("{NAME}[{index}].{key}"), place.clone());
        }
    }
}

impl Reader<'_> {
    /// Reads all of one file.
    pub(super) fn entries(&mut self, items: &[Spanned<DeValue<'_>>], fragment: &mut Fragment) -> Vec<Entry> {
        items.iter().filter_map(|item| self.entry(item, fragment)).collect()
    }

    fn entry(&mut self, item: &Spanned<DeValue<'_>>, fragment: &mut Fragment) -> Option<Entry> {
        let place = self.text.place(item.span().start);
        let DeValue::Table(table) = item.get_ref() else {
            let message =
                format!("`{NAME}` is a section, not {}: open each with `[[{NAME}]]`", describe(item.get_ref()));
            self.mistakes.push(Mistake::new(place, message));
            return None;
        };
        let mut entry = Entry { place, directory: None, link: None, group: None, read_only: None, spoilt: false };
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            if self.is_guess(key.span().start..value.span().end) {
                entry.spoilt = true;
                continue;
            }
            let before = self.mistakes.len();
            let full = format!("{NAME}.{}", key.get_ref());
            match key.get_ref().as_ref() {
                "directory" => entry.directory = self.given(&full, value),
                "link" => entry.link = self.given(&full, value),
                "group" => entry.group = self.given(&full, value),
                "read_only" => entry.read_only = self.given(&full, value),
                _ => {
                    let at = key.span().start;
                    self.unknown(&full, value.get_ref(), self.text.place(at), at, fragment);
                }
            }
            entry.spoilt |= self.mistakes.len() > before;
        }
        Some(entry)
    }

    fn given<T: Value>(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Given<T>> {
        let read = T::read(key, value, self.text, &mut self.mistakes)?;
        Some(Given { value: read, place: self.text.place(value.span().start) })
    }
}
