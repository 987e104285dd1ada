//! Where the key of an SMB share comes from: one source, and what its names may be.

use super::{Findings, excused, paths};
use crate::config::fragment::Fragment;
use crate::config::place::Place;
use crate::config::settings::{Credentials, KeyVault};
use crate::sys::http::Url;

/// The keys that name a source.
pub(super) const KEYS: [&str; 4] = [
    "share.credentials.file",
    "share.credentials.systemd_credential",
    "share.credentials.key_vault.vault",
    "share.credentials.key_vault.secret",
];

/// The sources that are given, each by one of its keys, in the order of [`KEYS`].
pub(super) fn given(fragment: &Fragment) -> Vec<(&'static str, &Place)> {
    let vault = fragment.key_vault.as_ref().map(|g| (KEYS[2], &g.place));
    let secret = fragment.key_vault_secret.as_ref().map(|g| (KEYS[3], &g.place));
    [
        fragment.credentials_file.as_ref().map(|g| (KEYS[0], &g.place)),
        fragment.credentials_systemd.as_ref().map(|g| (KEYS[1], &g.place)),
        vault.or(secret),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The one source; nothing when there is none, or when it has a mistake, which is noted.
pub(super) fn read(fragment: &Fragment, findings: &mut Findings) -> Option<Credentials> {
    let sources = given(fragment);
    if let [(first, _), more @ ..] = &sources[..] {
        for (key, place) in more {
            findings.mistake(place, format!("{key} is given besides {first}: the key comes from one place"));
        }
    }
    let file = findings.read(KEYS[0], fragment.credentials_file.as_ref(), |text| paths::absolute(text));
    let systemd = findings.read(KEYS[1], fragment.credentials_systemd.as_ref(), |text| credential(text));
    let vault = key_vault(fragment, findings);
    file.map(|f| Credentials::File(f.value))
        .or(systemd.map(|name| Credentials::Systemd(name.value)))
        .or(vault.map(Credentials::KeyVault))
}

/// A credential's name (systemd.exec(5)): a file's name, without directories.
fn credential(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    match text {
        "" => Err("is empty: write the name that LoadCredential= gives it".to_owned()),
        _ if text.contains('/') => {
            Err("is a name and no path: write the name that LoadCredential= gives it".to_owned())
        }
        "." | ".." => Err("is a credential's name, which is no directory's".to_owned()),
        _ if text.len() <= 255 && text.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no credential's name: letters, digits, `.`, `_` and `-`")),
    }
}

fn key_vault(fragment: &Fragment, findings: &mut Findings) -> Option<KeyVault> {
    const ALL: [&str; 4] = [
        "share.credentials.key_vault.vault",
        "share.credentials.key_vault.secret",
        "share.credentials.key_vault.secret2",
        "share.credentials.key_vault.client_id",
    ];
    let opened = fragment.tables.get("share.credentials.key_vault")?;
    for (key, missing) in [(ALL[0], fragment.key_vault.is_none()), (ALL[1], fragment.key_vault_secret.is_none())] {
        if missing && !excused(fragment, key) {
            findings.mistake(opened, format!("[share.credentials] key_vault has no {key}"));
        }
    }
    let vault = findings.read(ALL[0], fragment.key_vault.as_ref(), |text| vault(text));
    let secret = findings.read(ALL[1], fragment.key_vault_secret.as_ref(), |text| secret(text));
    // An empty text is how the example is written, and means none.
    let optional = |text: &str, read: fn(&str) -> Result<String, String>| match text {
        "" => Ok(None),
        some => read(some).map(Some),
    };
    let secret2 = findings.read(ALL[2], fragment.key_vault_secret2.as_ref(), |text| optional(text, self::secret));
    let client_id = findings.read(ALL[3], fragment.key_vault_client_id.as_ref(), |text| optional(text, identity));
    Some(KeyVault {
        vault: vault?.value,
        secret: secret?.value,
        secret2: secret2.and_then(|g| g.value),
        client_id: client_id.and_then(|g| g.value),
    })
}

/// A vault's name (the vendor's "Naming rules and restrictions": 3 to 24 letters, digits and hyphens), or its address.
fn vault(text: &str) -> Result<String, String> {
    if text.contains("://") {
        let url = Url::parse(text).map_err(|e| e.to_string())?;
        let bare = matches!(url.path(), "" | "/") && !text.contains(['?', '#']);
        return if bare {
            Ok(text.trim_end_matches('/').to_owned())
        } else {
            Err("is a vault's address without a path".to_owned())
        };
    }
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && (3..=24).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no vault: write its name, such as \"contoso-kv\", or its address with https://"))
}

/// A secret's name (as above: 1 to 127 letters, digits and hyphens). What is no name may be the secret itself, and is not
/// repeated.
fn secret(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain && (1..=127).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("is the name of a secret: letters, digits and hyphens. The key itself belongs in the vault alone".to_owned())
}

/// The client id of an identity: a GUID, in small letters.
pub(super) fn identity(text: &str) -> Result<String, String> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("is the client id of a managed identity, such as 3f2a1c5e-0000-4000-8000-000000000000, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["share.key", "share-key_2"] {
            assert!(credential(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "/run/x", "a b", "a:b"] {
            assert!(credential(bad).is_err(), "{bad}");
        }
        for good in [
            "contoso-kv",
            "https://contoso-kv.vault.azure.cn",
            "https://contoso-kv.vault.azure.net/",
            "http://127.0.0.1:8080",
        ] {
            assert!(vault(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "kv",
            "contoso_kv",
            "http://contoso-kv.vault.azure.net",
            "https://kv.vault.azure.net/secrets/x",
            "contoso-kv.vault.azure.net",
        ] {
            assert!(vault(bad).is_err(), "{bad}");
        }
        assert_eq!(identity("3F2A1C5E-0000-4000-8000-000000000000").unwrap(), "3f2a1c5e-0000-4000-8000-000000000000");
        for bad in ["my-identity", "", "3f2a1c5e000040008000000000000000", "3f2a1c5e-0000-4000-8000-00000000000g"] {
            assert!(identity(bad).is_err(), "{bad}");
        }
        let key = "dGhpcyBpcyBhIGtleQ==";
        assert!(!secret(key).unwrap_err().contains("dGhp"), "a key that stands in the wrong place is not repeated");
        assert!(secret("share-key-2").is_ok() && secret("").is_err());
    }

    #[test]
    fn the_token_is_for_the_vaults_own_cloud() {
        for (vault, url, audience) in [
            ("contoso-kv", "https://contoso-kv.vault.azure.net", "https://vault.azure.net"),
            ("https://kv1.vault.azure.cn", "https://kv1.vault.azure.cn", "https://vault.azure.cn"),
            (
                "https://kv1.vault.usgovcloudapi.net",
                "https://kv1.vault.usgovcloudapi.net",
                "https://vault.usgovcloudapi.net",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "https://vault.azure.net"),
        ] {
            let vault = KeyVault { vault: vault.to_owned(), secret: "s".to_owned(), secret2: None, client_id: None };
            assert_eq!((vault.url().as_str(), vault.audience().as_str()), (url, audience));
        }
    }
}
