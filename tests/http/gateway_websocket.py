#!/usr/bin/env python3
# not-quick: megabytes have to pile up before a side is slowed down
"""WebSockets and event streams: bytes through both ways, slow sides, ends,
reloads. Starts gateways of its own with the program that runs it:
tests/support/captive gateway tests/http/gateway_websocket.py"""
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, connect, request_bytes, reset, run_tests, until  # noqa: E402

UPSTREAM = Upstream()
CONFIG = f"""_format_version: "3.0"
services:
- name: live
  url: http://127.0.0.1:{UPSTREAM.port}
  read_timeout: 300
  write_timeout: 20000
  retries: 0
  routes:
  - {{name: ws, paths: [/ws], strip_path: false, protocols: [ws, http]}}
  - {{name: events, paths: [/events], strip_path: false}}
"""
GW = Gateway(CONFIG)
ASKED = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
ACCEPTED = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")


def frame(opcode, payload=b"", mask=None):
    """A frame of RFC 6455 that is complete."""
    size = len(payload)
    head = bytes([0x80 | opcode]) + (bytes([(0x80 if mask else 0) | size]) if size < 126 else
                                     bytes([(0x80 if mask else 0) | 126]) + size.to_bytes(2, "big"))
    if mask:
        head, payload = head + mask, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + payload


def read_frame(wire):
    head = wire.exactly(2)
    if len(head) < 2:
        return None
    size = head[1] & 0x7f
    if size == 126:
        size = int.from_bytes(wire.exactly(2), "big")
    mask = wire.exactly(4) if head[1] & 0x80 else None
    payload = wire.exactly(size)
    return head[0] & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if mask else payload


def echo(wire, head):
    """What a server of RFC 6455 does: echo, pong for ping, close for close."""
    wire.sock.settimeout(60)
    wire.sock.sendall(ACCEPTED)
    while True:
        got = read_frame(wire)
        if got is None:
            return False
        opcode, payload = got
        wire.sock.sendall(frame({9: 10}.get(opcode, opcode), payload))
        if opcode == 8:
            return False


UPSTREAM.rules["/ws/echo"] = echo


def opened(path, gateway=None, **more):
    wire = connect((gateway or GW).url, **more)
    wire.sock.sendall(request_bytes("GET", path, ASKED))
    head = wire.head()
    assert head.start.split()[1] == "101" and head.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head.fields
    return wire


def test_messages_pings_and_the_end_pass_both_ways():
    wire = opened("/ws/echo")
    for size in (0, 5, 125, 126, 60000):
        wire.sock.sendall(frame(2, b"m" * size, b"abcd"))
        assert read_frame(wire) == (2, b"m" * size)
    wire.sock.sendall(frame(9, b"are you there", b"wxyz"))
    assert read_frame(wire) == (10, b"are you there")
    wire.sock.sendall(frame(8, b"\x03\xe8bye", b"1234"))
    assert read_frame(wire) == (8, b"\x03\xe8bye")
    assert read_frame(wire) is None, "the connection was not closed"
    until(lambda: GW.line_of("/ws/echo")["statusCode"] == 101, 5, "the log line")


def test_idle_ones_have_no_deadline_and_outlive_reloads_of_their_route():
    wire = opened("/ws/echo")
    for text in (CONFIG + "# again\n", CONFIG.replace("/ws]", "/elsewhere]"), CONFIG):
        GW.reload(text)
    time.sleep(0.7)  # more than twice the read timeout: nothing may happen
    wire.sock.sendall(frame(1, b"still here", b"mask"))
    assert read_frame(wire) == (1, b"still here")
    wire.close()


def test_a_refused_upgrade_is_an_answer_like_any_other():
    def refuse(wire, head):
        wire.sock.sendall(b"HTTP/1.1 403 X\r\nContent-Length: 2\r\n\r\nno")
    UPSTREAM.rules["/ws/refuse"] = refuse
    answer = GW.call("GET", "/ws/refuse", ASKED)
    assert answer.status == 403 and answer.body == b"no"
    UPSTREAM.rules["/ws/unasked"] = lambda wire, head: wire.sock.sendall(ACCEPTED)
    assert GW.call("GET", "/ws/unasked").status == 502
    assert GW.call("POST", "/ws/echo", ASKED, body=b"x").status != 101


