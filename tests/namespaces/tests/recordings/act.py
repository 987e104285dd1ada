"""What people, and programs of theirs and of the system's, do to a VM: one kind of doing for each name."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

what = sys.argv[1]


def compute(seconds):
    """CPU time, not time: a busy machine makes it longer, and not less."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


if what == "compute":
    # That part of a core.
    share = float(sys.argv[2])
    while True:
        compute(share)
        time.sleep(1 - share)
elif what == "children":
    while True:
        subprocess.run([sys.executable, "-S", __file__, "child"], check=True)
        time.sleep(0.6)
elif what == "child":
    compute(0.3)
elif what == "bursts":
    while True:
        compute(2)
        time.sleep(28)
elif what == "keys":
    # Somebody at the other end of a terminal.
    while True:
        print("x", flush=True)
        time.sleep(15)
elif what == "serve":
    def serve(connection):
        try:
            while True:
                connection.sendall(bytes(50_000))
                time.sleep(0.25)
        except OSError:
            pass

    listening = socket.create_server(("0.0.0.0", 7000))
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
elif what == "fetch":
    with socket.create_connection((sys.argv[2], 7000)) as connection:
        while connection.recv(65536):
            time.sleep(0.2)
elif what == "wait":
    # For an answer that does not come.
    with socket.create_connection((sys.argv[2], 7000)):
        time.sleep(1e6)
elif what == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
elif what == "503":
    import http.server

    class Ill(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

    http.server.HTTPServer(("127.0.0.1", 8081), Ill).serve_forever()
