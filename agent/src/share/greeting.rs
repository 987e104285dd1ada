//! The first exchange with a file server, before any log-on: which protocol it speaks, whether it encrypts, and what
//! time it has. SMB: the NEGOTIATE command of \[MS-SMB2\] 2.2.3 and 2.2.4, behind the length of \[MS-SMB2\] 2.1. NFS: the
//! NULL procedure of RFC 7530 in the call of RFC 5531, behind the record mark of RFC 5531 11.

use serde::{Deserialize, Serialize};

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The protocol that it chose, for people: `SMB 3.1.1`, `NFS 4`.
    pub protocol: String,
    /// Whether it is one that the agent mounts with.
    pub wanted: bool,
    /// Whether it encrypts; nothing where the protocol does not say (NFS).
    pub encrypts: Option<bool>,
    /// Its clock, in milliseconds since 1970; nothing where the protocol does not say.
    pub time_ms: Option<i64>,
}

/// Longest answer that is taken.
pub const LONGEST: usize = 64 * 1024;

/// Milliseconds between 1601, where the server's clock starts, and 1970.
const EPOCH_MS: i64 = 11_644_473_600_000;

const AES: [u16; 4] = [2, 1, 4, 3];
const DIALECTS: [u16; 5] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311];

/// The request for SMB: all dialects from 2.0.2 to 3.1.1, so that a server that knows only old ones says which.
pub fn ask_smb(salt: [u8; 32]) -> Vec<u8> {
    let mut m = Vec::with_capacity(256);
    let u16s = |m: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| m.extend(v.to_le_bytes()));
    // Header: magic, size, credit charge, status, command NEGOTIATE, credits; the rest is nought.
    m.extend(b"\xfeSMB");
    u16s(&mut m, &[64, 0, 0, 0, 0, 1]);
    m.resize(64, 0);
    // Size, dialects, signing enabled, reserved; then that we can encrypt, and a client that is nobody.
    u16s(&mut m, &[36, 5, 1, 0]);
    m.extend(0x40u32.to_le_bytes());
    m.extend(&salt[..16]);
    m.extend(112u32.to_le_bytes());
    u16s(&mut m, &[2, 0]);
    u16s(&mut m, &DIALECTS);
    m.resize(112, 0);
    // Integrity before the log-on: SHA-512 with a salt.
    u16s(&mut m, &[1, 38, 0, 0, 1, 32, 1]);
    m.extend(salt);
    m.resize(160, 0);
    // Ciphers: AES-128-GCM, AES-128-CCM, AES-256-GCM, AES-256-CCM.
    u16s(&mut m, &[2, 10, 0, 0, 4]);
    u16s(&mut m, &AES);
    framed(0, m)
}

/// The request for NFS 4.
pub fn ask_nfs(id: u32) -> Vec<u8> {
    let words: [u32; 10] = [id, 0, 2, 100_003, 4, 0, 0, 0, 0, 0];
    framed(0x8000_0000, words.iter().flat_map(|w| w.to_be_bytes()).collect())
}

fn framed(flags: u32, message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(0) | flags;
    length.to_be_bytes().into_iter().chain(message).collect()
}

/// How many bytes follow the first four of an answer; nothing when that is not the beginning of one.
pub fn length(first: [u8; 4], smb: bool) -> Option<usize> {
    let mark = u32::from_be_bytes(first);
    let length = if smb {
        (mark <= 0x00ff_ffff).then_some(mark)?
    } else {
        (mark & 0x8000_0000 != 0).then_some(mark & 0x7fff_ffff)?
    };
    usize::try_from(length).ok().filter(|l| (4..=LONGEST).contains(l))
}

