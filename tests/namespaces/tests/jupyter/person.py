"""Somebody with a notebook: opens one, runs a cell in it, and closes the tab. With the clients that a browser's requests
stand for: the server's own HTTP, and the kernel's sockets."""

import json
import sys
import time
import urllib.request

from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir

base, token, what = sys.argv[1:4]


def ask(method, path, body=None):
    request = urllib.request.Request(base + path, method=method, data=json.dumps(body).encode() if body else None)
    request.add_header("Authorization", f"token {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
        return json.loads(text) if text else None


if what == "run":
    notebook = {"path": "work/night.ipynb", "name": "night.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = ask("POST", "api/sessions", notebook)["kernel"]["id"]
    client = BlockingKernelClient(connection_file=f"{jupyter_runtime_dir()}/kernel-{kernel}.json")
    client.load_connection_file()
    client.start_channels()
    for _ in range(60):
        try:
            client.wait_for_ready(timeout=60)
            break
        except RuntimeError:
            # One that is slow to start has no heartbeat yet, and is taken for dead.
            time.sleep(1)
    client.execute(sys.argv[4])
    # The server was told that it is at work before the tab is closed.
    while client.get_iopub_msg(timeout=60)["content"].get("execution_state") != "busy":
        pass
    print(kernel)
elif what == "interrupt":
    ask("POST", f"api/kernels/{sys.argv[4]}/interrupt")
elif what == "terminal":
    print(ask("POST", "api/terminals")["name"])
elif what == "times":
    quiet = "?no_track_activity=1"
    all = [ask("GET", f"api/{kind}{quiet}") for kind in ("kernels", "terminals")]
    print(json.dumps([[thing["last_activity"] for thing in things] for things in all]), ask("GET", "api/status")["last_activity"])