def test_a_side_that_reads_slowly_stops_the_other_and_costs_no_memory():
    for flood_from in ("upstream", "client"):
        sent, gate = [0], threading.Event()

        def pour(sock, count=512):
            sock.settimeout(60)
            for _ in range(count):
                sock.sendall(b"z" * 65536)
                sent[0] += 65536

        def slow(wire, head):
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            wire.sock.sendall(ACCEPTED)
            if flood_from == "upstream":
                pour(wire.sock)
                return False
            gate.wait(30)
            while wire.more():
                wire.buffer = b""
            return False
        UPSTREAM.rules["/ws/slow"] = slow
        before = GW.rss_kib()
        wire = opened("/ws/slow", receive_buffer=65536)
        if flood_from == "client":
            threading.Thread(target=pour, args=(wire.sock,), daemon=True).start()
        last = [-1]

        def stuck():
            now, last[0] = last[0], sent[0]
            threading.Event().wait(0.15)
            return now == sent[0] and sent[0] > 0
        until(stuck, 20, "back-pressure")
        assert sent[0] < 20 << 20, sent
        assert GW.rss_kib() - before < 8192, (before, GW.rss_kib())
        gate.set()
        if flood_from == "upstream":
            assert len(wire.exactly(512 * 65536)) == 512 * 65536
        else:
            until(lambda: sent[0] == 512 * 65536, 30, "the rest")
        wire.close()


def test_who_leaves_takes_the_other_side_along():
    gone, now = threading.Event(), threading.Event()

    def wait(wire, head):
        wire.sock.sendall(ACCEPTED)
        while wire.more():
            pass
        gone.set()
        return False

    def leave(wire, head):
        wire.sock.sendall(ACCEPTED)
        now.wait(10)
        reset(wire.sock)
        return False
    UPSTREAM.rules["/ws/stay"], UPSTREAM.rules["/ws/leave"] = wait, leave
    reset(opened("/ws/stay").sock)
    assert gone.wait(5), "upstream was not told that the client has left"
    wire = opened("/ws/leave")
    wire.sock.settimeout(5)
    now.set()
    try:
        assert wire.sock.recv(1) == b""
    except ConnectionResetError:
        pass


def test_the_end_of_one_direction_leaves_the_other_open():
    def last_word(wire, head):
        wire.sock.sendall(ACCEPTED)
        while wire.more():
            pass
        wire.sock.sendall(b"after your end: " + wire.buffer)
        return False
    UPSTREAM.rules["/ws/half"] = last_word
    wire = opened("/ws/half")
    wire.sock.sendall(b"last words")
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.exactly(26) == b"after your end: last words"
    assert not wire.more()


def events(count, step):
    def stream(wire, head):
        wire.sock.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(count):
            step.acquire(timeout=20)
            data = b"data: %d\n\n" % number
            wire.sock.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        wire.sock.sendall(b"0\r\n\r\n")
    return stream


def test_an_event_stream_outlives_reloads_and_each_event_comes_at_once():
    step = threading.Semaphore(0)
    UPSTREAM.rules["/events/reload"] = events(4, step)
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/events/reload"))
    assert wire.head().get("Content-Type") == "text/event-stream"
    chunks = wire.chunks()
    for number, text in enumerate((CONFIG, CONFIG.replace("[/events]", "[/moved]"), CONFIG, CONFIG)):
        GW.reload(text)
        began = time.monotonic()
        step.release()
        assert next(chunks) == b"data: %d\n\n" % number
        assert time.monotonic() - began < 0.15
    assert not list(chunks)


def test_a_stream_that_falls_silent_ends_by_the_read_timeout_and_is_seen_as_cut():
    step = threading.Semaphore(1)
    UPSTREAM.rules["/events/silent"] = events(2, step)
    wire = connect(GW.url)
    wire.sock.sendall(request_bytes("GET", "/events/silent"))
    wire.head()
    chunks = wire.chunks()
    assert next(chunks) == b"data: 0\n\n"
    began = time.monotonic()
    try:
        assert not wire.more() or b"0\r\n\r\n" not in wire.buffer
    except ConnectionResetError:
        pass
    assert time.monotonic() - began < 3
    step.release()


if __name__ == "__main__":
    code = run_tests(dict(globals()))
    GW.stop()
    sys.exit(code)
