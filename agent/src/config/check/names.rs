//! Names of users and groups, as lists of them are written.

/// The most bytes of a name. Local names end at 32; a directory service's are longer, with their domain.
const LONGEST: usize = 128;

/// A group's name, without the `@` that it has in lists of users and groups.
pub(super) fn group(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('@').unwrap_or(text);
    user_or_group(&format!("@{name}")).map(|_| name.to_owned())
}

/// A user's name, or a group's behind `@`. Only what no system would take for a name is refused: names from directory
/// services look like `alice@contoso.com` and `CONTOSO\alice`, and their groups have spaces.
pub(super) fn user_or_group(text: &str) -> Result<String, String> {
    let (what, name) = match text.strip_prefix('@') {
        Some(name) => ("a group", name),
        None => ("a user", text),
    };
    let wrong = |reason: &str| Err(format!("has {text:?}, which cannot be {what}'s name: {reason}"));
    if name.is_empty() {
        return wrong("it is empty");
    }
    if name.len() > LONGEST {
        return Err(format!("has a name of {} bytes; the longest can have {LONGEST}", name.len()));
    }
    if matches!(name, "." | "..") {
        return wrong("it means a directory");
    }
    if name.starts_with('-') {
        return wrong("it begins with a dash");
    }
    if name.trim() != name {
        return wrong("it begins or ends with a space");
    }
    if name.contains(',') || (what == "a user" && name.contains(char::is_whitespace)) {
        return wrong("give each name its own item");
    }
    if name.contains(['*', '?']) {
        return wrong("patterns are not known here; name a group with @");
    }
    match name.chars().find(|c| !c.is_alphanumeric() && !"._-@\\+$ ".contains(*c)) {
        Some(c) => wrong(&format!("it has {c:?}")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(200);
        let good = [
            "alice",
            "_svc",
            "a.b-c_d",
            "alice@contoso.com",
            "CONTOSO\\alice",
            "machine$",
            "bücher",
            "1001",
            "@users",
            "@domain users",
            "@CONTOSO\\data team",
        ];
        let bad = [
            "",
            "@",
            ".",
            "..",
            "@..",
            "a/b",
            "../a",
            "alice bob",
            "alice,bob",
            " alice",
            "alice\t",
            "@ users",
            "-rf",
            "a:b",
            "a\nb",
            "a\0b",
            "*",
            "st?dent",
            "a|b",
            &long,
        ];
        for name in good {
            assert_eq!(user_or_group(name).as_deref(), Ok(name));
        }
        for name in bad {
            assert!(user_or_group(name).is_err(), "{name:?}");
        }
    }
}
