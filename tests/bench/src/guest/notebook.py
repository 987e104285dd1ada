#!/usr/bin/python3
"""notebook DIRECTORY: what notebooks do in a directory; prints `what seconds`, or `what failed reason`, line by line."""
import os, sqlite3, subprocess, sys, time

top = os.path.join(sys.argv[1], "bench")
os.makedirs(top)
os.chdir(top)


def measure(what, work):
    before = time.monotonic()
    try:
        work()
    except Exception as error:  # Whatever it is: it is the figure.
        print(what, "failed", str(error).replace("\n", " ")[:100])
        return
    print(what, f"{time.monotonic() - before:.4f}")


def create():
    for n in range(100):
        with open(f"file{n}", "w") as file:
            file.write("x" * 2000)


def stat():
    for n in range(500):
        os.stat(f"file{n % 100}")


def read():
    for n in range(300):
        with open(f"file{n % 100}") as file:
            file.read()


def save():
    # As Jupyter does: a copy beside it, then renamed over it.
    for n in range(30):
        with open(".~notebook.ipynb", "w") as file:
            file.write("x" * 50000)
            file.flush()
            os.fsync(file.fileno())
        os.rename(".~notebook.ipynb", "notebook.ipynb")


def sqlite():
    database = sqlite3.connect("history.sqlite", timeout=2)
    database.execute("create table history (line text)")
    for n in range(20):
        database.execute("insert into history values (?)", (str(n),))
        database.commit()
    database.close()


def git():
    def run(*words):
        subprocess.run(("git", *words), check=True, capture_output=True, text=True)

    run("init", "--quiet", "repository")
    os.chdir("repository")
    for n in range(20):
        with open(f"file{n}", "w") as file:
            file.write(str(n))
    run("add", ".")
    run("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=a")
    os.chdir(top)


measure("create", create)
measure("stat", stat)
measure("read", read)
measure("save", save)
measure("sqlite", sqlite)
measure("git", git)
