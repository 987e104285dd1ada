#!/usr/bin/python3
"""samples SECONDS: how many milliseconds each sample of the agent's took, as its status says every few seconds."""
import json, sys, time

end = time.monotonic() + float(sys.argv[1])
last = None
while time.monotonic() < end:
    with open("/run/dsvm-agent/status/full.json") as status:
        took = (json.load(status).get("idle") or {}).get("sample_ms")
    if took is not None and took != last:
        last = took
        print(took)
    time.sleep(5)
