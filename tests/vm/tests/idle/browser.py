"""Somebody with a browser. Once they are told to come, they log in to the hub, have a server started, open a notebook, run a
cell in it and close the tab. Once they are told to come again, they interrupt the cell, run another one, and leave the tab
open, as JupyterLab does: with the kernel's socket, and a look at the kernels now and then.

What they see is in a file: `here`, `closed`, `done`, and then how many tabs the kernel has, by the latest look. While there is
a tab, there is a file `tab`."""

import asyncio
import json
import os
import sys
import time
import uuid

import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

user, directory = sys.argv[1:3]
base = "http://127.0.0.1:8000"
server = f"/user/{user}/"
browser = requests.Session()


def tell(text, file="shown"):
    path = os.path.join(directory, file)
    with open(path + ".new", "w") as new:
        new.write(text)
    os.rename(path + ".new", path)


def told(file):
    with open(os.path.join(directory, file)) as text:
        return text.read()


def patiently(ask, is_there):
    """Whatever is slow comes in the end, or the test gives up."""
    while True:
        try:
            answer = ask()
            if is_there(answer):
                return answer
        except requests.ConnectionError:
            pass
        time.sleep(1)


def log_in():
    patiently(lambda: browser.get(base + "/hub/login"), lambda answer: answer.ok)
    form = {"username": user, "password": user, "_xsrf": browser.cookies.get("_xsrf", path="/hub/")}
    answer = browser.post(base + "/hub/login", data=form, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    browser.get(f"{base}/hub/spawn/{user}")
    pending = f"{base}/hub/spawn-pending/{user}"
    patiently(lambda: browser.get(pending), lambda answer: answer.ok and answer.url.startswith(base + server))
    # Its first page is for everybody; this one asks the hub who comes.
    browser.get(f"{base}{server}files/")


def ask(method, path, body=None):
    headers = {"X-XSRFToken": browser.cookies.get("_xsrf", path=server), "Sec-Fetch-Mode": "cors"}
    answer = browser.request(method, base + server + path, json=body, headers=headers)
    answer.raise_for_status()
    return answer.json() if answer.content else None


async def connect(kernel):
    url = f"{base}{server}api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
    cookies = requests.Request("GET", url, headers={"Sec-Fetch-Mode": "websocket", "Origin": base})
    headers = dict(browser.prepare_request(cookies).headers)
    request = HTTPRequest(url.replace("http", "ws", 1), headers=headers, connect_timeout=300, request_timeout=300)
    return await websocket_connect(request)


async def run(kernel, cell, until):
    """Runs a cell until the kernel is in this state with it, and gives the tab."""
    header = {"msg_id": uuid.uuid4().hex, "username": user, "session": uuid.uuid4().hex, "version": "5.3"}
    header |= {"msg_type": "execute_request", "date": "2026-03-04T10:00:00Z"}
    content = {"code": cell, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    while True:
        # A kernel that is slow to start is given up by its server, and tried again by the browser.
        tab = await connect(kernel)
        await tab.write_message(json.dumps(message))
        while (text := await tab.read_message()) is not None:
            answer = json.loads(text)
            if answer["parent_header"].get("msg_id") != header["msg_id"] or answer["msg_type"] != "status":
                continue
            if answer["content"]["execution_state"] == until:
                return tab


async def wait_told(file):
    while not os.path.exists(os.path.join(directory, file)):
        await asyncio.sleep(1)


async def main():
    tell("here")
    await wait_told("come")
    tell("", "tab")
    log_in()
    notebook = {"path": f"{user}.ipynb", "name": f"{user}.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = ask("POST", "api/sessions", notebook)["kernel"]["id"]
    tab = await run(kernel, told("first"), "busy")
    tab.close()
    os.remove(os.path.join(directory, "tab"))
    tell("closed")
    await wait_told("again")
    tell("", "tab")
    ask("POST", f"api/kernels/{kernel}/interrupt")
    while ask("GET", "api/kernels")[0]["execution_state"] != "idle":
        await asyncio.sleep(1)
    tab = await run(kernel, told("second"), "idle")
    tell("done")
    while True:
        await asyncio.sleep(10)
        while True:
            try:
                assert await asyncio.wait_for(tab.read_message(), 0.1) is not None, "the tab lost its kernel"
            except asyncio.TimeoutError:
                break
        [there] = ask("GET", "api/kernels")
        tell(f"{there['execution_state']} {there['connections']}")


asyncio.run(main())
