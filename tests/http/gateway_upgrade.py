#!/usr/bin/env python3
# not-quick: it upgrades under load and waits for drains
"""The gateway as a process: upgrades that lose nothing, drains, sockets that
are passed on. tests/support/captive gateway tests/http/gateway_upgrade.py"""
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import (SECRET, Gateway, Issuer, Upstream, connect, gateway_binary, request_bytes,  # noqa: E402
                         run_tests, send, until)

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-upgrade-test-"))
UPSTREAM, ISSUER = Upstream(), Issuer(FOLDER)
TOKEN = ISSUER.token()
CONFIG = f"""_format_version: "3.0"
services:
- name: stack
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: stacks, paths: [/v1/stacks], strip_path: false}}
  plugins:
  - name: jwt
    config: {{issuer: "{ISSUER.url}", jwks_uri: "{ISSUER.url}/keys", audience: [kombify], claims_to_verify: [exp, iss, aud]}}
- name: public
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: public, paths: [/public], strip_path: false}}
  - {{name: ws, paths: [/ws], strip_path: false, protocols: [http, ws]}}
"""
WEBSOCKET = request_bytes("GET", "/ws/echo", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                              ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])


def echo(wire, head):
    wire.sock.sendall(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                      b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    while True:
        data = wire.sock.recv(4096)
        if not data:
            return False
        wire.sock.sendall(data)


UPSTREAM.rules["/ws"] = echo


class Clients:
    """Requests without end; every one that has no answer is a loss."""

    def __init__(self, url, kept=4, fresh=2):
        self.url, self.answered, self.lost, self.over = url, 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n < kept,), daemon=True) for n in range(kept + fresh)]
        for thread in self.threads:
            thread.start()

    def run(self, keep):
        wire = None
        data = request_bytes("GET", "/v1/stacks/x", [("Authorization", f"Bearer {TOKEN}")])
        while not self.over.is_set():
            try:
                wire = wire or connect(self.url)
                wire.sock.sendall(data)
                head = wire.head()
                if head is None:
                    raise EOFError("closed without an answer")
                body = wire.body(head)
                if head.start.split()[1] != "200":
                    raise ValueError(head.start, body)
                self.answered += 1
                if not keep or (head.get("Connection") or "").lower() == "close":
                    wire.close()
                    wire = None
            except Exception as error:  # noqa: BLE001 (whatever it is, it is a loss)
                self.lost.append(repr(error))
                wire = None

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.lost, (len(self.lost), self.lost[:5])
        return self.answered


