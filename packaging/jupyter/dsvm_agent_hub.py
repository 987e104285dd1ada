"""A pre-spawn hook for JupyterHub on VMs with dsvm-agent.

Whoever comes with a cookie that is still good passes no PAM, so nobody has asked for their notebooks yet. This hook
asks, waits for them for 30 s at most, lets the notebook server open in them, and shows on the page what is wrong
when they do not come. Whoever starts the server again after that gets it all the same, and has been told.

The hub must run as root, as it does with the accounts of a machine: only root may ask for others.
"""

import asyncio
import functools
import json
import os
import pwd
import time

from tornado import web

SOCKET = "/run/dsvm-agent/status/request.sock"
STATUS = "/run/dsvm-agent/status/full.json"

#: So many seconds somebody waits for their notebooks.
PATIENCE = 30.0
#: So many seconds after somebody was told what is wrong, they are not told again but let in.
TOLD = 600.0
#: Largest answer, and largest status, in bytes.
LARGEST = 16 << 20

#: Where Jupyter keeps what is its own: `{home}` is the user's. On a file server its databases would be locked, and slow.
#: For homes on a file server, name a directory of the VM that users may write in, with `{username}`.
STATE = "{home}"

NOT_YET = (
    "Your notebooks are not connected yet ({seconds:.0f} s). "
    "Wait before opening any: files saved elsewhere will be lost."
)
AGAIN = "To work without them all the same, start the server again: what you save then goes away with this VM."

_told = {}


class NotConnected(web.HTTPError):
    """Somebody's notebooks are not there; the page says why."""

    def __init__(self, why):
        super().__init__(503, why.replace("%", "%%"), reason="Notebooks not connected")
        self.jupyterhub_message = f"{why} {AGAIN}"


class Deleted(web.HTTPError):
    """The VM is about to be deleted: no server is started on it; the page says why."""

    def __init__(self, why):
        super().__init__(503, why.replace("%", "%%"), reason="This VM is deleted")
        self.jupyterhub_message = why


def deleted(status):
    """Why nobody should begin anything on this VM; nothing when it stays."""
    drain = (status.get("scale_set") or {}).get("drain")
    if not drain:
        return None
    at = drain.get("at")
    when = f"at {at[11:16]} UTC" if isinstance(at, str) else "now"
    return f"This VM is deleted {when}. Log in again in a minute: you get another one."


def configure(c):
    """Adds the hook to the hub's configuration, in front of one that is there."""
    before = c.Spawner.get("pre_spawn_hook", None)
    if not callable(before):
        before = None

    async def hook(spawner):
        await pre_spawn_hook(spawner)
        if before is not None:
            result = before(spawner)
            if hasattr(result, "__await__"):
                await result

    c.Spawner.pre_spawn_hook = hook


async def pre_spawn_hook(spawner):
    """Waits for the notebooks of the user whose server is about to start."""
    name = spawner.user.name
    began = time.monotonic()
    waiting = asyncio.Event()
    spawner.progress = functools.partial(_progress, spawner, began, waiting)
    told = name in _told and began - _told[name] < TOLD
    loop = asyncio.get_running_loop()
    ending = deleted(await loop.run_in_executor(None, read_status))
    if ending is not None:
        waiting.set()
        raise Deleted(ending)
    try:
        link, why = await connect(name, 3.0 if told else PATIENCE)
    except Exception:
        # A mistake in here must lock nobody out.
        spawner.log.exception("dsvm-agent cannot be asked for the notebooks of %s", name)
        return
    finally:
        waiting.set()
    if why is not None:
        spawner.log.warning("The notebooks of %s are not connected: %s", name, why)
        if not told:
            _told[name] = time.monotonic()
            raise NotConnected(why)
    await keep_state_local(spawner, name)
    if link is not None:
        _told.pop(name, None)
        # The hub fills in what stands in braces.
        spawner.notebook_dir = link.replace("{", "{{").replace("}", "}}")


async def connect(name, patience):
    """Asks for the notebooks of `name` until they are there: `(link, None)`; or what is wrong: `(None, why)`; or both
    nothing, for whoever has none on the share."""
    end = time.monotonic() + patience
    while True:
        left = end - time.monotonic()
        answer = await ask(name, max(left, 0.1))
        status = await asyncio.get_running_loop().run_in_executor(None, read_status)
        row = next((u for u in status.get("users", []) if u.get("name") == name), None)
        if answer is True and row is not None:
            return row["link"], None
        if status.get("health") == "unconfigured":
            return None, first_problem(status, name)
        if answer is False and row is None and status.get("share", {}).get("state") == "mounted":
            # The agent has asked the name services: nobody whom it serves.
            return None, None
        own = first_problem(status, name, only_own=True)
        if own is not None:
            return None, own
        if time.monotonic() >= end:
            return None, first_problem(status, name)
        await asyncio.sleep(min(1.0, max(0.0, end - time.monotonic())))


async def ask(name, timeout):
    """What the agent answers to a log-in; nothing when it does not answer."""
    try:
        return await asyncio.wait_for(_ask(name), min(timeout, 5.0))
    except (OSError, ValueError, asyncio.TimeoutError):
        return None


async def _ask(name):
    reader, writer = await asyncio.open_unix_connection(SOCKET)
    try:
        writer.write(json.dumps({"request": "login", "user": name}).encode() + b"\n")
        await writer.drain()
        return json.loads(await reader.read(4096)).get("ready")
    finally:
        writer.close()


def read_status():
    """The status that root may read; an empty one when there is none."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(STATUS, flags), "rb") as file:
            status = json.loads(file.read(LARGEST))
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def first_problem(status, name, only_own=False):
    """What a person is told: the user's own problem, else the first that is nobody's, else that nobody knows."""
    problems = status.get("problems", [])
    own = [p for p in problems if p.get("subject") == name]
    if only_own:
        return _text(own[0]) if own else None
    codes = ("share.", "config.")
    common = [p for p in problems if str(p.get("code", "")).startswith(codes)]
    for problem in own + common:
        return _text(problem)
    if not status:
        return "Your notebooks are not connected: dsvm-agent does not run on this VM."
    return f"Your notebooks were not connected within {PATIENCE:.0f} s. Why: dsvm-agent status"


def _text(problem):
    # Names of files are in it, which users choose, and the hub writes it into its log.
    text = f"{problem.get('summary', '')} {problem.get('remedy', '')}".strip()
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


async def keep_state_local(spawner, name):
    """Says where Jupyter keeps its own state, unless the hub's configuration does."""
    loop = asyncio.get_running_loop()
    try:
        home = (await loop.run_in_executor(None, pwd.getpwnam, name)).pw_dir
    except KeyError:
        return
    state = STATE.format(home=home, username=name)
    data = os.path.join(state, ".local/share/jupyter")
    own = {
        "JUPYTER_DATA_DIR": data,
        "JUPYTER_RUNTIME_DIR": os.path.join(data, "runtime"),
        "IPYTHONDIR": os.path.join(state, ".ipython"),
    }
    spawner.environment = {**own, **spawner.environment}


async def _progress(spawner, began, through):
    """The lines of the page on which somebody waits for their server."""
    while not through.is_set():
        try:
            await asyncio.wait_for(through.wait(), 1.0)
        except asyncio.TimeoutError:
            seconds = time.monotonic() - began
            yield {"progress": min(40, int(seconds)), "message": NOT_YET.format(seconds=seconds)}
    async for event in type(spawner).progress(spawner):
        yield event
