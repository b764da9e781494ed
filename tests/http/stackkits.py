#!/usr/bin/env python3
# not-quick: it evaluates every sample of the kits
"""stackkits over HTTP, with the official cue: build/release/bin/stackkits --run 'python3 tests/http/stackkits.py'

Needs KOMBI_URL and what the service was given: KOMBI_SERVICE_SECRET or its
_FILE (to make the gateway's proof), STACKKITS_DIR and CUE_BIN."""
import glob
import hashlib
import hmac
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

URL = os.environ["KOMBI_URL"]
KITS = os.path.join(os.environ["STACKKITS_DIR"], "kits")
CUE = os.environ["CUE_BIN"]
FIELDS = ("X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles", "X-Subscription-Plan", "X-Tenant-ID")
failures = passed = 0


def secret():
    path = os.environ.get("KOMBI_SERVICE_SECRET_FILE")
    if not path:
        return os.environ["KOMBI_SERVICE_SECRET"].encode()
    with open(path, "rb") as file:
        return file.read().removesuffix(b"\n")


def pair_key(caller, callee):
    """HKDF-SHA256 (RFC 5869) without salt, one block."""
    prk = hmac.new(bytes(32), secret(), "sha256").digest()
    return hmac.new(prk, f"kombi pair v1 {caller} {callee}".encode() + b"\1", "sha256").digest()


def identity(method, plan, at=None):
    key, at = pair_key("gateway", "stackkits"), at or int(time.time())
    values = {"X-User-ID": "user-1", "X-Org-ID": "org-1", "X-Subscription-Plan": plan}
    text = f"kombi-proof-v1\n{at}\n{method}\nstackkits\n" + "".join(values.get(f, "") + "\n" for f in FIELDS)
    mac = hmac.new(key, text.encode(), "sha256").hexdigest()
    return values | {"X-Kombi-Proof": f"t={at},k={hashlib.sha256(key).hexdigest()[:8]},v1={mac}"}


def call(method, path, body=None, plan="free", headers=None):
    headers = dict(identity(method, plan) if plan else {}, **(headers or {}))
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def check(what, condition, seen=""):
    global failures, passed
    passed += bool(condition)
    failures += not condition
    if not condition:
        print(f"not ok - {what}: {seen!r}"[:1500])


def is_error(what, answer, status, code):
    body = json.loads(answer[2] or b"{}")
    error = body.get("error", {})
    check(what, answer[0] == status and error.get("code") == code and error.get("requestId") and error.get("timestamp"), answer)
    return error


def the_list_is_bare_and_complete():
    status, _, body = call("GET", "/v1/stackkits")
    kits = json.loads(body)["kits"]
    check("list", status == 200 and set(json.loads(body)) == {"kits"}, body)
    for kit in kits:
        check("summary", list(kit) == ["id", "name", "version", "description", "minPlan", "tags", "downloadUrl"], kit)
        check("a free user sees free kits", kit["minPlan"] == "free", kit)
    check("base-homelab is free", "base-homelab" in [kit["id"] for kit in kits], kits)
    everything = json.loads(call("GET", "/v1/stackkits", plan="enterprise")[2])["kits"]
    check("enterprise sees every kit", len(everything) == len(os.listdir(KITS)), everything)


def strangers_are_refused():
    is_error("no identity", call("GET", "/v1/stackkits", plan=None), 401, "KONG_AUTH_REQUIRED")
    forged = identity("GET", "free") | {"X-Subscription-Plan": "enterprise"}
    check("a forged plan", call("GET", "/v1/stackkits", plan=None, headers=forged)[0] == 401)
    old = identity("GET", "free", at=int(time.time()) - 120)
    check("an old proof", call("GET", "/v1/stackkits", plan=None, headers=old)[0] == 401)


