#!/usr/bin/python3
"""people links COUNT: for each new user, how many milliseconds useradd takes, and from its end to their link.
people crowd COUNT: adds accounts with homes, all at once; how many seconds until all have their links.
people old COUNT: how many seconds the old script's steps take for as many: one mount, and a mkdir and a link for each.
people hook USER TIMES: how many milliseconds the hook holds up a log-in, and a program that does nothing."""
import os, subprocess, sys, time


def links(count):
    for n in range(count):
        before = time.monotonic()
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", f"new{n}"], check=True)
        made = time.monotonic()
        while not os.path.islink(f"/home/new{n}/notebooks/remote"):
            time.sleep(0.002)
        print(f"{(made - before) * 1000:.1f} {(time.monotonic() - made) * 1000:.1f}")


def crowd(count):
    with open("/etc/passwd") as old:
        passwd = old.read()
    with open("/etc/group", "a") as group:
        for n in range(count):
            uid = 20001 + n
            group.write(f"u{n}:x:{uid}:\n")
            passwd += f"u{n}:x:{uid}:{uid}::/home/u{n}:/bin/bash\n"
            os.mkdir(f"/home/u{n}", 0o755)
            os.chown(f"/home/u{n}", uid, uid)
    with open("/etc/passwd.new", "w") as new:
        new.write(passwd)
    os.chmod("/etc/passwd.new", 0o644)
    before = time.monotonic()
    os.rename("/etc/passwd.new", "/etc/passwd")
    left = [f"/home/u{n}/notebooks/remote" for n in range(count)]
    while left:
        time.sleep(0.2)
        left = [link for link in left if not os.path.islink(link)]
    print(f"{time.monotonic() - before:.2f}")


def old(count):
    before = time.monotonic()
    os.makedirs("/bench/old", exist_ok=True)
    with open("/usr/local/lib/bench/share") as share:
        source = share.read().strip()
    options = "vers=3.1.1,seal,credentials=/etc/dsvm-agent/share.key,dir_mode=0777,file_mode=0777"
    subprocess.run(["mount", "-t", "cifs", source, "/bench/old", "-o", options], check=True)
    os.makedirs("/bench/old/old")
    for n in range(count):
        script = f"mkdir -p /bench/old/old/u{n} /home/u{n}/old && ln -s /bench/old/old/u{n} /home/u{n}/old/remote"
        subprocess.run(["sh", "-c", script], check=True)
    print(f"{time.monotonic() - before:.2f}")
    subprocess.run(["umount", "/bench/old"], check=True)


def hook(user, times):
    for _ in range(times):
        took = []
        for program in (["/usr/bin/dsvm-agent", "login-hook"], ["/bin/true"]):
            before = time.monotonic()
            environment = {"PAM_TYPE": "account", "PAM_SERVICE": "sshd", "PAM_USER": user, "PATH": "/usr/bin"}
            subprocess.run(program, env=environment, check=False)
            took.append((time.monotonic() - before) * 1000)
        print(f"{took[0]:.1f} {took[1]:.1f}")


if sys.argv[1] == "hook":
    hook(sys.argv[2], int(sys.argv[3]))
else:
    {"links": links, "crowd": crowd, "old": old}[sys.argv[1]](int(sys.argv[2]))