class Free:
    """A gateway that is no captive, on sockets that we pass on to it as a supervisor would."""

    def __init__(self, program, config, workers=2, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kombi-free-"))
        self.file, self.pid_file, self.log_path = (self.folder / name for name in ("kong.yml", "pid", "log"))
        self.file.write_text(config)
        self.log = open(self.log_path, "wb")
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
        self.url, self.admin = (f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in sockets)
        settings = dict(PATH=os.environ["PATH"], KOMBI_ENVIRONMENT="development", KOMBI_SERVICE_SECRET=SECRET,
                        KONG_DECLARATIVE_CONFIG=str(self.file), KOMBI_PID_FILE=str(self.pid_file), KOMBI_WORKERS=str(workers),
                        LISTEN_FDS="2", LISTEN_FDNAMES="http:internal", KOMBI_CONFIG_WATCH="false")
        settings.update({key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")})
        settings.update(env)
        launcher = ("import os, sys; fds = [int(n) for n in sys.argv[2].split(',')]; fds = [os.dup2(os.dup(fd), 200 + n) for n, fd in enumerate(fds)]\n"
                    "[os.dup2(fd, 3 + n, inheritable=True) for n, fd in enumerate(fds)]\n"
                    "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], [sys.argv[1]])")
        self.process = subprocess.Popen(
            [sys.executable, "-c", launcher, str(program), ",".join(str(sock.fileno()) for sock in sockets)], env=settings,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, pass_fds=[sock.fileno() for sock in sockets])
        for sock in sockets:
            sock.close()
        self.seen = [self.wait_for_other(None)]
        until(lambda: self.get("/ready", admin=True) == 200, 20, "readiness")

    def pid(self):
        try:
            return int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None

    def wait_for_other(self, old):
        until(lambda: self.pid() not in (None, old) or (old is None and self.process.poll() is not None), 20, "another process")
        assert self.pid(), self.log_path.read_text()
        return self.pid()

    def logged(self):
        return self.log_path.read_text(errors="replace")

    def upgrade(self):
        old = self.seen[-1]
        os.kill(old, signal.SIGUSR2)
        self.seen.append(self.wait_for_other(old))
        return old

    def get(self, path, admin=False):
        wire = connect(self.admin if admin else self.url)
        try:
            wire.sock.sendall(request_bytes("GET", path))
            head = wire.head()
            wire.body(head)
            return int(head.start.split()[1])
        finally:
            wire.close()

    def stop(self):
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
        self.process.wait(30)
        until(lambda: not any(alive(pid) for pid in self.seen), 40, "the end of all processes")
        self.log.close()
        text = self.logged()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert "Sanitizer" not in text, text[-4000:]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def program_of_our_own(name):
    path = FOLDER / name
    shutil.copy(gateway_binary(), path)
    return path


def replace(path, text=None):
    """As an installation does: another file in its place."""
    aside = path.with_suffix(".new")
    if text is None:
        shutil.copy(gateway_binary(), aside)
    else:
        aside.write_text(text)
        aside.chmod(stat.S_IRWXU)
    os.rename(aside, path)


# ---- upgrades ------------------------------------------------------------------------


def test_three_upgrades_under_load_lose_no_request():
    gateway = Free(program_of_our_own("three"), CONFIG)
    try:
        clients = Clients(gateway.url)
        for number in range(3):
            before = clients.answered
            until(lambda: clients.answered > before + 300 or clients.lost, 30, "load")
            old = gateway.upgrade()
            until(lambda: not alive(old), 30, "the end of the old process")
        before = clients.answered
        until(lambda: clients.answered > before + 300 or clients.lost, 30, "load after the last")
        assert clients.stop() > 1200
        assert len(set(gateway.seen)) == 4, gateway.seen
        assert gateway.logged().count('"handed over"') == 3
    finally:
        gateway.stop()


def test_a_captive_gateway_is_upgraded_and_its_end_is_the_end_of_all():
    gateway = Gateway(CONFIG, KOMBI_WORKERS="2", KOMBI_PID_FILE=str(FOLDER / "captive.pid"))
    pids = []
    try:
        clients = Clients(gateway.url, kept=2, fresh=1)
        for _ in range(2):
            pids.append(int((FOLDER / "captive.pid").read_text()))
            gateway.process.send_signal(signal.SIGUSR2)
            until(lambda: int((FOLDER / "captive.pid").read_text()) != pids[-1], 20, "another process")
            before = clients.answered
            until(lambda: clients.answered > before + 100 or clients.lost, 20, "load")
        pids.append(int((FOLDER / "captive.pid").read_text()))
        assert clients.stop() > 200
        gateway.reload(CONFIG.replace("name: ws,", "name: sockets,"))
    finally:
        gateway.stop()
    until(lambda: not any(alive(pid) for pid in pids), 20, "the end of all")


def test_what_is_long_ends_in_peace_on_the_old_process():
    gateway = Free(program_of_our_own("long"), CONFIG)
    go_on = threading.Event()

    def slow(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nfirst")
        go_on.wait(20)
        wire.sock.sendall(b"later")
    UPSTREAM.rules["/public/long"] = slow
    try:
        tunnel, long = connect(gateway.url), connect(gateway.url)
        tunnel.sock.sendall(WEBSOCKET)
        assert tunnel.head().start.split()[1] == "101"
        long.sock.sendall(request_bytes("GET", "/public/long"))
        head = long.head()
        assert long.exactly(5) == b"first"
        old = gateway.upgrade()
        tunnel.sock.sendall(b"hello")
        assert tunnel.exactly(5) == b"hello", "the websocket was cut"
        assert gateway.get("/public/x") == 200 and gateway.get("/ready", admin=True) == 200
        assert alive(old)
        go_on.set()
        assert long.exactly(int(head.get("Content-Length")) - 5) == b"later"
        tunnel.close()
        long.close()
        until(lambda: not alive(old), 20, "the end of the old process")
    finally:
        go_on.set()
        gateway.stop()


def test_a_new_process_that_does_not_come_up_changes_nothing():
    program = program_of_our_own("bad")
    gateway = Free(program, CONFIG, KOMBI_UPGRADE_MS="1500")

    def refused(reason):
        count = gateway.logged().count("did not come up")
        os.kill(gateway.seen[0], signal.SIGUSR2)
        until(lambda: gateway.logged().count("did not come up") > count, 20, reason)
        line = [line for line in gateway.logged().splitlines() if "did not come up" in line][-1]
        assert reason in json.loads(line)["why"], line
        assert gateway.get("/public/x") == 200 and gateway.pid() == gateway.seen[0]
    try:
        clients = Clients(gateway.url, kept=2, fresh=1)
        gateway.file.write_text("_format_version: \"3.0\"\nservices: [{name: x, pathz: y}]\n")
        refused("its configuration is refused")
        gateway.file.write_text(CONFIG)
        replace(program, "#!/bin/false\n")
        refused("it ended with status 1")
        replace(program, "#!/bin/sh\nkill -SEGV $$\n")
        refused("it was ended by signal 11")
        replace(program, "#!/bin/sh\nexec tail -f /dev/null\n")
        refused("it did not say in time")
        replace(program, "not a program")
        refused("Exec format error")
        program.unlink()
        refused("No such file")
        gateway.file.write_text(CONFIG.replace(f"{ISSUER.url}/keys", "http://127.0.0.1:9/keys"))
        replace(program)
        refused("the keys of an issuer cannot be had")
        gateway.file.write_text(CONFIG)
        gateway.upgrade()
        assert clients.stop() > 100
    finally:
        gateway.stop()


def test_another_number_of_workers_leaves_no_socket_unserved():
    program = program_of_our_own("workers")
    gateway = Free(program, CONFIG, workers=3)
    try:
        clients = Clients(gateway.url)
        for workers in (1, 2):
            replace(program, f"#!/bin/sh\nKOMBI_WORKERS={workers} exec {gateway_binary()}\n")
            gateway.upgrade()
            before = clients.answered
            until(lambda: clients.answered > before + 300 or clients.lost, 20, "load")
        assert clients.stop() > 600
    finally:
        gateway.stop()


def test_what_is_passed_on_is_judged():
    with open("/dev/null", "rb") as nothing:
        for names, text in (("http:ready", "not a listening"), ("web", "none of http"), ("ready", "not a pipe"), ("", "none of http")):
            env = dict(PATH=os.environ["PATH"], KOMBI_ENVIRONMENT="development", KOMBI_HANDOVER=names,
                       KONG_DECLARATIVE_CONFIG=str(FOLDER / "none"))
            done = subprocess.run([gateway_binary()], stdin=nothing, env=env, capture_output=True, text=True, timeout=20)
            assert done.returncode == 1 and text in done.stderr, (names, done)


# ---- drain -----------------------------------------------------------------------------


def test_ready_says_no_before_the_gateway_stops_to_listen():
    gateway = Free(program_of_our_own("delay"), CONFIG, KOMBI_DRAIN_DELAY_MS="1500")
    os.kill(gateway.seen[0], signal.SIGTERM)
    until(lambda: gateway.get("/ready", admin=True) == 503, 5, "not ready")
    assert gateway.get("/public/x") == 200
    assert gateway.process.wait(20) == 0 and not gateway.pid_file.exists()
    gateway.stop()


def test_a_kept_connection_is_told_to_close_and_an_idle_one_is_closed():
    gateway = Free(program_of_our_own("kept"), CONFIG)
    idle, used = connect(gateway.url), connect(gateway.url)
    for wire in (idle, used):
        wire.sock.sendall(request_bytes("GET", "/public/x"))
        wire.body(wire.head())
    os.kill(gateway.seen[0], signal.SIGTERM)
    until(lambda: '"draining"' in gateway.logged(), 5, "draining")
    used.sock.sendall(request_bytes("GET", "/public/x"))
    head = used.head()
    assert head.start.split()[1] == "200" and head.get("Connection") == "close", head.fields
    begin = time.monotonic()
    assert not idle.more() and time.monotonic() - begin < 5
    gateway.stop()


def test_a_second_signal_ends_at_once():
    gateway = Free(program_of_our_own("second"), CONFIG)
    wire = connect(gateway.url)
    wire.sock.sendall(WEBSOCKET)
    assert wire.head().start.split()[1] == "101"
    os.kill(gateway.seen[0], signal.SIGTERM)
    until(lambda: '"draining"' in gateway.logged(), 5, "draining")
    wire.sock.sendall(b"still here")
    assert wire.exactly(10) == b"still here"
    begin = time.monotonic()
    os.kill(gateway.seen[0], signal.SIGTERM)
    assert gateway.process.wait(10) == 0 and time.monotonic() - begin < 2
    assert not wire.more()
    gateway.stop()


def test_tunnels_are_closed_when_the_drain_is_over():
    gateway = Free(program_of_our_own("tunnels"), CONFIG, KOMBI_DRAIN_MS="700")
    wire = connect(gateway.url)
    wire.sock.sendall(WEBSOCKET)
    assert wire.head().start.split()[1] == "101"
    os.kill(gateway.seen[0], signal.SIGTERM)
    begin = time.monotonic()
    assert not wire.more()
    assert 0.5 < time.monotonic() - begin < 5 and gateway.process.wait(10) == 0
    gateway.stop()


if __name__ == "__main__":
    status = run_tests(dict(globals()))
    UPSTREAM.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(status)
