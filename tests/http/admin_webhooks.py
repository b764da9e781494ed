#!/usr/bin/env python3
"""The webhook corpus driven at real processes of admin: signatures, replays, two instances, the database away, kill -9."""
# captive-env: STRIPE_WEBHOOK_SECRET=whsec_captive_6de2 ZITADEL_WEBHOOK_SECRET=zt-captive-key-2b84
import base64
import hashlib
import hmac
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "../support"))
import identity  # noqa: E402
from service_process import ServiceProcess  # noqa: E402
from tally import Tally  # noqa: E402
from waiting import until  # noqa: E402
from wire import Wire  # noqa: E402

ATTACKS = HERE.parent / "attacks"
STRIPE, ZITADEL, PREVIOUS = "whsec_corpus_current", "zk_corpus_current_77", "whsec_corpus_previous"
FLOOD = 2000
tally = Tally()
check = tally.check


def deliveries(now=None):
    command = [sys.executable, str(ATTACKS / "tools/webhook_build.py"), str(ATTACKS / "webhook.jsonl"), "--stripe-secret", STRIPE,
               "--zitadel-secret", ZITADEL, "--previous", PREVIOUS, "--now", str(now or int(time.time()))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {one["id"]: one for one in map(json.loads, lines)}


class Relay:
    """A port that leads to PostgreSQL until it is shut."""

    def __init__(self, url):
        authority = url.split("@", 1)[1].split("/", 1)[0]
        self.target = authority.rsplit(":", 1)[0], int(authority.rsplit(":", 1)[1])
        self.server = socket.create_server(("127.0.0.1", 0))
        port = self.server.getsockname()[1]
        self.url = url.replace(authority, f"127.0.0.1:{port}")
        self.shut, self.pairs, self.lock = False, [], threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            inner, _ = self.server.accept()
            with self.lock:
                if self.shut:
                    inner.close()
                    continue
                outer = socket.create_connection(self.target)
                self.pairs.append((inner, outer))
            for one, other in ((inner, outer), (outer, inner)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            self.shut = True
            for pair in self.pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def join(self):
        with self.lock:
            self.shut = False


class Admins:
    """Two admins on one database, the second of them in the middle of a rotation, and one without any secret."""

    def __init__(self, url, folder):
        self.relay = Relay(url)
        secret = identity.root_secret().decode()
        secrets = {"STRIPE_WEBHOOK_SECRET": STRIPE, "ZITADEL_WEBHOOK_SECRET": ZITADEL}
        rolling = {"STRIPE_WEBHOOK_SECRET_NEXT": PREVIOUS, "ZITADEL_WEBHOOK_SECRET_NEXT": PREVIOUS}
        self.folders = [os.path.join(folder, name) for name in ("one", "two", "open")]
        for name in self.folders:
            os.mkdir(name)
        settings = (secrets, {**secrets, **rolling}, {})
        self.processes = [ServiceProcess("admin", where, secret, DATABASE_URL=self.relay.url, STACK_SERVICE_PORT="9", SIM_SERVICE_PORT="9", **more)
                          for where, more in zip(self.folders, settings)]
        self.one, self.two, self.open = self.processes
        for process in self.processes:
            process.start()

    def stop(self):
        for process in self.processes:
            process.stop()

    def logs(self):
        return "".join(process.log_file.read_text(errors="replace") for process in self.processes)


def deliver(process, delivery):
    body = base64.b64decode(delivery["body_b64"])
    headers = [tuple(pair) for pair in delivery["headers"]]
    if delivery.get("transfer") == "chunked":
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        headers += [("Transfer-Encoding", "chunked"), ("Content-Length", None)]
    return Wire(process.url).call(delivery["method"], delivery["path"], body, headers)


def events(process, query=""):
    headers = identity.proven(identity.identity("op", "org-op", roles="kombisphere_admin"), "GET", "admin")
    answer = Wire(process.url).call("GET", f"/v1/admin/webhooks?limit=100{query}", None, headers)
    assert answer.status == 200, answer
    return answer.json()


def total(process):
    return events(process)["meta"]["total"]


def judge(case, answer, before, after):
    expect = case["expect"]
    good = answer.status in expect["status"] and (answer.status < 400 or "code" not in expect or answer.code in expect["code"])
    check(f"{case['id']} {case['title']}", good, answer)
    asserts = expect.get("assert", {})
    if asserts.get("no_db_change") or answer.status >= 400:
        check(f"{case['id']} changed nothing", after == before, (before, after))
    if "effects" in asserts:
        check(f"{case['id']} is kept once", after - before == asserts["effects"], (before, after))


def one_case(case, admins):
    where = admins.open if case.get("config", {}).get("secret") == "" else admins.two if case.get("config") else admins.one
    targets = [admins.one, admins.two] if case.get("targets") else [where]
    before = total(admins.one)
    begin = time.monotonic()
    answers = [deliver(targets[n % len(targets)], case) for n in range(case.get("repeat", 1))]
    seconds = time.monotonic() - begin
    for answer in answers:
        check(f"{case['id']} always answers so", answer.status == answers[0].status, answer)
    judge(case, answers[-1], before, total(admins.one))
    if "max_ms" in case["expect"].get("assert", {}):
        check(f"{case['id']} at once", seconds * 1000 <= case["expect"]["assert"]["max_ms"], seconds)


def resigned(case, admins):
    """The provider sends the same body again under a new time and signature."""
    before = total(admins.one)
    body = base64.b64decode(case["body_b64"])
    for at in (int(time.time()) - 7, int(time.time())):
        secret = STRIPE if case["provider"] == "stripe" else ZITADEL
        answer = Wire(admins.one.url).call("POST", case["path"], body, [(name_of(case), signature(secret, at, body))])
        check(f"{case['id']} at {at}", answer.status == 200, answer)
    judge(case, answer, before, total(admins.one))


def name_of(case):
    return "Stripe-Signature" if case["provider"] == "stripe" else "ZITADEL-Signature"


def signature(secret, at, body):
    return f"t={at},v1=" + hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()


def in_order_told(case, admins):
    """Events of one object in another order than they happened: all are kept, Stripe is asked later what holds."""
    before = total(admins.one)
    for n, step in enumerate(case["sequence"]):
        kind, at = step.split("@")
        event = json.loads(base64.b64decode(case["body_b64"])) | {"id": f"evt_{case['id']}_{n}", "type": kind, "created": int(time.time()) + int(at)}
        body = json.dumps(event).encode()
        answer = Wire(admins.one.url).call("POST", case["path"], body, [(name_of(case), signature(STRIPE, int(time.time()), body))])
        check(f"{case['id']} {step}", answer.status == 200, answer)
    check(f"{case['id']} {case['title']}: all kept", total(admins.one) - before == len(case["sequence"]))


def database_down(case, admins):
    admins.relay.cut()
    answer = deliver(admins.one, case)
    check(f"{case['id']} {case['title']}", answer.status == 503 and answer.header("Retry-After"), answer)
    admins.relay.join()
    until(lambda: deliver(admins.one, case).status == 200, "taken when the database is back", 20)
    check(f"{case['id']} kept", any(row["eventId"] == json.loads(base64.b64decode(case["body_b64"]))["id"] for row in events(admins.one)["data"]))


def killed(case, admins):
    before = total(admins.two)
    answer = deliver(admins.one, case)
    admins.one.kill()
    admins.one.start()
    check(f"{case['id']} {case['title']}", answer.status == 200 and deliver(admins.one, case).status == 200, answer)
    check(f"{case['id']} kept once", total(admins.one) - before == 1)
    until(lambda: events(admins.one, "&provider=zitadel&status=pending")["meta"]["total"] == 0, "done in the end")
    user = Wire(admins.one.url).call("GET", "/api/internal/users/user-a1", None, identity.bearer("cloud", "admin"))
    check(f"{case['id']} and done", user.status == 200 and user.json()["status"] == "suspended", user)


def flooded(case, admins):
    """Rubbish of four senders beside it stops no good delivery, and leaves a few rows at most."""
    stop = threading.Event()
    bad = dict(case, headers=[["Stripe-Signature", "t=1,v1=" + "0" * 64]])

    def sender():
        for _ in range(FLOOD // 4):
            if stop.is_set():
                return
            deliver(admins.one, bad)

    senders = [threading.Thread(target=sender) for _ in range(4)]
    for thread in senders:
        thread.start()
    answer = deliver(admins.one, case)
    stop.set()
    for thread in senders:
        thread.join()
    check(f"{case['id']} {case['title']}", answer.status == 200, answer)


def secrets_stay_out_of_logs(admins, cases):
    text = admins.logs()
    check("logs were read", '"webhook.rejected"' in text)
    for secret in (STRIPE, ZITADEL, PREVIOUS):
        check("no secret in the logs", secret not in text)
    macs = {part.split("=", 1)[1] for case in cases.values() for _, value in case["headers"] for part in value.split(",") if part.startswith("v1=")}
    check("no signature in the logs", not any(len(mac) == 64 and mac.strip("0") and mac in text for mac in macs))
    check("no payload in the logs", "price_pro" not in text)


def own_database(url):
    subprocess.run(["psql", "-qXd", url, "-c", "CREATE DATABASE kombi_webhooks"], check=True)
    head, _, tail = url.rpartition("/")
    return f"{head}/kombi_webhooks" + ("?" + tail.split("?", 1)[1] if "?" in tail else "")


def run(case, admins):
    if case.get("sequence"):
        in_order_told(case, admins)
    elif case.get("resign"):
        resigned(case, admins)
    elif case.get("fault"):
        {"pg_down": database_down, "kill_before_commit": killed}[case["fault"]](case, admins)
    elif case.get("flood"):
        flooded(case, admins)
    else:
        one_case(case, admins)


def main():
    for provider in ("stripe", "zitadel"):
        answer = Wire(os.environ["KOMBI_URL"]).call("GET", f"/api/webhooks/{provider}/health")
        check(f"{provider} can be verified", answer.status == 200 and answer.json()["checks"] == {"webhookSecretConfigured": True}, answer)
    with open(os.environ["DATABASE_URL_FILE"], encoding="utf-8") as file:
        url = own_database(file.read().strip())
    with tempfile.TemporaryDirectory() as folder:
        admins = Admins(url, folder)
        try:
            cases = deliveries()
            for case in cases.values():
                run(case, admins)
            without = Wire(admins.open.url).call("GET", "/api/webhooks/stripe/health")
            check("without a secret its health says so", without.status == 503, without)
            secrets_stay_out_of_logs(admins, cases)
        finally:
            admins.stop()
    tally.end()


main()
