#!/usr/bin/env python3
"""What the gateway does with an upstream that is slow, odd or broken, and how
messages are framed on their way. Starts gateways of its own with the program
that runs it: tests/support/captive gateway tests/http/gateway_upstream.py"""
import json
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, connect, request_bytes, reset, run_tests, send, until  # noqa: E402

UPSTREAM, OTHER = Upstream(), Upstream()
for server, name in ((UPSTREAM, b"first"), (OTHER, b"other")):
    server.name = name
SILENT = socket.create_server(("127.0.0.1", 0), backlog=1)  # accepts nobody
FULL = [socket.create_connection(SILENT.getsockname()) for _ in range(1)]


def closed_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def service(name, port, retries=3, **more):
    row = {"name": name, "url": f"http://127.0.0.1:{port}", "retries": retries, "read_timeout": 500, "write_timeout": 1000, "connect_timeout": 500,
           "routes": [{"name": name, "paths": [f"/{name}"], "strip_path": False}]}
    row.update(more)
    return row


CONFIG = json.dumps({"_format_version": "3.0", "services": [
    service("s", UPSTREAM.port), service("once", UPSTREAM.port, 0), service("dead", closed_port(), 2),
    {**service("two", 1, 1), "url": None, "host": "two-targets"}],
    "upstreams": [{"name": "two-targets", "targets": [{"target": f"127.0.0.1:{UPSTREAM.port}"}, {"target": f"127.0.0.1:{OTHER.port}"}]}]}).replace('"url": null, ', "")
GW = Gateway(CONFIG, KOMBI_RETRY_PERCENT="100")


def code_of(answer):
    return json.loads(answer.body)["error"]["code"]


def timed(fn, *args, **more):
    began = time.monotonic()
    return fn(*args, **more), time.monotonic() - began


# ---- the table of retries --------------------------------------------------

def fail_once(kind, path, count=1):
    """A rule that breaks the first `count` requests in some way, and counts all."""
    seen = []

    def rule(wire, head):
        if kind == "before body":
            seen.append(head)
            if len(seen) <= count:
                reset(wire.sock)
                return False
        body = wire.body(head)
        if kind != "before body":
            seen.append(head)
        if len(seen) > count:
            return send(wire, 200, body or b"fine")
        if kind == "reset":
            reset(wire.sock)
        elif kind == "half-closed":
            wire.sock.shutdown(socket.SHUT_WR)
            wire.more()
        elif kind == "half a head":
            wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Le")
        elif kind == "silence":
            threading.Event().wait(1)
        elif kind == "no HTTP":
            wire.sock.sendall(b"hello\r\n\r\n")
        elif kind == "half a body":
            wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf")
        elif kind == "500":
            send(wire, 500, b"mine")
            return None
        return False
    UPSTREAM.rules[path] = rule
    return seen


# what happened, method, headers -> status, how often upstream was asked
KEY = [("Idempotency-Key", "k-1")]
TABLE = [
    ("reset", "GET", [], 200, 2), ("reset", "PUT", [], 200, 2), ("reset", "DELETE", [], 200, 2),
    ("reset", "POST", [], 502, 1), ("reset", "PATCH", [], 502, 1), ("reset", "POST", KEY, 200, 2), ("reset", "PATCH", KEY, 200, 2),
    ("half-closed", "GET", [], 200, 2), ("half-closed", "POST", [], 502, 1),
    ("half a head", "GET", [], 200, 2), ("half a head", "POST", [], 502, 1), ("half a head", "POST", KEY, 200, 2),
    ("silence", "GET", [], 200, 2), ("silence", "POST", [], 504, 1),
    ("no HTTP", "GET", [], 502, 1),
    ("500", "GET", [], 500, 1),
    ("before body", "POST", KEY, 200, 2),
]


def test_what_is_tried_again_and_what_never_is():
    wrong = []
    for number, (kind, method, headers, status, asked) in enumerate(TABLE):
        path = f"/s/table-{number}/"
        seen = fail_once(kind, path)
        body = b"body" if method not in ("GET", "DELETE") else None
        answer, took = timed(GW.call, method, path, headers, body)
        if answer.status != status or len(seen) != asked or took > 3:
            wrong.append((kind, method, headers, answer.status, len(seen), took))
        if status == 200 and body and answer.body != body:
            wrong.append((kind, method, "the body was not repeated", answer.body))
    assert not wrong, wrong


