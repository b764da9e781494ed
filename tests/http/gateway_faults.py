#!/usr/bin/env python3
# not-quick: it waits for deadlines, and breaks things
"""What goes wrong around the gateway: descriptors run out, clocks jump, the
log cannot be written, clients stall or flood, keys of an issuer are gone. Each
has its answer, one line in the log and a number, and an end.
tests/support/captive gateway tests/http/gateway_faults.py"""
import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import (SECRET, Gateway, Issuer, Upstream, connect, gateway_binary, request_bytes, reset,  # noqa: E402
                         run_tests, send, until)

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-faults-"))
UPSTREAM, ISSUER = Upstream(), Issuer(FOLDER)


class Keys:
    """An issuer's key set whose answers a test chooses."""

    def __init__(self):
        self.mode, self.asked, outer = "good", 0, self
        real = ISSUER.url

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                if outer.mode == "dead":
                    self.connection.close()
                    return
                if outer.mode == "slow":
                    outer.wait.wait(20)
                body = {"garbage": b"<html>no</html>", "empty": b'{"keys":[]}'}.get(outer.mode)
                if body is None:
                    import urllib.request
                    body = urllib.request.urlopen(real + "/keys").read()
                self.send_response(500 if outer.mode == "error" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.wait = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"


KEYS = Keys()


def config(extra=""):
    return f"""_format_version: "3.0"
services:
- name: stack
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: stacks, paths: [/v1/stacks], strip_path: false}}
  - name: limited
    paths: [/v1/limited]
    plugins:
    - {{name: rate-limiting-advanced, config: {{identifier: jwt_claim_plan, limit: [3, 3, 3], window_size: [60, 60, 60]}}}}
  plugins:
  - name: jwt
    config: {{issuer: "{ISSUER.url}", jwks_uri: "{KEYS.url}", audience: [kombify], claims_to_verify: [exp, iss, aud], maximum_expiration: 90000}}
- name: public
  url: http://127.0.0.1:{UPSTREAM.port}
  retries: 0
  read_timeout: 1000
  routes:
  - {{name: public, paths: [/public], strip_path: false}}
{extra}"""


def metric(gateway, name):
    text = gateway.call("GET", "/metrics", admin=True).body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def fine(gateway):
    return gateway.call("GET", "/public/fine").status == 200


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- descriptors ----------------------------------------------------------------------


def test_without_descriptors_clients_are_told_and_it_recovers_by_itself():
    gateway = Gateway(config())
    try:
        assert fine(gateway)
        pid = gateway.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))
        hoard = []
        for _ in range(60):
            wire = connect(gateway.url)
            wire.sock.sendall(b"GET /public/x HTTP/1.1\r\n")
            hoard.append(wire)
        told = 0
        for wire in hoard:
            if select.select([wire.sock], [], [], 0.02)[0]:
                told += b"503" in wire.sock.recv(4096)
        assert told > 0, "nobody was told"
        until(lambda: "no descriptors are left" in gateway.logged(), 5, "a line in the log")
        before = cpu_seconds(pid)
        begin = time.monotonic()
        until(lambda: time.monotonic() > begin + 1, 5, "a second")
        assert cpu_seconds(pid) - before < 0.3, "it spins"
        assert gateway.logged().count("no descriptors are left") == 1, "one line a change of state"
        for wire in hoard:
            wire.close()
        until(lambda: answers(gateway), 5, "recovery")
        assert metric(gateway, "kombi_http_accept_paused_total") >= 1
        until(lambda: answers(gateway) and "descriptors are there again" in gateway.logged(), 5, "the other line")
    finally:
        gateway.stop()


def answers(gateway):
    try:
        return fine(gateway)
    except (OSError, AssertionError, EOFError):
        return False


def test_an_upstream_that_cannot_be_connected_to_for_want_of_descriptors_is_a_503():
    gateway = Gateway(config())
    try:
        pid = gateway.process.pid
        wire = connect(gateway.url)
        wire.sock.sendall(request_bytes("GET", "/health"))
        wire.body(wire.head())
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - 1, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        wire.sock.sendall(request_bytes("GET", "/public/x"))
        head = wire.head()
        body = json.loads(wire.body(head))
        assert head.start.split()[1] == "503" and body["error"]["code"] == "SERVICE_UNAVAILABLE", (head.start, body)
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        until(lambda: answers(gateway), 5, "recovery")
    finally:
        gateway.stop()


# ---- the clock --------------------------------------------------------------------------