/// Reads an SMB server's answer, without the length before it.
///
/// # Errors
/// In words, what it is instead.
pub fn read_smb(answer: &[u8]) -> Result<Greeting, String> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    if answer.starts_with(b"\xffSMB") {
        return Err("it speaks only SMB 1".to_owned());
    }
    let parsed = || {
        (answer.starts_with(b"\xfeSMB") && u16_at(12)? == 0).then_some(())?;
        Some((u32_at(8)?, u16_at(64 + 4), u32_at(64 + 24)))
    };
    match parsed() {
        None => Err("what answers there is no SMB server".to_owned()),
        Some((0, Some(dialect), Some(capabilities))) => {
            let time = answer.get(64 + 40..64 + 48).and_then(|b| Some(i64::from_le_bytes(b.try_into().ok()?)));
            let encrypts =
                if dialect == 0x0311 { cipher(answer).is_some_and(|c| c != 0) } else { capabilities & 0x40 != 0 };
            let name = match dialect {
                0x0202 => "SMB 2.0.2",
                0x0210 => "SMB 2.1",
                0x0300 => "SMB 3.0",
                0x0302 => "SMB 3.0.2",
                0x0311 => "SMB 3.1.1",
                _ => "an unknown SMB",
            };
            Ok(Greeting {
                protocol: name.to_owned(),
                wanted: dialect == 0x0311,
                encrypts: Some(encrypts),
                time_ms: time.filter(|t| *t > 0).map(|t| t / 10_000 - EPOCH_MS),
            })
        }
        Some((status, ..)) => Err(format!("it refuses every SMB from 2.0.2 to 3.1.1 (status {status:#010x})")),
    }
}

/// The cipher that a 3.1.1 server chose: 0 for none.
fn cipher(answer: &[u8]) -> Option<u16> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(answer.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let count = u16_at(64 + 6)?;
    let mut at = usize::try_from(u32::from_le_bytes(answer.get(64 + 60..64 + 64)?.try_into().ok()?)).ok()?;
    for _ in 0..count.min(16) {
        let (kind, length) = (u16_at(at)?, usize::from(u16_at(at.checked_add(2)?)?));
        let data = at.checked_add(8)?;
        if kind == 2 {
            return u16_at(data.checked_add(2)?);
        }
        at = data.checked_add(length)?.checked_next_multiple_of(8)?;
    }
    None
}

