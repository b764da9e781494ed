"""What stands behind the gateway in the stub set-up: upstreams that record the
raw bytes they get, an issuer's key set, a listener that nobody may contact."""

import json
import re
import socket
import threading
import time
from urllib.parse import unquote

HEAD_END = b"\r\n\r\n"
# A careless service tells the gateway's own headers back to the client.
LEAKS = b"X-User-ID: leaked\r\nX-Org-ID: leaked\r\nX-User-Roles: leaked\r\nSet-Cookie: stub=1\r\n"

CODES = {400: "VALIDATION_FAILED", 403: "AUTH_INSUFFICIENT", 404: "NOT_FOUND"}


class Recorded:
    """One request as it reached an upstream."""

    def __init__(self, service, raw, connection):
        self.service, self.raw, self.connection = service, raw, connection
        self.whole = False  # until its body is there
        head = raw.split(HEAD_END, 1)[0].decode("latin-1").split("\r\n")
        self.method, self.path, _ = (head[0] + "  ").split(" ", 2)
        self.headers = [(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in head[1:])]

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def plain_path(self):
        """The path as the most lenient reader would see it."""
        path = self.path.split("?")[0]
        for _ in range(4):
            path = unquote(path)
        return path.replace("\\", "/").lower()

    @property
    def is_gateways_own(self):
        """Health checks and the questions for tenants: a client's request has an id."""
        asked = ("/health", "/api/internal/tenants/", "/api/internal/users/", "/api/internal/tenant-changes")
        return self.path.startswith(asked) and not self.all("X-Request-ID")


class Listener:
    """Accepts on a free loopback port, one daemon thread a connection."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.sock.getsockname()[1]
        self.lock = threading.Lock()
        self.open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.serve(connection)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()

    def serve(self, connection):
        raise NotImplementedError

    def stop(self):
        self.sock.close()
        with self.lock:
            connections = list(self.open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Reader:
    def __init__(self, connection):
        self.connection, self.data = connection, b""

    def more(self):
        part = self.connection.recv(1 << 16)
        self.data += part
        return bool(part)

    def until(self, mark, at=0):
        while (end := self.data.find(mark, at)) < 0:
            if not self.more():
                return -1
        return end

    def take(self, size):
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def requests(self, begun=lambda head: None):
        """The raw bytes of one request after the other; `begun` gets each head
        as soon as it is there. A request that breaks off is not given."""
        while (end := self.until(HEAD_END)) >= 0:
            begun(self.data[:end + len(HEAD_END)])
            size = self._size(end)
            if size is None:
                return
            yield self.take(size)

    def _size(self, end):
        """Of the request whose head ends there; None when it breaks off."""
        head = self.data[:end].decode("latin-1").lower()
        size = end + len(HEAD_END)
        if "\r\nexpect: 100-continue" in head:
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if re.search(r"\r\ntransfer-encoding: *chunked", head):
            return self._end_of_chunks(size)
        length = re.search(r"\r\ncontent-length: *(\d+)", head)
        size += int(length[1]) if length else 0
        while len(self.data) < size:
            if not self.more():
                return None
        return size

    def _end_of_chunks(self, at):
        while True:
            end = self.until(b"\r\n", at)
            if end < 0:
                return None
            size = int(self.data[at:end].split(b";")[0] or b"0", 16)
            at = end + 2 + size + (2 if size else 0)
            if size == 0:
                end = self.until(b"\r\n\r\n", at - 2)
                return None if end < 0 else end + 4


class Upstream(Listener):
    """A service's stand-in. `book` is the list that all stubs of a set-up write
    to; `answer(recorded)` gives (status, value or bytes)."""

    def __init__(self, service, book, answer):
        self.service, self.book, self.answer = service, book, answer
        self.override = None  # (bytes, close) instead of an answer
        self.connections = 0
        super().__init__()

    def serve(self, connection):
        self.connections += 1
        number, begun = self.connections, []

        def note(head):
            begun.append(Recorded(self.service, head, number))
            self.book.append(begun[-1])
        for raw in Reader(connection).requests(note):
            recorded = begun[-1]
            recorded.raw, recorded.whole = raw, True
            if self.override and not recorded.is_gateways_own:
                data, close = self.override
                connection.sendall(data)
                if close:
                    return
                continue
            self._wait_if_slow(recorded, connection)
            connection.sendall(self.bytes_of(recorded))

    @staticmethod
    def _wait_if_slow(recorded, connection):
        """?slow=N: the answer takes N seconds, unless the gateway gives up."""
        slow = re.search(r"[?&]slow=(\d+)", recorded.path)
        if slow:
            recorded.cancelled_after = None
            began = time.monotonic()
            connection.settimeout(int(slow[1]))
            try:
                if not connection.recv(1):
                    recorded.cancelled_after = time.monotonic() - began
                    raise OSError("cancelled")
            except socket.timeout:
                pass
            finally:
                connection.settimeout(None)

    def bytes_of(self, recorded):
        status, value = self.answer(recorded)
        if status >= 400:
            ids = recorded.all("X-Request-ID") or ["none"]
            value = {"error": {"code": CODES[status], "message": "from the stub", "requestId": ids[0],
                               "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        head = b"HTTP/1.1 %d Stub\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(body))
        return head + LEAKS + b"\r\n" + (b"" if recorded.method == "HEAD" else body)


class KeyServer(Listener):
    """The issuer's /jwks.json. Answers are taken from `script` in order, the
    last one stays: (status, extra header lines, body)."""

    def __init__(self, *script):
        self.script, self.served = list(script), 0
        super().__init__()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/jwks.json"

    def serve(self, connection):
        for _ in Reader(connection).requests():
            status, extra, body = self.script[min(self.served, len(self.script) - 1)]
            self.served += 1  # who gives up half-way has been served, too
            connection.sendall(b"HTTP/1.1 %d Keys\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
                               % (status, extra.encode(), len(body), body))


class Trap(Listener):
    """Nobody may come here; who does is counted."""

    def __init__(self):
        self.contacts = 0
        super().__init__()

    def serve(self, connection):
        self.contacts += 1
