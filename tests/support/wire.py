"""One request on one connection, byte for byte: nothing is added that was not asked for, nothing of the answer is hidden.

An Answer knows its status, its header lines as they came, and the bytes behind the head, also after HEAD."""
import json
import socket
import urllib.parse
import uuid


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if " " in lines[0] else 0
        self.lines = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        if self.header("Transfer-Encoding") == "chunked":
            self.body = unchunked(self.body)

    def all(self, name):
        return [value for key, value in self.lines if key.lower() == name.lower()]

    def header(self, name):
        return (self.all(name) or [None])[0]

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def data(self):
        return (self.json() or {}).get("data")

    @property
    def error(self):
        body = self.json()
        return body.get("error", {}) if isinstance(body, dict) and isinstance(body.get("error"), dict) else {}

    @property
    def code(self):
        return self.error.get("code")

    def __repr__(self):
        usual = ("date", "x-content-type-options", "x-frame-options", "content-security-policy", "referrer-policy", "connection")
        return f"{self.status} {self.body[:300]!r} {[line for line in self.lines if line[0].lower() not in usual]}"


def unchunked(data):
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size.split(b";")[0] or b"0", 16)
        if count == 0:
            break
        out, data = out + data[:count], data[count + 2:]
    return out


class Wire:
    def __init__(self, url, timeout=20):
        parts = urllib.parse.urlsplit(url)
        self.address, self.host, self.timeout = (parts.hostname, parts.port or 80), parts.netloc, timeout

    def exchange(self, data):
        """Sends the bytes, reads until the server closes."""
        with socket.create_connection(self.address, timeout=self.timeout) as sock:
            try:
                sock.sendall(data)
            except OSError:
                pass  # refused before all of it was taken: the answer says why
            got = []
            try:
                while chunk := sock.recv(65536):
                    got.append(chunk)
            except ConnectionResetError:
                pass
        return Answer(b"".join(got))

    def call(self, method, target, body=None, headers=()):
        """headers: a dict, or pairs where a name may come twice. A body that is no bytes becomes JSON."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        names = {name.lower() for name, _ in pairs}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None and "content-type" not in names:
            pairs.append(("Content-Type", "application/json"))
        if "content-length" not in names and (body is not None or method in ("POST", "PUT", "PATCH")):
            pairs.append(("Content-Length", str(len(body or b""))))
        if "x-request-id" not in names:
            pairs.append(("X-Request-ID", uuid.uuid4().hex))
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", "Connection: close",
                 *(f"{name}: {value}" for name, value in pairs if value is not None)]
        return self.exchange("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