def test_nothing_is_tried_again_once_the_client_has_part_of_an_answer():
    seen = fail_once("half a body", "/s/cut")
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/s/cut"))
    assert wire.head().start.split()[1] == "200"
    try:
        assert wire.exactly(10) == b"half"
    except ConnectionResetError:
        pass
    assert len(seen) == 1


def test_as_many_tries_as_the_service_says_and_they_are_in_the_log():
    seen = fail_once("reset", "/s/never", 100)
    assert GW.call("GET", "/s/never").status == 502 and len(seen) == 4
    assert GW.line_of("/s/never")["tries"] == 4
    seen = fail_once("reset", "/once/never", 100)
    assert GW.call("GET", "/once/never").status == 502 and len(seen) == 1
    answer, took = timed(GW.call, "POST", "/dead/x", body=b"x")
    assert answer.status == 503 and code_of(answer) == "SERVICE_UNAVAILABLE" and took < 1
    assert GW.line_of("/dead/x")["tries"] == 3  # refused connections: even a POST


def test_the_next_try_goes_to_another_target():
    for server in (UPSTREAM, OTHER):
        server.rules["/two/x"] = lambda wire, head, server=server: wire.body(head) and None or send(wire, 200, server.name)
    UPSTREAM.rules["/two/bad"] = lambda wire, head: reset(wire.sock) or False
    OTHER.rules["/two/bad"] = lambda wire, head: send(wire, 200, b"other")
    for _ in range(4):
        answer = GW.call("GET", "/two/bad")
        assert answer.status == 200 and answer.body == b"other"


def test_a_body_too_long_to_keep_is_not_tried_again():
    seen = fail_once("reset", "/s/long")
    answer = GW.call("PUT", "/s/long", body=b"x" * 200_000)
    assert answer.status == 502 and len(seen) == 1


# ---- time ------------------------------------------------------------------

