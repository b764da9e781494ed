"""Bytes to and from one connection, and a reader of HTTP/1.1 answers that is
as strict as a client has to be: what it cannot delimit it calls incomplete."""

import json
import re
import select
import socket
import time

HEAD_END = b"\r\n\r\n"
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Answer:
    def __init__(self, status, headers, body, complete, text=b""):
        self.status, self.headers, self.body, self.complete = status, headers, body, complete
        self.text = text  # as it came: status line, headers, body

    def all(self, name):
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name):
        values = self.all(name)
        return values[0] if values else None

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def error(self):
        value = self.json()
        error = value.get("error") if isinstance(value, dict) else None
        return error if isinstance(error, dict) else {}

    @property
    def code(self):
        return self.error().get("code")

    def __str__(self):
        first = self.text.split(b"\r\n", 1)[0].decode("latin-1")[:80]
        return first + (f" {self.code}" if self.code else "")


def envelope_faults(answer):
    """What is wrong with an error answer: [] when the envelope is whole."""
    error = answer.error()
    faults = [f"error.{name} is {error.get(name)!r}" for name in ("code", "message", "requestId", "timestamp")
              if not isinstance(error.get(name), str) or not error.get(name)]
    if not faults and not TIMESTAMP.match(error["timestamp"]):
        faults.append(f"error.timestamp is {error['timestamp']!r}")
    if not faults and answer.all("x-request-id") != [error["requestId"]]:
        faults.append(f"X-Request-ID {answer.all('x-request-id')} is not error.requestId {error['requestId']!r}")
    return faults


def chunked(data, at):
    """(body, where it ends, complete) of a chunked body."""
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0 or not re.fullmatch(rb"[0-9a-fA-F]{1,8}(;.*)?", data[at:end]):
            return body, len(data), False
        size = int(data[at:end].split(b";")[0], 16)
        at = end + 2
        if size == 0:
            while True:
                end = data.find(b"\r\n", at)
                if end < 0:
                    return body, len(data), False
                if end == at:
                    return body, end + 2, True
                at = end + 2
        if data[at + size:at + size + 2] != b"\r\n":
            return body + data[at:at + size], len(data), False
        body += data[at:at + size]
        at += size + 2


def one_answer(data, at, method, closed):
    """(Answer or None, where it ends)"""
    end = data.find(HEAD_END, at)
    if end < 0:
        return None, at
    lines = data[at:end].decode("latin-1").split("\r\n")
    found = re.match(r"HTTP/1\.[01] (\d{3})(?: |$)", lines[0])
    if not found:
        return None, at
    status = int(found[1])
    headers = [(k.strip().lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines[1:])]
    fields = dict(headers)
    start = end + len(HEAD_END)
    if status < 200 or status in (204, 304) or method == "HEAD":
        body, stop, complete = b"", start, True
    elif "transfer-encoding" in fields:
        body, stop, complete = chunked(data, start)
    elif "content-length" in fields:
        stop = start + int(fields["content-length"])
        body, complete = data[start:stop], stop <= len(data)
        stop = min(stop, len(data))
    else:
        body, stop, complete = data[start:], len(data), closed
    return Answer(status, headers, body, complete, data[at:stop]), stop


def answers_of(data, methods=("GET",), closed=False):
    """(answers, bytes that are no answer). `methods`: of the requests, in order;
    the last one counts for the rest."""
    found, at, final = [], 0, 0
    while at < len(data):
        answer, stop = one_answer(data, at, methods[min(final, len(methods) - 1)], closed)
        if answer is None:
            break
        found.append(answer)
        final += answer.status >= 200
        at = stop
        if not answer.complete:
            break
    return found, data[at:]


class Talk:
    """One client connection. Reads while it sends, as a client has to: a server
    may answer before it has everything."""

    def __init__(self, port, source="127.0.0.1", rcvbuf=None):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]
        self.data, self.closed = b"", False
        self.began = time.monotonic()
        self.closed_ms = None

    def ms(self):
        return (time.monotonic() - self.began) * 1000

    def _gone(self):
        if not self.closed:
            self.closed, self.closed_ms = True, self.ms()

    def _read(self):
        parts = []
        try:
            while True:
                part = self.sock.recv(1 << 18)
                if not part:
                    self._gone()
                    break
                parts.append(part)
        except BlockingIOError:
            pass
        except OSError:
            self._gone()
        self.data += b"".join(parts)

    def send(self, payload, seconds=30):
        """All of it, or as much as the server takes before it closes."""
        view, deadline = memoryview(payload), time.monotonic() + seconds
        while view and not self.closed and time.monotonic() < deadline:
            readable, writable, _ = select.select([self.sock], [self.sock], [], 0.5)
            if writable:
                try:
                    view = view[self.sock.send(view[:1 << 18]):]
                except BlockingIOError:
                    pass
                except OSError:
                    self._read()
                    self._gone()
            if readable:
                self._read()

    def wait(self, seconds, until=None):
        """Reads until closed, until `until(self)`, or for so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.closed and not (until and until(self)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if select.select([self.sock], [], [], left)[0]:
                self._read()

    def has(self, count, methods=("GET",)):
        """True when `count` final answers are there whole."""
        if self.data.count(b"HTTP/1.") < count:
            return False
        found, _ = answers_of(self.data, methods, self.closed)
        return sum(a.status >= 200 and a.complete for a in found) >= count

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self):
        self.sock.close()

    def answers(self, methods=("GET",)):
        return answers_of(self.data, methods, self.closed)[0]


def as_bytes(value):
    """Header text and paths go out as the case spells them: UTF-8 for what is
    not Latin-1 text."""
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def request_bytes(method, path, headers, body=b"", host="gw.test"):
    lines = [as_bytes(method) + b" " + as_bytes(path) + b" HTTP/1.1", b"Host: " + as_bytes(host)]
    lines += [as_bytes(name) + b": " + as_bytes(value) for name, value in headers]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + HEAD_END + body


class NoAnswer(Exception):
    pass


def ask(port, method, path, headers=(), body=b"", source="127.0.0.1", seconds=15, host="gw.test"):
    """One request on a connection of its own; (Answer, milliseconds)."""
    if isinstance(body, (dict, list)):
        headers = [*headers, ("Content-Type", "application/json")]
        body = json.dumps(body).encode()
    talk = Talk(port, source)
    try:
        began = time.monotonic()
        talk.send(request_bytes(method, path, headers, body, host))
        talk.wait(seconds, lambda t: t.has(1, (method,)))
        took = (time.monotonic() - began) * 1000
        final = [a for a in talk.answers((method,)) if a.status >= 200]
        if not final:
            raise NoAnswer(f"no answer to {method} {path!r:.80}: {talk.data[:80]!r}, {'closed' if talk.closed else 'open'}")
        return final[0], took
    finally:
        talk.close()
