#!/usr/bin/python3
"""others autofs: starts autofs and lists everybody's directory once, one after the other, each as its user.
others sessions [pam_mount]: opens a session for everybody, one after the other, with pam_mount in it or without. A session
has begun when its command runs; all stay until the last has begun.
Prints how many microseconds that took. The directories are on the share already: neither of the two makes any."""
import os, pathlib, pwd, subprocess, sys, time

BENCH = pathlib.Path("/usr/local/lib/bench")
PEOPLE = [pwd.getpwnam(name) for name in (BENCH / "people").read_text().split()]
SHARE = (BENCH / "share").read_text().strip()
OPTIONS = (BENCH / "options").read_text().strip()
# What opens the sessions. Nothing else in this guest uses it.
SERVICE = pathlib.Path("/etc/pam.d/runuser")
# Debian's own, and a volume in it.
PAM_MOUNT = pathlib.Path("/etc/security/pam_mount.conf.xml")
VOLUME = f"""<volume user="*" fstype="cifs" server="{SHARE.split("/")[2]}" path="{SHARE.split("/")[3]}/notebooks/%(USER)"
 mountpoint="/bench/pam/%(USER)" options="{OPTIONS}" />
</pam_mount>"""


def kinds_of(directory):
    with open("/proc/mounts") as mounts:
        return [kind for _, at, kind, *_ in map(str.split, mounts) if at == directory]


def list_as(person, directory):
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(person.pw_gid)
        os.setuid(person.pw_uid)
        os.listdir(directory)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{person.pw_name} cannot list {directory}")


def autofs():
    # A line for each: with a wildcard and $UID, the first who looks into a directory would own its mount (autofs(5)).
    def line(person):
        options = f"-fstype=cifs,{OPTIONS},uid={person.pw_uid},gid={person.pw_gid}"
        return f"{person.pw_name} {options} :{SHARE}/notebooks/{person.pw_name}\n"

    pathlib.Path("/etc/auto.bench").write_text("".join(map(line, PEOPLE)))
    pathlib.Path("/etc/auto.master").write_text("/bench/auto /etc/auto.bench\n")
    before = time.monotonic()
    subprocess.run(["systemctl", "start", "autofs"], check=True)
    for person in PEOPLE:
        list_as(person, f"/bench/auto/{person.pw_name}")
    return time.monotonic() - before


def sessions(line):
    # What the first of any sessions takes longer is nobody's.
    subprocess.run(["runuser", "--command", "true", PEOPLE[0].pw_name], check=True)
    text = SERVICE.read_text()
    SERVICE.write_text(text + line)
    opened = []
    try:
        before = time.monotonic()
        for person in PEOPLE:
            command = ["runuser", "--command", "echo; read -r", person.pw_name]
            opened.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            opened[-1].stdout.readline()
        took = time.monotonic() - before
        for person in PEOPLE:
            kinds = kinds_of(f"/bench/pam/{person.pw_name}")
            if kinds != (["cifs"] if line else []):
                sys.exit(f"{person.pw_name} has {kinds}")
        return took
    finally:
        for session in opened:
            session.stdin.close()
        for session in opened:
            session.wait()
        SERVICE.write_text(text)


if sys.argv[1] == "autofs":
    seconds = autofs()
elif sys.argv[2:] == ["pam_mount"]:
    configuration = PAM_MOUNT.read_text()
    if VOLUME not in configuration:
        PAM_MOUNT.write_text(configuration.replace("</pam_mount>", VOLUME))
    os.makedirs("/bench/pam")
    # The key is in a file, so it needs no password, and there is none.
    seconds = sessions("session optional pam_mount.so disable_interactive\n")
else:
    seconds = sessions("")
print(round(seconds * 1e6))