def wrong_calls_get_the_envelope():
    error = is_error("unknown kit", call("GET", "/v1/stackkits/nope"), 404, "NOT_FOUND")
    check("its message", error.get("message") == "Kit not found", error)
    is_error("unknown route", call("GET", "/v1/nothing"), 404, "NOT_FOUND")
    is_error("method", call("DELETE", "/v1/stackkits/base-homelab"), 405, "METHOD_NOT_ALLOWED")
    path = "/v1/stackkits/base-homelab/validate"
    is_error("no body", call("POST", path, b""), 400, "VALIDATION_FAILED")
    is_error("no JSON", call("POST", path, b"{"), 400, "VALIDATION_FAILED")
    is_error("unknown member", call("POST", path, {"yaml": "a"}), 400, "VALIDATION_FAILED")
    is_error("media type", call("POST", path, b"{}", headers={"Content-Type": "text/plain"}), 415, "UNSUPPORTED_MEDIA_TYPE")
    is_error("too large", call("POST", path, {"kombinationYaml": "a" * (3 << 20)}), 413, "PAYLOAD_TOO_LARGE")


def plans_are_enforced():
    for kit in json.loads(call("GET", "/v1/stackkits", plan="enterprise")[2])["kits"]:
        answer = call("GET", kit["downloadUrl"])
        if kit["minPlan"] == "free":
            check(f"{kit['id']} is free", answer[0] == 200, answer)
            continue
        error = is_error(f"{kit['id']} needs a plan", answer, 403, "PLAN_UPGRADE_REQUIRED")
        check("which one", error.get("message") == "Plan upgrade required"
              and error.get("details", {}).get("requiredPlan") == kit["minPlan"], error)
        check("with it", call("GET", kit["downloadUrl"], plan=kit["minPlan"])[0] == 200)


