//! The file server: a guest with the share, over SMB as strict as the real one, over NFS if asked, and with faults.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::control::quoted;
use crate::guest::Guest;
use crate::image::{Image, Suite};
use crate::scenario::Scenario;
use crate::state::Recipe;

/// The storage account: the user name of the share, and the first part of the server's name.
pub const ACCOUNT: &str = "contosods";

/// The name of the server, as users of the share write it.
pub const HOST: &str = "contosods.file.core.windows.net";

/// The name of the share.
pub const SHARE: &str = "dsvmshare";

/// The account's first key: of the real length, and worth nothing.
pub const KEY: &str = "dGhpcyBrZXkgb3BlbnMgbm90aGluZyBidXQgdGhlIHNoYXJlIG9mIGEgdGVzdCBndWVzdCwgcmVhbGx5IC0gMQ==";

/// Another key, for changing to.
pub const KEY2: &str = "dGhpcyBrZXkgb3BlbnMgbm90aGluZyBidXQgdGhlIHNoYXJlIG9mIGEgdGVzdCBndWVzdCwgcmVhbGx5IC0gMg==";

/// Where the server keeps what is on the SMB share.
const ROOT: &str = "/srv/share";

/// Where the server keeps what is on the NFS share: the path that clients mount, too.
const NFS_ROOT: &str = "/contosods/dsvmshare";

const SMB_CONF: &str = "[global]
server role = standalone server
server min protocol = SMB3_11
server max protocol = SMB3_11
server smb encrypt = required
map to guest = never
disable netbios = yes
smb ports = 445
load printers = no
disable spoolss = yes
[dsvmshare]
path = /srv/share
read only = no
valid users = contosods
force user = contosods
";

const NFS_CONF: &str = "[nfsd]
vers3 = n
vers4 = y
vers4.0 = n
vers4.1 = y
vers4.2 = n
";

const HTTP_UNIT: &str = "[Unit]
Description=Files for guests
[Service]
ExecStart=/usr/bin/python3 -m http.server 8080 --directory /srv/http
";

const PREPARE: &str = "set -e
useradd --system --no-create-home --shell /usr/sbin/nologin contosods
mkdir -p /srv/share /srv/http /contosods/dsvmshare
chown contosods: /srv/share
systemctl unmask smbd; systemctl start smbd http-files
modprobe sch_netem";

/// The guest that has the share. It is a [`Guest`] as well.
#[derive(Debug)]
pub struct FileServer(Guest);

impl Deref for FileServer {
    type Target = Guest;
    fn deref(&self) -> &Guest {
        &self.0
    }
}

impl DerefMut for FileServer {
    fn deref_mut(&mut self) -> &mut Guest {
        &mut self.0
    }
}

impl FileServer {
    pub(crate) fn start(scenario: &Scenario) -> Self {
        let image = Image::of(Suite::default());
        let recipe = Recipe::new("file-server", image.clone()).on(Recipe::booted(image));
        let recipe = [SMB_CONF, NFS_CONF, HTTP_UNIT, PREPARE, KEY].into_iter().fold(recipe, Recipe::input);
        let state = recipe.state(|guest| {
            guest.put(SMB_CONF, "/etc/samba/smb.conf", 0o644);
            guest.put(NFS_CONF, "/etc/nfs.conf.d/share.conf", 0o644);
            guest.put(HTTP_UNIT, "/etc/systemd/system/http-files.service", 0o644);
            guest.sh(PREPARE);
            set_key(guest, KEY);
            // One log-in, so that all that is loaded on the first is there.
            guest.sh(&format!("smbclient -U {ACCOUNT}%{KEY} //127.0.0.1/{SHARE} -c ls"));
        });
        Self(scenario.resume("server", &state))
    }

    /// Its address on the segment.
    pub fn address(&self) -> Ipv4Addr {
        self.0.address()
    }

    /// Starts Samba, after [`FileServer::stop`].
    pub fn start_smb(&self) {
        self.sh("systemctl start smbd");
    }

    /// Stops Samba. Clients hear that nothing listens.
    pub fn stop(&self) {
        self.sh("systemctl stop smbd");
    }

    /// Kills every process of Samba, in the middle of what it does. [`FileServer::start_smb`] starts it again.
    pub fn kill_smb(&self) {
        self.sh("systemctl kill --kill-whom=all --signal=KILL smbd; systemctl stop smbd; systemctl reset-failed smbd || true");
    }

    /// Answers at another address from now on, and no more at the present one.
    pub fn move_to(&self, address: Ipv4Addr) {
        self.sh(&format!(
            "old=$(ip -4 -br address show eth1 | tr -s ' ' | cut -d' ' -f3)
            ip address add {address}/24 dev eth1; ip address delete \"$old\" dev eth1
            ip neigh flush dev eth1"
        ));
    }

    /// Takes the share away, or gives it back, with all that is on it. Who has it open loses it.
    pub fn share_exists(&self, exists: bool) {
        let (from, to) = if exists { ("gone", SHARE) } else { (SHARE, "gone") };
        self.sh(&format!("sed -i 's/^\\[{from}\\]/[{to}]/' /etc/samba/smb.conf; systemctl restart smbd"));
    }

    /// Encrypts what is asked for, or refuses to.
    pub fn encrypts(&self, yes: bool) {
        let word = if yes { "required" } else { "off" };
        self.sh(&format!(
            "sed -i 's/^server smb encrypt = .*/server smb encrypt = {word}/' /etc/samba/smb.conf; systemctl restart smbd"
        ));
    }