/// Reads an NFS server's answer to the call `id`, without the record mark.
///
/// # Errors
/// In words, what it is instead.
pub fn read_nfs(answer: &[u8], id: u32) -> Result<Greeting, String> {
    let word = |i: usize| Some(u32::from_be_bytes(answer.get(i * 4..i * 4 + 4)?.try_into().ok()?));
    let no_server = || "what answers there is no NFS server".to_owned();
    if word(0) != Some(id) || word(1) != Some(1) {
        return Err(no_server());
    }
    if word(2) != Some(0) {
        return Err("it refuses calls from this VM".to_owned());
    }
    let padded =
        usize::try_from(word(4).unwrap_or(u32::MAX)).ok().filter(|l| *l <= 400).ok_or_else(no_server)?.div_ceil(4);
    match word(5 + padded) {
        Some(0) => Ok(Greeting { protocol: "NFS 4".to_owned(), wanted: true, encrypts: None, time_ms: None }),
        Some(1) => Err("a server runs there and it is none for NFS".to_owned()),
        Some(2) => Err("it speaks no NFS 4".to_owned()),
        _ => Err(no_server()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Samba 4.22 answers, built by the document: dialect, capabilities, time, contexts.
    fn smb(dialect: u16, capabilities: u32, cipher: Option<u16>) -> Vec<u8> {
        let mut m = vec![0u8; 128];
        m[..4].copy_from_slice(b"\xfeSMB");
        m[4] = 64;
        m[64] = 65;
        m[68..70].copy_from_slice(&dialect.to_le_bytes());
        m[88..92].copy_from_slice(&capabilities.to_le_bytes());
        // 2026-03-04T12:00:00Z
        let time: i64 = (1_772_625_600_000 + EPOCH_MS) * 10_000;
        m[104..112].copy_from_slice(&time.to_le_bytes());
        let mut contexts: Vec<(u16, Vec<u8>)> = vec![(1, vec![1, 0, 32, 0, 1, 0])];
        contexts[0].1.extend([7; 32]);
        contexts.extend(cipher.map(|c| (2, [&1u16.to_le_bytes()[..], &c.to_le_bytes()].concat())));
        m[70..72].copy_from_slice(&u16::try_from(contexts.len()).unwrap().to_le_bytes());
        m[124..128].copy_from_slice(&128u32.to_le_bytes());
        for (kind, data) in contexts {
            m.resize(m.len().next_multiple_of(8), 0);
            m.extend(kind.to_le_bytes());
            m.extend(u16::try_from(data.len()).unwrap().to_le_bytes());
            m.extend([0; 4]);
            m.extend(data);
        }
        m
    }

    #[test]
    fn the_request_is_as_the_document_says() {
        let ask = ask_smb([9; 32]);
        assert_eq!(length(ask[..4].try_into().unwrap(), true), Some(ask.len() - 4));
        let m = &ask[4..];
        assert_eq!(&m[..4], b"\xfeSMB");
        assert_eq!((m.len(), m[64], m[66], m[100], m[112], m[160]), (178, 36, 5, 2, 1, 2));
        assert_eq!(u32::from_le_bytes(m[92..96].try_into().unwrap()), 112, "where the contexts are");
        let nfs = ask_nfs(5);
        assert_eq!((nfs.len(), length(nfs[..4].try_into().unwrap(), false)), (44, Some(40)));
    }

    #[test]
    fn servers_answers() {
        for (answer, protocol, wanted, encrypts) in [
            (smb(0x0311, 0x2f, Some(2)), "SMB 3.1.1", true, true),
            (smb(0x0311, 0x2f, Some(0)), "SMB 3.1.1", true, false),
            (smb(0x0311, 0x2f, None), "SMB 3.1.1", true, false),
            (smb(0x0302, 0x40, None), "SMB 3.0.2", false, true),
            (smb(0x0210, 0, None), "SMB 2.1", false, false),
        ] {
            let greeting = read_smb(&answer).unwrap();
            assert_eq!(
                (greeting.protocol.as_str(), greeting.wanted, greeting.encrypts),
                (protocol, wanted, Some(encrypts))
            );
            assert_eq!(greeting.time_ms, Some(1_772_625_600_000));
        }
        let mut refused = smb(0, 0, None);
        refused[8..12].copy_from_slice(&0xc000_00bbu32.to_le_bytes());
        assert!(read_smb(&refused).unwrap_err().contains("0xc00000bb"));
        assert!(read_smb(b"\xffSMBr").unwrap_err().contains("SMB 1"));
        assert!(read_smb(b"SSH-2.0-OpenSSH").unwrap_err().contains("no SMB server"));
    }

    #[test]
    fn nfs_servers_answers() {
        let words = |w: &[u32]| w.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
        assert_eq!(read_nfs(&words(&[7, 1, 0, 0, 0, 0]), 7).unwrap().protocol, "NFS 4");
        assert!(read_nfs(&words(&[7, 1, 0, 0, 0, 2, 3, 3]), 7).unwrap_err().contains("no NFS 4"));
        assert!(read_nfs(&words(&[7, 1, 0, 0, 0, 1]), 7).unwrap_err().contains("none for NFS"));
        assert!(read_nfs(&words(&[7, 1, 1, 1, 1]), 7).unwrap_err().contains("refuses"));
        assert!(read_nfs(&words(&[8, 1, 0, 0, 0, 0]), 7).is_err(), "another call's");
        assert!(read_nfs(b"SSH-2.0", 7).unwrap_err().contains("no NFS server"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_says_is_too_much(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
            if magic && bytes.len() > 14 {
                bytes[..4].copy_from_slice(b"\xfeSMB");
                bytes[8..14].fill(0);
                if bytes.len() > 70 {
                    bytes[68..70].copy_from_slice(&0x0311u16.to_le_bytes());
                }
            }
            let _ = read_smb(&bytes);
            let _ = read_nfs(&bytes, 0);
        }
    }
}
