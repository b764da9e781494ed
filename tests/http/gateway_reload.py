#!/usr/bin/env python3
# not-quick: hundreds of reloads under load
"""Reloads: memory stays flat whatever changes, nobody loses a request.

TEST_RELOADS=10000 makes the long run of it (the default is 250).
tests/support/captive gateway tests/http/gateway_reload.py"""
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Issuer, Upstream, connect, gateway_binary, request_bytes, run_tests, until  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-reload-test-"))
UPSTREAM, ISSUER = Upstream(), Issuer(FOLDER)
RELOADS = int(os.environ.get("TEST_RELOADS", "250"))
ASAN = "/asan/" in gateway_binary()  # what is freed stays there for a while
FLAT_KIB = 2048


def config(number, routes=20):
    """Names, targets and issuers that change with the number and never come back."""
    more = "".join(f"  - {{name: r{number}-{n}, paths: [/more/{number}/{n}]}}\n" for n in range(routes))
    return f"""_format_version: "3.0"
services:
- name: fixed
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: public, paths: [/public], strip_path: false}}
- name: private
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: private, paths: [/private], strip_path: false}}
  plugins:
  - name: jwt
    config: {{issuer: "{ISSUER.url}", jwks_uri: "{ISSUER.url}/keys", audience: [kombify], claims_to_verify: [exp, iss, aud]}}
- name: changing{number}
  host: up{number}
  retries: 0
  routes:
  - name: other{number}
    paths: [/other]
    plugins:
    - name: jwt
      config: {{issuer: "{ISSUER.url}", jwks_uri: "{ISSUER.url}/keys?{number}", claims_to_verify: [exp, iss]}}
{more}upstreams:
- name: up{number}
  targets: [{{target: "127.0.0.{1 + number % 200}:{10000 + number % 5000}"}}]
"""



def reload(gateway, text, number):
    before = loads_seen(gateway)
    gateway.file.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: loads_seen(gateway) > before, 30, f"reload {number}")


def loads_seen(gateway):
    """By the metric of the log's size: the file is read from where the last look ended."""
    with open(gateway.log_path, "rb") as log:
        log.seek(gateway.read_to)
        data = log.read()
    end = data.rfind(b"\n") + 1
    gateway.read_to += end
    gateway.loads += len(re.findall(rb"configuration (?:loaded|refused)", data[:end]))
    return gateway.loads


def started(**env):
    gateway = Gateway(config(0), KOMBI_WORKERS="2", KOMBI_LOG_LEVEL="info", KOMBI_CONFIG_WATCH="false", **env)
    gateway.read_to = gateway.loads = 0
    return gateway


class Steady:
    """A client that keeps its connection and its count."""

    def __init__(self, gateway, token):
        self.gateway, self.token, self.count, self.failed = gateway, token, 0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        wire = connect(self.gateway.url)
        try:
            while not self.over.is_set():
                wire.sock.sendall(request_bytes("GET", "/private/x", [("Authorization", f"Bearer {self.token}")]))
                head = wire.head()
                wire.body(head)
                if head.start.split()[1] != "200":
                    self.failed.append(head.start)
                self.count += 1
                if (head.get("Connection") or "") == "close":  # as many as one connection may carry
                    wire = connect(self.gateway.url)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is a failure)
            self.failed.append(repr(error))

    def stop(self):
        self.over.set()
        self.thread.join(20)
        assert not self.failed, self.failed[:3]
        return self.count


def test_reloads_leave_memory_as_it_was_though_everything_changes():
    gateway = started()
    try:
        token = ISSUER.token(exp=int(time.time()) + 7200)
        client = Steady(gateway, token)
        warm = 280  # as many as fill the tables that are bounded by a number
        for number in range(1, warm + RELOADS):
            if number == warm:
                before = gateway.rss_kib()
            reload(gateway, config(number), number)
            gateway.call("GET", f"/more/{number}/{number % 20}")
            assert gateway.call("GET", "/other", token=token).status in (502, 503, 504)
            if number % 500 == 0:
                print(f"# after {number} reloads: {gateway.rss_kib()} KiB", flush=True)
        after = gateway.rss_kib()
        assert client.stop() > RELOADS
        print(f"# {RELOADS} reloads: RSS {before} KiB, then {after} KiB; {client.count} requests meanwhile")
        assert ASAN or abs(after - before) <= FLAT_KIB, (before, after)
    finally:
        gateway.stop()


def test_refused_files_leave_nothing_behind_either():
    gateway = started()
    try:
        def bad(number):
            return config(number) + "nonsense: 1\n"
        for number in range(1, 60):
            reload(gateway, bad(number), number)
        before = gateway.rss_kib()
        for number in range(60, 160):
            reload(gateway, bad(number), number)
        assert ASAN or abs(gateway.rss_kib() - before) <= FLAT_KIB, (before, gateway.rss_kib())
        reload(gateway, config(1000), 1000)
        assert gateway.call("GET", "/more/1000/1").status != 404
    finally:
        gateway.stop()


def test_a_storm_of_signals_is_few_reloads_and_the_last_file_counts():
    gateway = started()
    try:
        storm = 2000
        for number in range(1, 21):
            gateway.file.write_text(config(number))
            for _ in range(storm // 20):
                gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.call("GET", "/more/20/1").status != 404, 20, "the last file")
        assert 0 < loads_seen(gateway) < storm / 4, gateway.loads
    finally:
        gateway.stop()


def test_a_tunnel_keeps_the_configuration_that_it_began_with_and_lets_it_go():
    websocket = request_bytes("GET", "/ws", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                             ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])

    def echo(wire, head):
        wire.sock.sendall(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        while wire.more():
            wire.sock.sendall(wire.buffer)
            wire.buffer = b""
        return False
    UPSTREAM.rules["/ws"] = echo
    gateway = started()
    try:
        def text(number):
            return config(number, 2000).replace("  routes:\n  - {name: public", "  routes:\n  - {name: ws, paths: [/ws], "
                                                "strip_path: false, protocols: [http, ws]}\n  - {name: public", 1)
        for number in range(1, 20):
            reload(gateway, text(number), number)
        flat = gateway.rss_kib()
        tunnels = []
        for number in range(20, 30):
            reload(gateway, text(number), number)
            wire = connect(gateway.url)
            wire.sock.sendall(websocket)
            assert wire.head().start.split()[1] == "101"
            tunnels.append(wire)
        held = gateway.rss_kib() - flat
        until(lambda: json.loads(gateway.call("GET", "/status", admin=True).body)["configuration"]["held"] == 10, 10, "ten, each held")
        for wire in tunnels:
            wire.sock.sendall(b"ping")
            assert wire.exactly(4) == b"ping"
            wire.close()
        until(lambda: json.loads(gateway.call("GET", "/status", admin=True).body)["configuration"]["held"] == 1, 20, "letting go")
        print(f"# a file of 2,000 routes that a tunnel keeps: {held // 10} KiB")
    finally:
        gateway.stop()


if __name__ == "__main__":
    status = run_tests(dict(globals()))
    UPSTREAM.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(status)
