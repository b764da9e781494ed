#!/usr/bin/env python3
"""The command of a captive service that a test holds: writes the service's
addresses to the file KOMBI_TEST_HOLD, then waits for the end of its stdin."""
import json
import os
import sys

path = os.environ["KOMBI_TEST_HOLD"]
with open(path + ".new", "w") as file:
    json.dump({name: os.environ.get(name) for name in ("KOMBI_URL", "KOMBI_ADMIN_URL", "KOMBI_TLS_URL")}, file)
os.rename(path + ".new", path)
sys.stdin.buffer.read()
