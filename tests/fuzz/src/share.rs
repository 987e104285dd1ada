//! The share: what is mounted, keys, what servers say.

use crate::config::share_of;
use crate::{assert_sentence, parts};
use dsvm_agent::share::{credentials, fetch, greeting, observe, options};
use dsvm_agent::sys::mountinfo::{self, Mount};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A table of mounts, and behind a line of hyphens a configuration.
pub(crate) fn mountinfo(data: &[u8]) {
    let [table, configuration] = parts::<2>(data);
    let Ok(mounts) = mountinfo::parse(table) else { return };
    assert!(mounts.len() <= table.split(|b| *b == b'\n').count());
    let again: Vec<u8> = mounts.iter().flat_map(line).collect();
    assert_eq!(mountinfo::parse(&again).as_deref(), Ok(&mounts[..]), "what was read can be written and read again");
    let Some(share) = share_of(configuration) else { return };
    let mounted = observe::mounted(&share, &mounts);
    for user in &mounted.users {
        assert!(user.directory.is_relative(), "{user:?}");
        if let Some(whom) = options::whom(&user.mount) {
            options::differences(&share, whom, &user.mount);
        }
        options::below(&share, &user.mount);
    }
    for mount in mounts.iter().take(20) {
        observe::place(&mount.target, &mounts);
    }
    observe::servers(&mounts);
}

/// A mount as the kernel shows it.
fn line(mount: &Mount) -> Vec<u8> {
    let escaped = |text: &OsStr| -> Vec<u8> {
        let byte = |b: &u8| match b {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{b:03o}").into_bytes(),
            plain => vec![*plain],
        };
        text.as_bytes().iter().flat_map(byte).collect()
    };
    let Mount { id, parent, device, attributes, fs_type, options, .. } = mount;
    let mut out = format!("{id} {parent} {device} ").into_bytes();
    out.extend(escaped(mount.root.as_os_str()));
    out.push(b' ');
    out.extend(escaped(mount.target.as_os_str()));
    out.extend(format!(" {attributes} - {fs_type} ").into_bytes());
    out.extend(escaped(&mount.source));
    out.extend(format!(" {options}\n").into_bytes());
    out
}

/// A credentials file.
pub(crate) fn credentials(data: &[u8]) {
    let Ok(file) = std::str::from_utf8(data) else { return };
    match credentials::parse(file) {
        Ok(keys) => {
            let second = keys.password2.iter().map(|key| format!("password2={}\n", key.as_str()));
            let first = format!("username={}\npassword={}\n", keys.username.as_str(), keys.password.as_str());
            let again = credentials::parse(&(first + &second.collect::<String>()));
            assert!(again.is_ok_and(|again| again == keys), "it reads the same when it is written again");
            assert!(keys.options().len() <= 3);
            let shown = format!("{keys:?}");
            let key = keys.password.as_str();
            assert!(key.len() < 20 || !shown.contains(key), "nothing shows a key");
        }
        // A fixed sentence with a number: nothing of the file can be in it.
        Err(why) => assert_sentence(&why, 80),
    }
}

/// What the process that asks Key Vault hands over.
pub(crate) fn vault(data: &[u8]) {
    match fetch::parse(data) {
        Ok(keys) => {
            assert!((1..=2).contains(&keys.len()));
            assert!(keys.iter().all(|key| key.bytes().all(|b| b.is_ascii_graphic())), "no key can end its line");
        }
        Err(why) => assert_sentence(&why, 1300),
    }
}

/// The first answer of whatever listens at the server's port: its length, then itself.
pub(crate) fn greeting(data: &[u8]) {
    let Some((first, answer)) = data.split_first_chunk::<4>() else { return };
    for smb in [true, false] {
        assert!(greeting::length(*first, smb).is_none_or(|length| (4..=1 << 20).contains(&length)));
    }
    for told in [greeting::read_smb(answer), greeting::read_nfs(answer, 7), greeting::read_smb(data)] {
        match told {
            Ok(greeting) => assert_sentence(&greeting.protocol, 20),
            Err(why) => assert_sentence(&why, 100),
        }
    }
}
