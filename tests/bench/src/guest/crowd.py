#!/usr/bin/python3
"""crowd COUNT: starts so many processes of three users, who do nothing, and waits."""
import os, pwd, signal, sys

USERS = ["alice", "bob", "carol"]


def start(uid, gid):
    if os.fork() == 0:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.execv("/usr/bin/sleep", ["sleep", "infinity"])


people = [pwd.getpwnam(name) for name in USERS]
for n in range(int(sys.argv[1])):
    start(people[n % 3].pw_uid, people[n % 3].pw_gid)
signal.pause()