def test_a_clock_that_jumps_moves_no_deadline_and_no_window():
    shift = FOLDER / "shift"
    shift.write_text("0")
    gateway = Gateway(config(), KOMBI_SHIFT_CLOCK=str(shift), LD_PRELOAD=str(pathlib.Path(gateway_binary()).parent / "shift_clock.so"))
    try:
        token = ISSUER.token(exp=int(time.time()) + 86400)
        short = ISSUER.token(exp=int(time.time()) + 600, sub="short")
        idle = connect(gateway.url)
        idle.sock.sendall(request_bytes("GET", "/public/x"))
        idle.body(idle.head())
        for _ in range(3):
            assert gateway.call("GET", "/v1/limited", token=token).status == 200
        assert gateway.call("GET", "/v1/limited", token=token).status == 429
        for seconds in (3600 * 5, -3600 * 5, 0):
            shift.write_text(str(seconds))
            until(lambda: abs(logged_shift(gateway, seconds)) < 30, 5, f"the clock to be {seconds} off")
            # Not a window more of requests, whichever way it jumps.
            assert gateway.call("GET", "/v1/limited", token=token).status == 429, seconds
            # A kept connection stays: its deadline is monotonic.
            idle.sock.sendall(request_bytes("GET", "/public/x"))
            head = idle.head()
            assert head.start.split()[1] == "200", seconds
            idle.body(head)
            # Tokens are judged by the wall: five hours on, one of ten minutes is over.
            status = gateway.call("GET", "/v1/stacks/x", token=ISSUER.token(exp=int(time.time()) + 600, sub=f"s{seconds}")).status
            assert seconds < 0 or status == (401 if seconds else 200), (seconds, status)
        assert gateway.call("GET", "/v1/stacks/x", token=short).status == 200
    finally:
        gateway.stop()


def logged_shift(gateway, seconds):
    stamp = gateway.call("GET", "/health").json()["timestamp"]
    at = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    return at - time.time() - seconds


# ---- the log ---------------------------------------------------------------------------------


class Logging:
    """A gateway whose standard output is ours."""

    def __init__(self, stdout, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kombi-logging-"))
        file, hold = self.folder / "kong.yml", self.folder / "hold"
        file.write_text(config())
        settings = dict(PATH=os.environ["PATH"], KOMBI_ENVIRONMENT="development", KOMBI_SERVICE_SECRET=SECRET,
                        KONG_DECLARATIVE_CONFIG=str(file), KOMBI_TEST_HOLD=str(hold), KOMBI_WORKERS="1", **env)
        hold_py = pathlib.Path(__file__).resolve().parent.parent / "support/hold.py"
        self.process = subprocess.Popen([gateway_binary(), "--run", f"python3 {hold_py}"], stdin=subprocess.PIPE,
                                        stdout=stdout, stderr=subprocess.DEVNULL, env=settings)
        until(hold.exists, 20, "start")
        self.url = json.loads(hold.read_text())["KOMBI_URL"]

    def ask(self, n):
        wire = connect(self.url)
        for _ in range(n):
            wire.sock.sendall(request_bytes("GET", "/public/logged"))
            head = wire.head()
            assert head.start.split()[1] == "200"
            wire.body(head)
        wire.close()

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        shutil.rmtree(self.folder)


def test_a_log_reader_that_stops_costs_lines_and_no_request():
    read, write = os.pipe()
    gateway = Logging(write)
    os.close(write)
    begin = time.monotonic()
    gateway.ask(6000)
    assert time.monotonic() - begin < 20
    text = b""

    def drained():
        nonlocal text
        while select.select([read], [], [], 0)[0]:
            data = os.read(read, 1 << 20)
            if not data:
                break
            text += data
        return b"log lines dropped" in text or text.count(b"/public/logged") == 6000
    until(drained, 10, "what was held back")
    stop = threading.Thread(target=gateway.stop)
    stop.start()
    while os.read(read, 1 << 20):
        pass
    stop.join(20)
    os.close(read)


def test_a_log_that_is_closed_or_a_disk_that_is_full_costs_no_request():
    read, write = os.pipe()
    gateway = Logging(write)
    os.close(write)
    os.close(read)  # SIGPIPE must not end it
    gateway.ask(300)
    gateway.stop()
    with open("/dev/full", "wb") as full:
        gateway = Logging(full)
        gateway.ask(300)
        gateway.stop()


# ---- the process ------------------------------------------------------------------------------


def test_a_stopped_process_goes_on_where_it_was():
    gateway = Gateway(config())
    try:
        kept = connect(gateway.url)
        gateway.process.send_signal(signal.SIGSTOP)
        kept.sock.sendall(request_bytes("GET", "/public/stopped"))
        assert not select.select([kept.sock], [], [], 0.3)[0]
        gateway.process.send_signal(signal.SIGCONT)
        assert kept.head().start.split()[1] == "200"
    finally:
        gateway.stop()


# ---- clients -------------------------------------------------------------------------------------


def test_drips_of_heads_and_bodies_are_cut_in_time_while_others_are_served():
    gateway = Gateway(config())
    try:
        begin = time.monotonic()
        drips = [connect(gateway.url) for _ in range(40)]
        bodies = [connect(gateway.url) for _ in range(10)]
        for wire in bodies:
            wire.sock.sendall(request_bytes("POST", "/public/slow", [("Content-Length", "100000")]))
        open_ones = set(drips + bodies)
        slowest = 0
        while open_ones and time.monotonic() - begin < 20:
            for wire in list(open_ones):
                try:
                    wire.sock.send(b"X")
                    if select.select([wire.sock], [], [], 0)[0] and b"408" in wire.sock.recv(4096):
                        open_ones.discard(wire)
                except OSError:
                    open_ones.discard(wire)
            at = time.monotonic()
            assert fine(gateway)
            slowest = max(slowest, time.monotonic() - at)
            select.select([], [], [], 0.2)
        assert not open_ones, f"{len(open_ones)} are still dripping"
        assert slowest < 1, slowest
    finally:
        gateway.stop()


def test_floods_of_connections_that_are_reset_leave_nothing_behind():
    gateway = Gateway(config())
    try:
        assert fine(gateway)
        rss, fds = gateway.rss_kib(), len(os.listdir(f"/proc/{gateway.process.pid}/fd"))

        def flood(n):
            for i in range(500):
                wire = connect(gateway.url)
                if i % 3 == 1:
                    wire.sock.sendall(b"GET /public/x HT")
                elif i % 3 == 2:
                    wire.sock.sendall(request_bytes("GET", "/public/x"))
                reset(wire.sock)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(flood, range(8)))
        assert fine(gateway)
        until(lambda: len(os.listdir(f"/proc/{gateway.process.pid}/fd")) <= fds + 70, 10, "descriptors back (pools may stay)")
        assert gateway.rss_kib() - rss < 8192, gateway.rss_kib() - rss
    finally:
        gateway.stop()


