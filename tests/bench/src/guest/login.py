#!/usr/bin/python3
"""login USER DIRECTORY TIMES: how many milliseconds a log-in waits until DIRECTORY is mounted, each time from unmounted."""
import socket, sys, time

user, directory, times = sys.argv[1], sys.argv[2], int(sys.argv[3])


def mounted():
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == directory for line in mounts)


for _ in range(times):
    while mounted():
        time.sleep(0.2)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect("/run/dsvm-agent/status/request.sock")
        before = time.monotonic()
        agent.sendall(b'{"request":"login","user":"%s"}\n' % user.encode())
        agent.recv(4096)
    while not mounted():
        time.sleep(0.001)
    print(f"{(time.monotonic() - before) * 1000:.2f}")
