//! The source of the share: which kind it is, and what it names.

use super::paths;
use crate::config::settings::Source;
use std::net::Ipv6Addr;

/// The forms that a source can have.
pub(super) const FORMS: &str =
    "\"//host/share\" for SMB, \"host:/path\" for NFS, or \"/directory\" for a local directory";

/// Reads a source.
pub(super) fn parse(text: &str) -> Result<Source, String> {
    let no_share = |what: &str| Err(format!("{what}: write {FORMS}"));
    if text.trim().is_empty() {
        return no_share("is empty");
    }
    if text.trim() != text {
        return Err("begins or ends with a space".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("has a control character".to_owned());
    }
    if names_somebody(text) {
        return Err(
            "has a name or a key before an @: those belong in the file that share.credentials.file names".to_owned()
        );
    }
    if text.starts_with('\\') {
        return Err(format!("is written with slashes: \"{}\"", text.replace('\\', "/")));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match (scheme, rest.split_once('/')) {
            ("smb" | "cifs", Some(_)) => Err(format!("is no URL: write \"//{rest}\"")),
            ("http" | "https", Some(_)) => Err(format!("is no URL: for SMB, write \"//{rest}\"")),
            ("nfs", Some((host, path))) => Err(format!("is no URL: write \"{host}:/{path}\"")),
            _ => no_share("is no URL"),
        };
    }
    if let Some(rest) = text.strip_prefix("//") {
        let Some((host, share)) = rest.split_once('/') else {
            return no_share(&format!("names a server but no share: {text:?}"));
        };
        let share = share.strip_suffix('/').unwrap_or(share);
        if share.is_empty() {
            return no_share(&format!("names a server but no share: {text:?}"));
        }
        for component in share.split('/') {
            paths::safe_on_smb(component).map_err(|reason| format!("{text:?} {reason}"))?;
        }
        return Ok(Source::Smb { host: server(host)?, share: share.to_owned() });
    }
    if text.starts_with('/') {
        return Ok(Source::Directory(paths::absolute(text)?));
    }
    // An IPv6 address is full of colons: its bracket ends it.
    let after_host = text.find(']').unwrap_or(0);
    let Some((host, export)) = text[after_host..].find(':').map(|colon| text.split_at(after_host + colon)) else {
        return no_share(&format!("is no share: {text:?}"));
    };
    let export = &export[1..];
    if !export.starts_with('/') {
        return no_share(&format!("is no share: {text:?}"));
    }
    let host = server(host)?;
    let export = if export == "/" { export } else { export.strip_suffix('/').unwrap_or(export) };
    let plain = export == "/" || export[1..].split('/').all(|component| !matches!(component, "" | "." | ".."));
    if !plain {
        return Err(format!("{text:?} has an empty component, `.` or `..` in its path"));
    }
    Ok(Source::Nfs { host, export: export.to_owned() })
}

/// Whether a name, and perhaps a key, stands before the server. Then nothing of the text may be repeated.
fn names_somebody(text: &str) -> bool {
    let local = text.starts_with('/') && !text.starts_with("//");
    let behind_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let server = behind_scheme.trim_start_matches(['/', '\\']).split(['/', '\\']).next().unwrap_or_default();
    !local && server.contains('@')
}

/// A server's name or address. An IPv6 address stands in brackets, and loses them.
fn server(text: &str) -> Result<String, String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(address.to_owned()),
            Err(_) => Err(format!("names a server that is no IPv6 address: {address:?}")),
        };
    }
    if text.contains(':') {
        return Err(format!(
            "names a server that is no name: {text:?}; a port is share.port, an IPv6 address stands in brackets"
        ));
    }
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    // A trailing dot makes a name absolute.
    if text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(good) {
        return Ok(text.to_owned());
    }
    Err(format!("names a server that is no name or address: {text:?}; write {FORMS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smb(host: &str, share: &str) -> Source {
        Source::Smb { host: host.to_owned(), share: share.to_owned() }
    }

    fn nfs(host: &str, export: &str) -> Source {
        Source::Nfs { host: host.to_owned(), export: export.to_owned() }
    }

    #[test]
    fn the_three_forms() {
        let azure = "contosods.file.core.windows.net";
        let table = [
            ("//contosods.file.core.windows.net/dsvmshare", smb(azure, "dsvmshare")),
            ("//contosods.file.core.windows.net/dsvmshare/", smb(azure, "dsvmshare")),
            ("//10.0.0.4/share/a directory/b", smb("10.0.0.4", "share/a directory/b")),
            ("//[fd00::1]/share$", smb("fd00::1", "share$")),
            ("contosods.file.core.windows.net:/contosods/dsvmshare", nfs(azure, "/contosods/dsvmshare")),
            ("host:/", nfs("host", "/")),
            ("host:/a/", nfs("host", "/a")),
            ("[fd00::1]:/a", nfs("fd00::1", "/a")),
            ("/srv/share", Source::Directory("/srv/share".into())),
            ("/srv//share/", Source::Directory("/srv/share".into())),
            ("/srv/a:/b", Source::Directory("/srv/a:/b".into())),
        ];
        for (text, expected) in table {
            let read = parse(text);
            assert_eq!(read.as_ref(), Ok(&expected), "{text}");
            assert_eq!(parse(&expected.to_string()), Ok(expected), "the display of {text}");
        }
    }

    #[test]
    fn what_is_no_share_says_what_to_write() {
        let table = [
            ("", FORMS),
            (" ", FORMS),
            ("share", FORMS),
            ("./share", FORMS),
            ("~/share", FORMS),
            ("host:share", FORMS),
            ("host:", FORMS),
            (":/share", FORMS),
            ("//host", FORMS),
            ("//host/", FORMS),
            ("///share", FORMS),
            ("//", FORMS),
            ("/", "file system"),
            ("C:\\share", FORMS),
            ("ftp://host/share", FORMS),
            ("\\\\host\\share", "\"//host/share\""),
            ("smb://host/share", "\"//host/share\""),
            ("https://host/share", "\"//host/share\""),
            ("nfs://host/a/b", "\"host:/a/b\""),
            ("//host:445/share", "share.port"),
            ("//host name/share", FORMS),
            ("//-host/share", FORMS),
            ("//[fd00::zz]/share", "no IPv6 address"),
            ("fd00::1:/share", FORMS),
            ("//host/share//a", "empty"),
            ("//host/share/../other", ".."),
            ("//host/sh|are", "|"),
            ("host:/a/../b", ".."),
            ("host:/a//b", "empty"),
            ("/srv/../share", ".."),
            ("host:/a\nb", "control"),
            ("//host/share ", "space"),
        ];
        for (text, says) in table {
            let message = parse(text).expect_err(text);
            assert!(message.contains(says), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_key_in_the_source_is_not_repeated() {
        for text in ["//user:S3cret@host/share", "smb://user:S3cret@host/share", "S3cret@host:/a", "\\\\S3cret@host\\a"]
        {
            let message = parse(text).expect_err(text);
            assert!(message.contains("credentials") && !message.contains("S3cret"), "{text}: {message}");
        }
    }

    #[test]
    fn an_at_sign_in_a_path_is_no_key() {
        assert!(parse("/srv/team@contoso").is_ok());
        assert!(parse("//host/share/team@contoso").is_ok());
    }
}