def unpacked(kit, folder):
    """Downloads, checks every digest, unpacks; returns the top folder."""
    status, headers, body = call("GET", f"/v1/stackkits/{kit}/download", plan="enterprise")
    digest = hashlib.sha256(body).hexdigest()
    check("download", status == 200 and headers["Content-Type"] == "application/gzip", headers.items())
    check("checksum", headers["X-Checksum-SHA256"] == digest and headers["ETag"] == f'"{digest}"', headers.items())
    check("a second is equal", call("GET", f"/v1/stackkits/{kit}/download", plan="enterprise")[2] == body)
    again = call("GET", f"/v1/stackkits/{kit}/download", plan="enterprise", headers={"If-None-Match": headers["ETag"]})
    check("not modified", again[0] == 304 and again[2] == b"", again)
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        members = tar.getmembers()
        check("plain files of nobody", all(m.isreg() and m.uid == m.gid == 0 and m.mode == 0o644 and m.uname == "" for m in members))
        check("one time", len({m.mtime for m in members}) == 1)
        tar.extractall(folder, filter="data")
    top = os.path.join(folder, members[0].name.split("/")[0])
    with open(os.path.join(top, "MANIFEST.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    check("top folder", os.path.basename(top) == f"{manifest['kit']}-{manifest['version']}", top)
    for entry in manifest["files"]:
        with open(os.path.join(top, entry["path"]), "rb") as file:
            check(entry["path"], hashlib.sha256(file.read()).hexdigest() == entry["sha256"])
    check("nothing beside the manifest", len(manifest["files"]) == len(members) - 1)
    return top


def expected(text):
    return sorted(tuple(line[10:].split(" ", 1)) for line in text.splitlines() if line.startswith("# expect: "))


def the_samples_get_their_verdicts(kit):
    samples = sorted(glob.glob(f"{KITS}/{kit}/tests/*valid/*.yaml"))
    check("samples", len(samples) >= 10, samples)
    for sample in samples:
        with open(sample, encoding="utf-8") as file:
            text = file.read()
        status, _, body = call("POST", f"/v1/stackkits/{kit}/validate", {"kombinationYaml": text}, plan="enterprise")
        report = json.loads(body)
        errors = sorted((e["code"], e["path"]) for e in report.get("errors", []))
        check(sample, status == 200 and errors == expected(text) and report["valid"] == (not errors), body)
        check("empty lists are left out", report.get("errors") != [] and report.get("warnings") != [], body)
        for error in report.get("errors", []):
            check("a place", error["line"] >= 1 and error["column"] >= 1, error)


def a_download_validates_offline(kit, top):
    """The unpacked kit and the service say the same."""
    for sample in sorted(glob.glob(f"{top}/tests/*valid/*.yaml"))[:6]:
        run = subprocess.run([CUE, "export", "-e", "report", "-l", "input:", ".", sample], cwd=top, text=True,
                             capture_output=True, env={"HOME": "/nonexistent", "CUE_REGISTRY": "none"}, check=False)
        with open(sample, encoding="utf-8") as file:
            answer = json.loads(call("POST", f"/v1/stackkits/{kit}/validate", {"kombinationYaml": file.read()}, plan="enterprise")[2])
        check(f"offline {sample}", run.returncode == 0 and json.loads(run.stdout)["valid"] == answer["valid"], run.stderr)


def yaml_errors_have_a_line():
    for text, line in (("name: a\nnodes: [\n", None), ("a: 1\na: 2\n", 2), ("x: &a [1]\n---\ny: 2\n", None), ("- " * 200, None)):
        report = json.loads(call("POST", "/v1/stackkits/base/validate", {"kombinationYaml": text})[2])
        error = report.get("errors", [{}])[0]
        check("no YAML", report["valid"] is False and error.get("code") == "INVALID_FORMAT", report)
        check("its line", line is None or error.get("line") == line, error)


def a_kit_is_validated_by_name():
    config = {"name": "home", "nodes": [{"name": "a", "type": "main"}], "services": ["dozzle"]}
    body = {"stackkit": "base", "config": config}
    report = json.loads(call("POST", "/v1/stackkits/validate", body)[2])
    check("by name", report["valid"] and report["stackkit"] == "base-homelab" and report["errors"] == [], report)
    check("info", report["info"]["services_count"] == 3 and report["info"]["estimated_resources"]["memory"] > 0, report)
    config["typo"] = True
    report = json.loads(call("POST", "/v1/stackkits/validate", body)[2])
    check("a warning", report["valid"] and report["warnings"][0]["code"] == "UNKNOWN_FIELD", report)
    report = json.loads(call("POST", "/v1/stackkits/validate", body | {"strict": True})[2])
    check("strict", report["valid"] is False, report)
    is_error("version", call("POST", "/v1/stackkits/validate", body | {"version": "0.0.9"}), 404, "NOT_FOUND")


def a_document_at_its_limits_is_judged():
    """200 services in a chain, with ports and volumes."""
    services = [{"name": f"s{i}", "image": "a/b:1", "needs": [f"s{i - 1}"] if i else [], "ports": [{"container": 80, "host": 10000 + i}],
                 "volumes": [{"name": "v", "mountPath": "/x"}]} for i in range(200)]
    nodes = [{"name": f"n{i}", "type": "worker" if i else "main"} for i in range(10)]
    report = call("POST", "/v1/stackkits/validate", {"stackkit": "base", "config": {"name": "home", "nodes": nodes, "services": services}})
    check("the largest document", report[0] == 200 and json.loads(report[2])["valid"], report[2])


def a_hostile_document_is_answered_in_time():
    """Every service needs twenty others: following that costs more than allowed."""
    services = [{"name": f"s{i}", "image": "a/b:1", "needs": [f"s{(i * 7 + j) % 200}" for j in range(20)]} for i in range(200)]
    start = time.monotonic()
    body = {"stackkit": "base", "config": {"name": "home", "nodes": [{"name": "a", "type": "main"}], "services": services}}
    status, _, answer = call("POST", "/v1/stackkits/validate", body)
    # On a busy machine the wall clock may end it before the CPU limit does.
    check("answered", status == 504 or (status == 200 and json.loads(answer)["valid"] is False), answer)
    check("in time", time.monotonic() - start < 40)
    check("the service is well", call("GET", "/ready", plan=None)[0] == 200)


def main():
    the_list_is_bare_and_complete()
    strangers_are_refused()
    wrong_calls_get_the_envelope()
    plans_are_enforced()
    for kit in sorted(os.listdir(KITS)):
        the_samples_get_their_verdicts(kit)
        with tempfile.TemporaryDirectory() as folder:
            a_download_validates_offline(kit, unpacked(kit, folder))
    yaml_errors_have_a_line()
    a_kit_is_validated_by_name()
    a_document_at_its_limits_is_judged()
    a_hostile_document_is_answered_in_time()
    print(f"{passed} passed, {failures} failed")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
