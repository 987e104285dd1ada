"""A program of a user's that says that it is a Jupyter server, and is not what one expects."""

import ctypes
import http.server
import json
import os
import sys
import time

how, port = sys.argv[1], int(sys.argv[2])
claimed = int(sys.argv[3]) if len(sys.argv) > 3 else port

KERNEL = {"id": "1", "name": "python3", "last_activity": "2026-03-04T10:00:00Z", "connections": 0}
BUSY = [KERNEL | {"execution_state": "busy"}]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(os.path.expanduser("~/heard"), "a") as heard:
            heard.write(f"{self.path} {self.headers.get('Authorization')}\n")
        path = self.path.split("?")[0]
        if how == "silent":
            time.sleep(3600)
        if how == "redirect":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:9999{self.path}")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        try:
            if how == "endless":
                while True:
                    self.wfile.write(b"[" * 65536)
            elif how == "drops":
                while True:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.2)
            elif how == "garbage":
                self.wfile.write(b"\xff\x00 nonsense")
            elif how == "claims" and path.endswith("sessions"):
                name = "\x1b[31mroot\n" + "x" * 9000
                self.wfile.write(json.dumps([{"path": name, "kernel": {"id": "1"}}]).encode())
            else:
                answer = BUSY if path.endswith("kernels") else []
                self.wfile.write(json.dumps(answer).encode())
        except OSError:
            pass

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
runtime = os.path.expanduser("~/.local/share/jupyter/runtime")
os.makedirs(runtime, exist_ok=True)
with open(f"{runtime}/jpserver-{os.getpid()}.json", "w") as file:
    json.dump({"port": claimed, "base_url": "/", "token": f"of-{how}", "pid": os.getpid()}, file)
if how == "hidden":
    # PR_SET_DUMPABLE: from now on its own user can look into it no more.
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("ready", file=open(os.path.expanduser("~/ready"), "w"), flush=True)
server.serve_forever()
