//! The kernel's own cache of server names. Its network file systems remember in a keyring where a name led; while that
//! is remembered they go back to the old address, whatever the name services say now (keyrings(7), and the vendor's page
//! on accounts that move: `keyctl clear` of `.dns_resolver`).

use std::io;

/// Makes the kernel ask again where names lead. That there is no such keyring means that nothing is remembered.
/// Needs CAP_SYS_ADMIN: the keyring is the kernel's, which lets root clear it (keyctl(2), `KEYCTL_CLEAR`).
///
/// # Errors
/// As of keyctl(2).
pub fn forget_names() -> io::Result<()> {
    match std::fs::read_to_string("/proc/keys") {
        Ok(text) => resolver(&text).map_or(Ok(()), clear),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// The serial number of the resolver's keyring, from `/proc/keys` (proc_keys(5)): the first field, in hexadecimal.
pub fn resolver(keys: &str) -> Option<u32> {
    keys.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(7) == Some(&"keyring") && fields.get(8).is_some_and(|d| *d == ".dns_resolver:");
        is_it.then(|| u32::from_str_radix(fields.first()?, 16).ok()).flatten()
    })
}

fn clear(serial: u32) -> io::Result<()> {
    const KEYCTL_CLEAR: libc::c_int = 7;
    // SAFETY: KEYCTL_CLEAR takes the keyring's number and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_CLEAR, serial) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_keyring_is_found() {
        // As Linux 6.12 shows it.
        let keys = "\
028f3bd0 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1
16ae5e70 I------     1 perm 1f030000     0     0 keyring   .dns_resolver: 1
27ca4a0b I--Q---     2 perm 3f010000     0     0 dns_resol host: 9
2f1c0b00 I--Q---     1 perm 1f3f0000  1001  1001 keyring   .dns_resolver_of_mine: empty
";
        assert_eq!(resolver(keys), Some(0x16ae_5e70));
        assert_eq!(resolver("16ae5e70 I------     1 perm 1f030000     0     0 keyring   .id_resolver: 1"), None);
        assert_eq!(resolver("nonsense"), None);
    }
}
