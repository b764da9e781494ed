#!/usr/bin/env python3
"""The stackkit command, on a folder and on a running service. Between it and
the service stands a gateway in small that trades the token for an identity."""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

from stackkits import URL, identity

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.path.join(os.environ.get("KOMBI_BIN_DIR", f"{ROOT}/build/release/bin"), "stackkits-cli")
SAMPLES = f"{ROOT}/stackkits/kits/base-homelab/tests"
failures = passed = 0


class Gateway(http.server.BaseHTTPRequestHandler):
    def answer(self):
        if self.headers["Authorization"] != "Bearer good-token":
            return self.reply(401, {}, b'{"error":{"code":"AUTH_INVALID","message":"Invalid credentials"}}')
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        headers = identity(self.command, "free") | ({"Content-Type": "application/json"} if body else {})
        request = urllib.request.Request(URL + self.path, data=body, method=self.command, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as back:
                return self.reply(back.status, back.headers, back.read())
        except urllib.error.HTTPError as back:
            return self.reply(back.code, back.headers, back.read())

    do_GET = do_POST = answer

    def reply(self, status, headers, body):
        self.send_response(status)
        for name in ("Content-Type", "X-Checksum-SHA256"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def cli(*arguments, token=None, **env):
    env |= {"STACKKITS_DIR": f"{ROOT}/stackkits", "CUE_BIN": os.environ["CUE_BIN"]} | ({"STACKKIT_TOKEN": token} if token else {})
    return subprocess.run([CLI, *arguments], capture_output=True, text=True, env=env, timeout=120, check=False)


def check(what, run, status, out="", err=""):
    global failures, passed
    good = run.returncode == status and out in run.stdout and err in run.stderr
    passed += good
    failures += not good
    if not good:
        print(f"not ok - {what}: status {run.returncode}, {run.stdout[:400]!r}, {run.stderr[:400]!r}")


def both_sources(name, options, token):
    def run(*arguments):
        return cli(*arguments, f"--source={name}", *options, token=token)

    check(f"{name}: list", run("list"), 0, "base-homelab")
    check(f"{name}: info by alias", run("info", "base"), 0, '"id":"base-homelab"')
    check(f"{name}: info of nothing", run("info", "nope"), 1)
    check(f"{name}: a path is no kit", run("info", "../../health"), 1)
    check(f"{name}: a good document", run("validate", f"{SAMPLES}/valid/canonical.yaml"), 0, "valid for base-homelab")
    bad = f"{SAMPLES}/invalid/no-main.yaml"
    check(f"{name}: a bad document", run("validate", bad), 1, f"{bad}:3:8: error: nodes must have exactly one main node")
    report = run("validate", "--json", "--stackkit=base", bad)
    check(f"{name}: as JSON", report, 1)
    check(f"{name}: one error", report, 1 if len(json.loads(report.stdout)["errors"]) == 1 else -1)
    check(f"{name}: no document", run("validate", "/nonexistent.yaml"), 3, err="/nonexistent.yaml")
    with tempfile.TemporaryDirectory() as folder:
        check(f"{name}: init", run("init", "--kit=base", folder), 0, "base-homelab-1")
        kit = os.path.join(folder, os.listdir(folder)[0])
        check(f"{name}: the kit is whole", run("init", "--kit=base", folder), 3, err="File exists")
        offline = subprocess.run([os.environ["CUE_BIN"], "export", "-e", "report.valid", "-l", "input:", ".", "tests/valid/canonical.yaml"],
                                 cwd=kit, capture_output=True, text=True, env={"HOME": "/nonexistent"}, check=False)
        check(f"{name}: what was unpacked validates", offline, 0, "true")


def wrong_use_is_told():
    check("nothing", cli(), 2, err="usage")
    check("help", cli("--help"), 0, "usage")
    check("unknown command", cli("frob"), 2, err="frob")
    check("unknown option", cli("list", "--frob"), 2, err="--frob")
    check("a token in the open", cli("list", "--token=x"), 2, err="--token-file")
    check("unknown source", cli("list", "--source=ftp"), 2, err="local or api")
    check("git", cli("list", "--source=git"), 2, err="clone")
    check("no address", cli("list", "--source=api"), 2, err="STACKKIT_API")
    check("no cue", cli("validate", "--cue=/nonexistent", f"{SAMPLES}/valid/canonical.yaml"), 3, err="CUE_BIN")
    check("no folder", cli("list", "--dir=/nonexistent"), 3, err="/nonexistent")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = f"--api=http://127.0.0.1:{server.server_port}"
    wrong_use_is_told()
    both_sources("local", [], None)
    both_sources("api", [api], "good-token")
    check("a bad token", cli("list", "--source=api", api, token="bad-token"), 3, err="token")
    check("no token", cli("list", "--source=api", api), 3, err="token")
    server.shutdown()
    print(f"{passed} passed, {failures} failed")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
