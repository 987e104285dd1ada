#!/bin/sh
# Runs inside the new root file system and makes a guest of it. What it writes is for tests only:
# no agent, no secret. The control key's public half is put at /etc/ssh/control_keys beforehand.
set -eu

# Guests have no way out, so a package index could only go stale (and a mirror's address may be
# private to the machine that built the image).
# Nor are the shortcuts of this build for later packages: they would drop a package's documents.
rm -rf /etc/dpkg/dpkg.cfg.d/99mmdebstrap /etc/apt/apt.conf.d/99mmdebstrap /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*

# --- what a virtual machine of the cloud looks like -------------------------------------------
cat >/etc/cloud/cloud.cfg.d/90-guest.cfg <<'CFG'
datasource_list: [NoCloud, None]
# Keys of other types take long under emulation.
ssh_genkeytypes: [ed25519]
# The only one that is there without generating any.
locale: C.UTF-8
CFG
echo '/dev/vda / ext4 defaults 0 1' >/etc/fstab
echo guest >/etc/hostname
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
mkdir -p /var/log/journal
systemctl enable systemd-networkd.service
systemctl mask systemd-networkd-wait-online.service
# Nobody asked for these, and after a jump of the clock they all fire at once.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer logrotate.timer man-db.timer

# --- servers that scenarios start when they want them -------------------------------------------
for unit in smbd.service nmbd.service winbind.service samba-ad-dc.service nfs-server.service \
    nfs-kernel-server.service nfs-blkmap.service rpcbind.service rpcbind.socket nftables.service \
    slapd.service nslcd.service; do
    systemctl disable "$unit" 2>/dev/null || true
done
rm -f /etc/samba/smb.conf
# The name services ask local files only until a scenario says otherwise.
sed -i 's/ ldap$//; s/ ldap / /' /etc/nsswitch.conf

# --- the segment that the guests of one scenario share ----------------------------------------------
cat >/etc/hosts <<'HOSTS'
127.0.0.1 localhost
127.0.1.1 guest
::1 localhost ip6-localhost ip6-loopback
10.77.0.1 server
10.77.0.1 contosods.file.core.windows.net
10.77.0.11 vm1
10.77.0.12 vm2
10.77.0.13 vm3
HOSTS
cat >/etc/systemd/network/05-control.network <<'NETWORK'
[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
LinkLocalAddressing=no
IPv6AcceptRA=no
NETWORK

# --- the control channel ------------------------------------------------------------------------
# A second SSH server, without PAM: it is there before log-ins are allowed and until the very end
# of a shutdown, it opens no session, and nothing that a scenario does to sshd or to PAM touches it.
ssh-keygen -q -t ed25519 -N '' -C control -f /etc/ssh/control_host_key
cat >/etc/ssh/control_sshd_config <<'SSHD'
Port 22000
HostKey /etc/ssh/control_host_key
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers root
AuthorizedKeysFile /etc/ssh/control_keys
MaxSessions 200
MaxStartups 100
UseDNS no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
SSHD
cat >/etc/systemd/system/control-ssh.service <<'UNIT'
[Unit]
Description=Control channel of the test harness
DefaultDependencies=no
After=systemd-remount-fs.service systemd-tmpfiles-setup-dev.service
IgnoreOnIsolate=yes
[Service]
ExecStartPre=/bin/mkdir -p -m 0755 /run/sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/control_sshd_config
KillMode=process
OOMScoreAdjust=-1000
Restart=always
RestartSec=1
TasksMax=infinity
[Install]
WantedBy=sysinit.target
UNIT
systemctl enable control-ssh.service
chmod 600 /etc/ssh/control_keys
# People sign in over the ordinary server, from the guest itself, with the key that is made here.
ssh-keygen -q -t ed25519 -N '' -C person -f /root/person_key
install -m 644 /root/person_key.pub /etc/ssh/person_keys
cat >/etc/ssh/sshd_config.d/50-scenarios.conf <<'SSHD'
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/person_keys
UseDNS no
SSHD

# --- JupyterHub: the real one, with system accounts ------------------------------------------------
python3 -m venv /opt/jupyterhub
# shellcheck disable=SC2086 # A list of words.
/opt/jupyterhub/bin/pip install --quiet --no-cache-dir --no-compile $PYPI
ln -s ../node_modules/.bin/configurable-http-proxy /opt/jupyterhub/bin/configurable-http-proxy
mkdir -p /etc/jupyterhub/conf.d /var/lib/jupyterhub
cat >/etc/jupyterhub/jupyterhub_config.py <<'PYTHON'
"""A hub for the accounts of this machine. More settings: /etc/jupyterhub/conf.d/*.py."""
import glob

c = get_config()  # noqa: F821
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.authenticator_class = "pam"
c.JupyterHub.spawner_class = "localprocess"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = ["/opt/jupyterhub/bin/configurable-http-proxy"]
c.Spawner.cmd = ["/opt/jupyterhub/bin/jupyterhub-singleuser"]
c.Spawner.environment = {"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
for extra in sorted(glob.glob("/etc/jupyterhub/conf.d/*.py")):
    load_subconfig(extra)  # noqa: F821
PYTHON
cat >/etc/systemd/system/jupyterhub.service <<'UNIT'
[Unit]
Description=JupyterHub
After=network.target
[Service]
Environment=PATH=/opt/jupyterhub/bin:/usr/local/bin:/usr/bin:/bin
WorkingDirectory=/var/lib/jupyterhub
ExecStart=/opt/jupyterhub/bin/jupyterhub -f /etc/jupyterhub/jupyterhub_config.py
Restart=on-failure
[Install]
WantedBy=multi-user.target
UNIT

# --- the first stage of boot: just what this kind of disk needs ---------------------------------------
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=zstd/' /etc/initramfs-tools/initramfs.conf
printf '%s\n' virtio_pci virtio_blk ext4 >>/etc/initramfs-tools/modules
update-initramfs -u -k all

rm -rf /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/log/*.log /tmp/* /etc/resolv.conf
# What runs once after an update has run: dpkg did it.
touch /etc/.updated /var/.updated
