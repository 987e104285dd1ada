//! A file system in user space that answers its mount and then nothing ever again, as a dead server or a spiteful user
//! has it: `silent DIRECTORY UID`. Whoever touches it waits; a process that waits cannot be killed. It ends with this
//! process.

use rustix::mount::{MountFlags, mount};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// `FUSE_INIT` of linux/fuse.h.
const INIT: u32 = 26;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(uid)) = (arguments.next(), arguments.next()) else {
        return Err("usage: silent DIRECTORY UID".into());
    };
    let mut device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id={uid},group_id={uid}", device.as_raw_fd());
    let options = std::ffi::CString::new(options)?;
    mount("silent", directory, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
    let mut request = vec![0; 1 << 20];
    loop {
        // Reading takes a request over: from then on, whoever asked can only wait.
        let n = device.read(&mut request)?;
        let word = |at: usize| request.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        if n >= 40 && word(4) == Some(INIT) {
            let unique = request.get(8..16).unwrap_or_default();
            device.write_all(&initialized(unique))?;
        }
    }
}

/// `fuse_out_header` and `fuse_init_out` of linux/fuse.h, protocol 7.31.
fn initialized(unique: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for word in [7, 31, 0, 0, 0, 4096] {
        body.extend_from_slice(&u32::to_ne_bytes(word));
    }
    body.resize(64, 0);
    let length = u32::try_from(16 + body.len()).unwrap_or_default();
    let mut out = length.to_ne_bytes().to_vec();
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(unique);
    out.append(&mut body);
    out
}
