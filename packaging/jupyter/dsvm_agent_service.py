"""What JupyterHub and dsvm-agent tell each other: the agent asks the hub whether it is starting a server for somebody, as a
service with the smallest scopes; the hub's pages say when the VM may go.
"""

import datetime
import html
import json
import os
import secrets
import stat
import time

#: What everybody may read: counts, and no names.
STATUS = "/run/dsvm-agent/status/status.json"
#: The service's token: a file of root's, mode 0600, that the agent's configuration names as well.
TOKEN = "/etc/dsvm-agent/hub.token"
#: The service, and its role.
NAME = "dsvm-agent"
#: Who is there, and which of their servers is being started. It opens nobody's server.
SCOPES = ["list:users", "read:servers"]

#: Largest status, in bytes.
LARGEST = 1 << 20
#: An older status is not what is, in seconds: its agent is dead or stuck.
STALE = 180.0


def configure(c):
    """Adds the service with its token, and what pages say."""
    c.JupyterHub.services.append({"name": NAME, "api_token": own_token()})
    c.JupyterHub.load_roles.append({"name": NAME, "scopes": SCOPES, "services": [NAME]})
    variables = c.JupyterHub.template_vars
    before = variables.get("announcement", "") if isinstance(variables, dict) else ""
    variables.update({"announcement": Announcement(before)})


def own_token():
    """The token. Where there is none yet, one is made: each VM of an image has its own."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(TOKEN, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        pass
    with open(os.open(TOKEN, flags | os.O_RDONLY)) as file:
        found = os.fstat(file.fileno())
        token = file.read(4096).strip() if stat.S_ISREG(found.st_mode) else ""
        if not token or found.st_uid != 0 or found.st_mode & 0o077:
            raise PermissionError(f"{TOKEN}: must be a plain file of root's, mode 0600, with a token in it: remove it")
        return token


class Announcement:
    """Reads what the agent published whenever a page is made, so that it is never older than the page. Empty, and so not
    shown, while there is nothing to say. Pages take it as it is: what it says is escaped here."""

    def __init__(self, before=""):
        #: What the hub's own configuration announces, in its HTML.
        self.before = before

    def __str__(self):
        try:
            says = html.escape(text(read_status()) or "")
        except Exception:
            # A mistake in here must spoil nobody's page.
            says = ""
        return "<br>".join(part for part in (str(self.before or ""), says) if part)

    def __html__(self):
        return str(self)

    def __bool__(self):
        return bool(str(self))

    def __len__(self):
        return len(str(self))


def read_status():
    """What everybody may read; nothing when it is not there, or stale."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(STATUS, flags), "rb") as file:
            status = json.loads(file.read(LARGEST))
        agent = status["agent"]
        with open("/proc/sys/kernel/random/boot_id") as file:
            same = file.read().strip() == agent["boot_id"]
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - agent["pass_boottime_s"]
        return status if same and age < STALE else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def text(status):
    """What people should know now; nothing when there is nothing."""
    if not status:
        return None
    drain = (status.get("scale_set") or {}).get("drain")
    if drain:
        at = drain.get("at")
        when = f"at {at[11:16]} UTC" if isinstance(at, str) else "now"
        return f"This VM is deleted {when}; it cannot be stopped. Save now."
    idle = status.get("idle") or {}
    leave = idle.get("leave")
    if not leave:
        return None
    now = time.time()
    unused = seconds(idle.get("last_busy"))
    unused = "Not used since it was started." if unused is None else f"Not used for {humane(now - unused)}."
    until = seconds(leave.get("until"))
    if until is None or until <= now:
        when = "This VM may go at any time"
    else:
        when = f"In {humane(until - now)} this VM may go"
    lost = lose(idle.get("at_risk") or [])
    lost = f"; {lost} would end" if lost else ""
    return f"{unused} {when}{lost}. To keep it: dsvm-agent keep 2h"


def lose(risks):
    """What ends with the VM."""

    def total(kind):
        return sum(r.get("value", 0) for r in risks if r.get("kind") == kind)

    held = [(total(kind), place) for kind, place in (("memory", "in memory"), ("gpu-memory", "on the GPU"))]
    held = ", ".join(f"{size(value)} {place}" for value, place in held if value >= 1)
    kernels = counted(total("kernels"), "kernel", "kernels")
    if kernels and held:
        kernels = f"{kernels} ({held})"
    elif held:
        kernels = f"programs with {held}"
    parts = [kernels, counted(total("stopped"), "stopped job", "stopped jobs")]
    return ", ".join(part for part in parts if part)


def counted(number, one, many):
    """A number of things; nothing for none."""
    number = int(number)
    return f"{number} {one if number == 1 else many}" if number else ""


def size(value):
    """An amount of memory."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= unit:
            return f"{value / unit:.0f} {name}"
    return f"{value:.0f} B"


def seconds(when):
    """A time of the status, in seconds since 1970; nothing when there is none."""
    if not isinstance(when, str):
        return None
    return datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()


def humane(duration):
    """A duration in one unit."""
    duration = max(duration, 0.0)
    if duration < 90:
        return f"{duration:.0f} s"
    if duration < 5400:
        return f"{duration / 60:.0f} min"
    return f"{duration / 3600:.0f} h"