def test_timeouts_are_between_two_operations():
    def drip(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            threading.Event().wait(0.2)
            wire.sock.sendall(b".")
    UPSTREAM.rules["/s/drip"] = drip
    answer, took = timed(GW.call, "GET", "/s/drip")
    assert answer.body == b"......" and took > 1
    UPSTREAM.rules["/once/mute"] = lambda wire, head: threading.Event().wait(3) and False
    answer, took = timed(GW.call, "GET", "/once/mute")
    assert answer.status == 504 and 0.4 < took < 2, (answer.status, took)


def test_an_upstream_that_does_not_read_is_cut_by_the_write_timeout():
    def deaf(wire, head):
        threading.Event().wait(6)
        return False
    UPSTREAM.rules["/once/deaf"] = deaf
    text = json.loads(CONFIG)
    text["services"][1]["plugins"] = [{"name": "request-size-limiting", "config": {"allowed_payload_size": 64}}]
    gateway = Gateway(json.dumps(text))
    try:
        wire = connect(gateway.url)
        wire.sock.settimeout(20)
        wire.sock.sendall(request_bytes("PUT", "/once/deaf", [("Content-Length", str(32 << 20))]))

        def pour():
            try:
                for _ in range(512):
                    wire.sock.sendall(b"x" * 65536)
            except OSError:
                pass
        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        head, took = timed(wire.head)
        assert head.start.split()[1] == "504" and took < 5, (head.start, took)
        wire.close()
    finally:
        gateway.stop()


# ---- framing ----------------------------------------------------------------

def test_interim_answers_are_dropped_and_the_final_one_is_whole():
    def early(wire, head):
        wire.sock.sendall(b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Go\r\n\r\n")
        send(wire, 200, b"final")
    UPSTREAM.rules["/s/interim"] = early
    assert GW.call("GET", "/s/interim").body == b"final"


def test_answers_without_a_body_have_none_and_keep_the_connection():
    def bare(wire, head):
        method = head.start.split()[0]
        if "304" in head.start:
            wire.sock.sendall(b"HTTP/1.1 304 X\r\nETag: \"a\"\r\nContent-Length: 500\r\n\r\n")
        elif "204" in head.start:
            wire.sock.sendall(b"HTTP/1.1 204 X\r\n\r\n")
        elif method == "HEAD":
            wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 12345\r\n\r\n")
    UPSTREAM.rules["/s/bare"] = bare
    wire = connect(GW.url)
    for method, path, status in (("HEAD", "/s/bare", "200"), ("GET", "/s/bare/304", "304"), ("GET", "/s/bare/204", "204"), ("HEAD", "/s/bare", "200")):
        wire.sock.sendall(request_bytes(method, path))
        head = wire.head()
        assert head.start.split()[1] == status, head.start
        assert head.get("Transfer-Encoding") is None
        if method == "HEAD":
            assert head.get("Content-Length") == "12345"
    wire.sock.sendall(request_bytes("GET", "/s/plain"))
    assert json.loads(wire.body(wire.head()))["start"] == "GET /s/plain HTTP/1.1"


def test_an_answer_that_comes_before_the_body_is_complete_reaches_the_client():
    def early(wire, head):
        wire.sock.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntoo")
        return False
    UPSTREAM.rules["/once/early"] = early
    for framing in ([("Content-Length", "900000")], [("Transfer-Encoding", "chunked")]):
        wire = connect(GW.url)
        wire.sock.sendall(request_bytes("POST", "/once/early", framing))
        wire.sock.sendall(b"10\r\n0123456789abcdef\r\n" if len(framing[0][1]) == 7 else b"x" * 1000)
        head = wire.head()
        assert head is not None and head.start.split()[1] == "413" and wire.body(head) == b"too"
        wire.close()


def test_an_answer_without_a_length_ends_with_its_connection():
    def until_close(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\n\r\nall of it")
        return False
    UPSTREAM.rules["/s/close"] = until_close
    answer = GW.call("GET", "/s/close")
    assert answer.body == b"all of it" and answer.head.get("Transfer-Encoding") == "chunked"


def test_fields_of_one_connection_do_not_pass_and_connection_cannot_take_others():
    UPSTREAM.rules.pop("/s/hop", None)
    answer = GW.call("POST", "/s/hop", [("Connection", "close, X-Mine, Content-Length, Host, X-Request-ID, Transfer-Encoding"), ("X-Mine", "1"),
                                        ("TE", "trailers"), ("Trailer", "X-T"), ("Keep-Alive", "3"), ("Proxy-Connection", "x")], body=b"12345")
    got = {name.lower(): value for name, value in answer.json()["headers"]}
    assert answer.json()["body"] == "12345" and got["content-length"] == "5" and "host" in got and "x-request-id" in got
    assert not {"x-mine", "te", "trailer", "keep-alive", "proxy-connection", "connection"} & set(got), got


def test_a_large_answer_passes_at_full_length_and_the_connection_is_used_again():
    def large(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            wire.sock.sendall(b"10000\r\n" + b"v" * 65536 + b"\r\n")
        wire.sock.sendall(b"0\r\nX-Trailer: t\r\n\r\n")
    UPSTREAM.rules["/s/large"] = large
    wire = connect(GW.url)
    for _ in range(2):
        wire.sock.sendall(request_bytes("GET", "/s/large"))
        assert len(wire.body(wire.head())) == 64 * 65536


# ---- names ------------------------------------------------------------------

def test_a_name_that_is_unknown_is_a_503_at_once_and_blocks_nothing():
    text = json.loads(CONFIG)
    text["services"].append({**service("lost", 1, 0), "url": "http://no-such-host.invalid:80"})
    text["services"].append({**service("named", 1, 0), "url": f"http://localhost:{UPSTREAM.port}"})
    text["upstreams"].append({"name": "void", "targets": [{"target": "no-such-host.invalid:80"}]})
    began = time.monotonic()
    gateway = Gateway(json.dumps(text))
    try:
        assert time.monotonic() - began < 6
        answer, took = timed(gateway.call, "GET", "/lost/x")
        assert answer.status == 503 and took < 1
        assert gateway.call("GET", "/named/x").status == 200
        row = gateway.call("GET", "/upstreams/void/health", admin=True).json()["data"][0]
        assert row["health"] == "DNS_ERROR" and row["dns_error"], row
        metrics = gateway.call("GET", "/metrics", admin=True).body.decode()
        assert 'kombi_gateway_dns_lookups_total{result="failed"}' in metrics and 'state="dns_error"' in metrics
        until(lambda: "cannot be looked up" in gateway.logged(), 5)
    finally:
        gateway.stop()


def test_many_new_names_do_not_hold_a_reload_up():
    text = json.loads(CONFIG)
    text["upstreams"].append({"name": "many", "targets": [{"target": f"n{i}.no-such-zone.invalid:80"} for i in range(2000)]})
    gateway = Gateway(CONFIG)
    try:
        _, took = timed(gateway.reload, json.dumps(text))
        assert took < 3, took
        assert gateway.call("GET", "/s/plain").status == 200
    finally:
        gateway.stop()


if __name__ == "__main__":
    code = run_tests(dict(globals()))
    GW.stop()
    sys.exit(code)
