"""What tests of the gateway need: a recording upstream, an issuer, a gateway
with a configuration of the test's own, and HTTP by hand over sockets."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECRET = "b7a09c41f6d24e5388c1d0e2937f4a6b5c8d7e9f"
FIELDS = ("X-User-ID", "X-User-Email", "X-User-Name", "X-Org-ID", "X-User-Roles", "X-Subscription-Plan", "X-Tenant-ID")


def gateway_binary():
    """The one under test: that which runs us, else that of the release build."""
    try:
        parent = os.readlink(f"/proc/{os.getppid()}/exe")
        if os.path.basename(parent) == "gateway":
            return parent
    except OSError:
        pass
    return str(pathlib.Path(os.environ.get("KOMBI_BIN_DIR", ROOT / "build/release/bin")) / "gateway")


def until(condition, seconds=10, what="condition"):
    """Polls; the value, or an AssertionError at the deadline."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        threading.Event().wait(0.01)


# ---- HTTP by hand -----------------------------------------------------------


class Head:
    def __init__(self, data):
        lines = data.decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        return (self.all(name) or [default])[0]


class Wire:
    """A connection with a buffer."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                return None
        data, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return Head(data)

    def exactly(self, size):
        while len(self.buffer) < size and self.more():
            pass
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.more():
                return None
        data, self.buffer = self.buffer.split(b"\r\n", 1)
        return data

    def chunks(self):
        while True:
            line = self.line()
            if line is None:
                raise EOFError("cut in the middle of chunks")
            size = int(line.split(b";")[0], 16)
            data = self.exactly(size)
            if len(data) < size:
                raise EOFError("cut in the middle of a chunk")
            self.line()
            if size == 0:
                return
            yield data

    def body(self, head):
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            return b"".join(self.chunks())
        size = int(head.get("Content-Length") or 0)
        data = self.exactly(size)
        if len(data) < size:
            raise EOFError(f"{len(data)} of {size} bytes")
        return data

    def close(self):
        self.sock.close()


class Answer:
    def __init__(self, head, body):
        self.status = int(head.start.split()[1])
        self.head, self.body = head, body

    def json(self):
        return json.loads(self.body)


def connect(url, receive_buffer=None):
    host, port = re.match(r"http://([^:]+):(\d+)", url).groups()
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect((host, int(port)))
    return Wire(sock)


def request_bytes(method, path, headers=(), body=None, host="api.test"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None and not any(name.lower() in ("transfer-encoding", "content-length") for name, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


# ---- upstream ------------------------------------------------------------------


class Upstream:
    """Records every request; answers by its path, or by what a test says."""

    def __init__(self, port=0, tls=None):
        """`tls`: an ssl.SSLContext; handshakes that fail are in `refused`."""
        self.seen, self.rules, self.tls, self.refused = [], {}, tls, []
        self.gone = threading.Event()
        self.lock = threading.Lock()
        self.connections = set()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with outer.lock:
                    outer.connections.add(self.request)
                try:
                    if outer.tls is not None and not self.shake():
                        return
                    outer.serve(Wire(self.request))
                except (OSError, EOFError):
                    pass
                finally:
                    with outer.lock:
                        outer.connections.discard(self.request)

            def shake(self):
                try:
                    self.request = outer.tls.wrap_socket(self.request, server_side=True)
                except (OSError, ValueError) as error:
                    outer.refused.append(error)
                    return False
                return True

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            for sock in self.connections:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve(self, wire):
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            head = wire.head()
            if head is None:
                return
            self.seen.append(head)
            path = head.start.split()[1].split("?")[0]
            rule = next((rule for prefix, rule in self.rules.items() if path.startswith(prefix)), None)
            if rule is not None:
                if rule(wire, head) is False:
                    return
                continue
            body = wire.body(head)
            text = json.dumps({"start": head.start, "headers": head.fields, "body": body.decode("latin-1")}).encode()
            send(wire, 200, text, "application/json")

    def count(self, path):
        return sum(head.start.split()[1].split("?")[0] == path for head in self.seen)


def send(wire, status, body, content_type="text/plain", extra=""):
    wire.sock.sendall((f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                       f"{extra}\r\n").encode() + body)


# ---- issuer -----------------------------------------------------------------------


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    def __init__(self, folder):
        self.key = str(folder / "key.pem")
        run = {"check": True, "capture_output": True}
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], **run)
        self.ec = str(folder / "ec.pem")
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.ec], **run)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], **run).stdout
        point = subprocess.run(["openssl", "ec", "-in", self.ec, "-pubout", "-outform", "DER"], **run).stdout[-64:]
        document = json.dumps({"keys": [
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "r", "e": "AQAB",
             "n": b64(bytes.fromhex(modulus.decode().split("=")[1].strip()))},
            {"kty": "EC", "use": "sig", "alg": "ES256", "kid": "e", "crv": "P-256",
             "x": b64(point[:32]), "y": b64(point[32:])}]}).encode()

        class Keys(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def token(self, alg="RS256", roles=("user",), org="org-1", **claims):
        now = int(time.time())
        body = {"iss": self.url, "aud": ["kombify"], "sub": "user-1", "iat": now, "exp": now + 600,
                "email": "one@example.org", "name": "Ané One", "plan": "pro",
                "urn:zitadel:iam:user:resourceowner:id": org,
                "urn:zitadel:iam:org:project:roles": {role: {org: "x.example"} for role in roles}}
        body.update(claims)
        head = {"alg": alg, "typ": "JWT", "kid": alg[0].lower()}
        text = ".".join(b64(json.dumps(part).encode()) for part in (head, body))
        key = self.key if alg == "RS256" else self.ec
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(),
                                   capture_output=True, check=True).stdout
        if alg == "ES256":
            signature = raw_signature(signature)
        return f"{text}.{b64(signature)}"


def raw_signature(der):
    """ECDSA-Sig-Value to r || s (RFC 7518 3.4)."""
    size = der[3]
    r, rest = der[4:4 + size], der[4 + size:]
    s = rest[2:2 + rest[1]]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (r, s))


# ---- proofs ----------------------------------------------------------------------


def pair_key(caller, callee):
    prk = hmac.new(bytes(32), SECRET.encode(), "sha256").digest()
    return hmac.new(prk, f"kombi pair v1 {caller} {callee}".encode() + b"\1", "sha256").digest()


def proof_is_good(head, method, callee):
    proof = dict(part.split("=", 1) for part in head.get("X-Kombi-Proof").split(","))
    values = "".join((head.get(name) or "") + "\n" for name in FIELDS)
    text = f"kombi-proof-v1\n{proof['t']}\n{method}\n{callee}\n{values}"
    key = pair_key("gateway", callee)
    mac = hmac.new(key, text.encode(), "sha256").hexdigest()
    return mac == proof["v1"] and proof["k"] == hashlib.sha256(key).hexdigest()[:8] \
        and abs(int(proof["t"]) - time.time()) < 60


# ---- gateway ---------------------------------------------------------------------


class Gateway:
    def __init__(self, config, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kombi-gateway-"))
        self.file = self.folder / "kong.yml"
        self.file.write_text(config)
        hold, self.log_path = self.folder / "hold", self.folder / "log"
        self.log = open(self.log_path, "wb")
        settings = dict(PATH=os.environ["PATH"], KOMBI_ENVIRONMENT="development", KOMBI_SERVICE_SECRET=SECRET,
                        KONG_DECLARATIVE_CONFIG=str(self.file), KOMBI_TEST_HOLD=str(hold), KOMBI_WORKERS=os.environ.get("KOMBI_TEST_WORKERS", "1"))
        settings.update({key: value for key, value in os.environ.items() if key.endswith("SAN_OPTIONS")})
        settings.update(env)
        self.process = subprocess.Popen(
            [gateway_binary(), "--run", f"python3 {ROOT}/tests/support/hold.py"], stdin=subprocess.PIPE,
            stdout=self.log, stderr=subprocess.STDOUT, env=settings)
        until(lambda: hold.exists() or self.process.poll() is not None, 30, "start of the gateway")
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway did not start: {self.log_path.read_text()}")
        addresses = json.loads(hold.read_text())
        self.url, self.admin, self.tls = (addresses[name] for name in ("KOMBI_URL", "KOMBI_ADMIN_URL", "KOMBI_TLS_URL"))
        until(lambda: self.call("GET", "/ready", admin=True).status == 200, 20, "readiness")

    def call(self, method, path, headers=(), body=None, token=None, admin=False):
        headers = list(headers) + ([("Authorization", f"Bearer {token}")] if token else [])
        host = "127.0.0.1" if admin else "api.test"
        return self.raw(request_bytes(method, path, headers, body, host), head_only=method == "HEAD", admin=admin)

    def raw(self, data, head_only=False, admin=False):
        wire = connect(self.admin if admin else self.url)
        try:
            wire.sock.sendall(data)
            head = wire.head()
            while head is not None and head.start.split()[1].startswith("1"):
                head = wire.head()
            assert head is not None, "no answer"
            empty = head_only or head.start.split()[1] in ("204", "304")
            return Answer(head, b"" if empty else wire.body(head))
        finally:
            wire.close()

    def reload(self, config):
        self.file.write_text(config)
        before = self.logged()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: re.search("configuration (loaded|refused)", self.logged()[len(before):]), 10, "reload")

    def logged(self):
        return self.log_path.read_text(errors="replace")

    def line_of(self, path):
        """The access log line of a path."""
        def find():
            for line in self.logged().splitlines():
                if line.startswith("{") and json.loads(line).get("path") == path:
                    return json.loads(line)
            return None
        return until(find, 10, f"a log line of {path}")

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def stop(self):
        self.process.stdin.close()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the gateway did not end")
        finally:
            self.log.close()
        text = self.logged()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert code == 0 and "Sanitizer" not in text and "runtime error" not in text, text[-4000:]


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def run_tests(namespace):
    """Runs the functions test_*; counts in TAP's words; exit status."""
    failed = 0
    tests = [(name, fn) for name, fn in namespace.items() if name.startswith("test_")]
    for number, (name, fn) in enumerate(tests, 1):
        title = name[5:].replace("_", " ")
        try:
            fn()
            print(f"ok {number} - {title}", flush=True)
        except Exception as error:  # noqa: BLE001 (a test may fail in any way)
            failed += 1
            import traceback
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"not ok {number} - {title}\n# {type(error).__name__}: {error} ({where.name}:{where.lineno})", flush=True)
            for frame in traceback.extract_tb(error.__traceback__)[-3:]:
                print(f"#   {frame.filename}:{frame.lineno} {frame.line}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0