    /// Puts the share on a disk of its own of so many MiB, with quotas. To be called before anything is on it.
    pub fn own_disk(&self, mebibytes: u32) {
        self.sh(&format!(
            "set -e; truncate -s {mebibytes}M /srv/disk
            mkfs.ext4 -q -m 0 -O quota -E quotatype=usrquota /srv/disk
            mount -o loop,usrquota /srv/disk {ROOT}
            chown {ACCOUNT}: {ROOT}; rmdir {ROOT}/lost+found; systemctl restart smbd"
        ));
    }

    /// Fills that disk to the last byte with a file that is not the account's, or makes room again.
    pub fn fill(&self, full: bool) {
        self.sh(if full {
            "cat /dev/zero >/srv/share/.fill 2>/dev/null; test -s /srv/share/.fill"
        } else {
            "rm /srv/share/.fill"
        });
    }

    /// Allows the account no byte more than it has, or as much as there is (quotactl(2): Q_SETQUOTA, limits only).
    pub fn quota(&self, reached: bool) {
        let used = "int(subprocess.check_output(['du', '-s', '--block-size=1K', '/srv/share']).split()[0])";
        let blocks = if reached { used } else { "0" };
        self.sh(&format!(
            "python3 - <<'PYTHON'
import ctypes, os, pwd, struct, subprocess
os.sync()
dev = [l.split()[0] for l in open('/proc/mounts') if l.split()[1] == '/srv/share'][0]
limits = struct.pack('8QI4x', {blocks}, {blocks}, 0, 0, 0, 0, 0, 0, 1)
uid = pwd.getpwnam('{ACCOUNT}').pw_uid
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(179, ctypes.c_int(0x80000800 - (1 << 32)), dev.encode(), uid, limits) != 0:
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
PYTHON"
        ));
    }

    /// Ends the sessions that are open, as a server does that is serviced.
    pub fn drop_sessions(&self) {
        self.sh("systemctl restart smbd");
    }

    /// Loses every packet of the share from now on, without a word: what a dead server looks like.
    pub fn drop_silently(&self) {
        self.sh("nft -f - <<'RULES'
            table inet fault {
                chain input { type filter hook input priority -10; tcp dport { 445, 2049 } drop; }
                chain output { type filter hook output priority -10; tcp sport { 445, 2049 } drop; }
            }
RULES");
    }

    /// Ends [`FileServer::drop_silently`].
    pub fn undrop(&self) {
        self.sh("nft delete table inet fault");
    }

    /// Makes every packet from the server this much later. Zero ends it.
    pub fn delay(&self, milliseconds: u32) {
        self.sh(&match milliseconds {
            0 => "tc qdisc delete dev eth1 root".to_owned(),
            some => format!("tc qdisc replace dev eth1 root netem delay {some}ms"),
        });
    }

    /// Changes the account's key. Sessions that are open go on; [`FileServer::drop_sessions`] ends them.
    pub fn change_key(&self, key: &str) {
        set_key(&self.0, key);
    }

    /// Starts the NFS server, with the share at `contosods.file.core.windows.net:/contosods/dsvmshare`.
    pub fn start_nfs(&self, root_squash: bool) {
        // Clients come from any port, as the real service advises them to: `noresvport`.
        let squash = if root_squash { "root_squash" } else { "no_root_squash" };
        self.put(
            format!("{NFS_ROOT} 10.77.0.0/24(rw,sync,no_subtree_check,insecure,{squash})\n"),
            "/etc/exports.d/share.exports",
            0o644,
        );
        // A server with little memory offers less than the real one does, unless it is told so before it runs.
        self.sh("systemctl start proc-fs-nfsd.mount; n=$(cat /proc/fs/nfsd/threads)
            [ \"$n\" != 0 ] || echo 1048576 >/proc/fs/nfsd/max_block_size
            systemctl start nfs-server && exportfs -ra");
    }

    /// Stops the NFS server.
    pub fn stop_nfs(&self) {
        self.sh("systemctl stop nfs-server");
    }

    /// A file on the SMB share, as the server has it.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        self.get(&format!("{ROOT}/{path}"))
    }

    /// Whether the server has this on the SMB share.
    #[track_caller]
    pub fn has(&self, path: &str) -> bool {
        self.ssh(&format!("test -e {}", quoted(&format!("{ROOT}/{path}")))).success()
    }

    /// What a directory of the SMB share holds, sorted.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<String> {
        let listed = self.sh(&format!("LC_ALL=C ls -A -- {}", quoted(&format!("{ROOT}/{path}"))));
        listed.lines().map(str::to_owned).collect()
    }

    /// Puts a file on the SMB share, behind the back of every client.
    #[track_caller]
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let full = quoted(&format!("{ROOT}/{path}"));
        self.sh(&format!("install -d -o {ACCOUNT} -g {ACCOUNT} \"$(dirname {full})\""));
        self.put(bytes, &format!("{ROOT}/{path}"), 0o644);
        self.sh(&format!("chown {ACCOUNT}: {full}"));
    }

    /// Hands out a file over plain HTTP, and says at what address.
    #[track_caller]
    pub fn serve(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        self.put(bytes, &format!("/srv/http/{name}"), 0o644);
        format!("http://{}:8080/{name}", self.address())
    }
}

fn set_key(guest: &Guest, key: &str) {
    guest.sh(&format!("printf '%s\\n%s\\n' {0} {0} | smbpasswd -s -a {ACCOUNT}", quoted(key)));
    // smbd answers from its database; nothing is to be reloaded, but a new log-in must work before anybody tries.
    crate::wait_for("the server takes the new key", Duration::from_secs(30), || {
        guest.ssh(&format!("smbclient -U {ACCOUNT}%{} //127.0.0.1/{SHARE} -c ls", quoted(key))).success()
    });
}
