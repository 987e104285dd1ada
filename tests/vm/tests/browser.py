"""A person with a browser: logs in, asks for their server, reads the page that comes of it, starts a kernel."""

import sys, time, requests
base, user, what = "http://127.0.0.1:8000", sys.argv[1], sys.argv[2]
import pickle, os
jar = "/root/cookies-" + user
s = requests.Session()
if os.path.exists(jar):
    s.cookies = pickle.load(open(jar, "rb"))
if what == "log-in":
    for _ in range(600):
        try:
            if s.get(base + "/hub/login").ok:
                break
        except requests.ConnectionError:
            pass
        time.sleep(0.5)
    form = {"username": user, "password": user, "_xsrf": s.cookies.get("_xsrf", path="/hub/")}
    r = s.post(base + "/hub/login", data=form, allow_redirects=False)
    print(r.status_code)
elif what == "start":
    r = s.get(base + "/hub/spawn/" + user)
    seen = set()
    for _ in range(600):
        r = s.get(base + "/hub/spawn-pending/" + user)
        if "/user/" in r.url:
            print("started")
            break
        if r.status_code >= 500:
            print("page", r.text)
            break
        time.sleep(0.5)
    else:
        print("never")
elif what == "kernel":
    # A program asks for what the page with a notebook asks for.
    s.get(base + "/user/" + user + "/api/status")
    token = s.cookies.get("_xsrf", path="/user/" + user + "/")
    r = s.post(base + "/user/" + user + "/api/kernels", headers={"X-XSRFToken": token})
    print(r.status_code)
elif what == "stop":
    x = s.cookies.get("_xsrf", path="/hub/")
    r = s.delete(base + "/hub/api/users/" + user + "/server", headers={"X-XSRFToken": x, "Referer": base + "/hub/home"})
    print(r.status_code)
pickle.dump(s.cookies, open(jar, "wb"))