def test_ten_thousand_pipelined_requests_are_answered_or_closed_in_order():
    gateway = Gateway(config())
    try:
        wire = connect(gateway.url)
        rss = gateway.rss_kib()
        data = b"".join(request_bytes("GET", f"/health?{n}") for n in range(10000))
        sender = threading.Thread(target=wire.sock.sendall, args=(data,), daemon=True)
        sender.start()
        for n in range(10000):
            head = wire.head()
            assert head and head.start.split()[1] == "200", n
            wire.body(head)
            if head.get("Connection") == "close":
                assert n == 9999, n
        assert gateway.rss_kib() - rss < 4096
        # And one that sends all and reads nothing: it is paused, not buffered.
        deaf = connect(gateway.url, receive_buffer=4096)
        deaf.sock.setblocking(False)
        sent = 0
        try:
            for _ in range(200):
                sent += deaf.sock.send(data)
        except BlockingIOError:
            pass
        assert fine(gateway) and gateway.rss_kib() - rss < 8192, (sent, gateway.rss_kib() - rss)
        reset(deaf.sock)
    finally:
        gateway.stop()


# ---- keys ------------------------------------------------------------------------------------------


def test_keys_that_cannot_be_had_leave_the_ones_that_are_there():
    KEYS.mode = "good"
    gateway = Gateway(config())
    try:
        token = ISSUER.token()
        for mode in ("dead", "garbage", "error", "empty"):
            KEYS.mode = mode
            asked = KEYS.asked
            unknown = ISSUER.token(sub=mode)
            head = unknown.split(".")[0]
            other = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vYm9keSIsInR5cCI6IkpXVCJ9" + unknown[len(head):]
            for _ in range(5):
                assert gateway.call("GET", "/v1/stacks/x", token=other).status == 401
            assert KEYS.asked - asked <= 2, "unknown keys ask the issuer again and again"
            assert gateway.call("GET", "/v1/stacks/x", token=token).status == 200, mode
            assert gateway.call("GET", "/v1/stacks/x", token=unknown).status == 200, mode
        KEYS.mode = "good"
    finally:
        KEYS.mode = "good"
        gateway.stop()


def test_without_any_keys_it_is_not_ready_and_says_so_until_they_come():
    KEYS.mode, started = "dead", []
    try:
        thread = threading.Thread(target=lambda: started.append(Gateway(config())), daemon=True)
        thread.start()
        until(lambda: KEYS.asked > 0, 10, "the first question")
        asked = KEYS.asked
        until(lambda: KEYS.asked > asked, 10, "another one")
        assert not started, "it said that it is ready"
        KEYS.mode = "good"
        thread.join(30)
        gateway = started[0]
        assert gateway.call("GET", "/v1/stacks/x", token=ISSUER.token()).status == 200
        assert 1 <= gateway.logged().count("keys of the issuer could not be fetched") <= 10
    finally:
        KEYS.mode = "good"
        for gateway in started:
            gateway.stop()


if __name__ == "__main__":
    if "/release/" not in gateway_binary():
        print("0 passed, 0 failed, 12 skipped")
        sys.exit(0)
    status = run_tests(dict(globals()))
    UPSTREAM.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(status)
