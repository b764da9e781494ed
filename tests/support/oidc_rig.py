"""For tests of browsers that sign in: a private Redis, a strict issuer that
can be told to misbehave, and a browser that keeps cookies as real ones do."""
import base64
import hashlib
import http.server
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from gateway_rig import Issuer, b64, until


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Redis:
    """redis-server on a free loopback port, nothing on disk; may be stopped, frozen and started again."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.program = shutil.which("redis-server")
        if not self.program:  # Debian's redis-tools has it by another name
            self.program = str(folder / "redis-server")
            os.symlink(shutil.which("redis-check-rdb"), self.program)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self.folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, 10, "Redis")

    def answers(self):
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def command(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            data = b"*%d\r\n" % len(words)
            for word in words:
                text = str(word).encode()
                data += b"$%d\r\n%s\r\n" % (len(text), text)
            sock.sendall(data)
            return self.reply(sock.makefile("rb"))

    def reply(self, file):
        line = file.readline()
        kind, rest = line[:1], line[1:].strip().decode()
        if kind in (b"+", b":"):
            return rest
        if kind == b"-":
            raise AssertionError(rest)
        if rest == "-1":
            return None
        if kind == b"$":
            return file.read(int(rest) + 2)[:-2].decode()
        return [self.reply(file) for _ in range(int(rest))]


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that give up are what some tests are about."""


class StrictIssuer(Issuer):
    """An OpenID provider that takes nothing which the specifications forbid.
    `twist` names what it does wrong: {"id_token": fn(claims), "userinfo": …}."""

    CLIENT, SECRET = "browser-client", "s3cret/with+odd=chars and more"

    def __init__(self, folder, redirect_uris):
        super().__init__(folder)
        self.keys_document = urllib.request.urlopen(self.url + "/keys", timeout=10).read()
        self.redirect_uris = redirect_uris
        self.twist, self.codes, self.refreshes, self.revoked = {}, {}, {}, []
        self.count = {"token": 0, "userinfo": 0, "discovery": 0, "refresh": 0, "reused": 0}
        self.user = {"sub": "user-1", "email": "one@example.org", "name": "Ané One", "sid": "sid-1"}
        self.life, self.opaque, self.down, self.gives_refresh = 600, False, False, True
        self.id_token_at_refresh = True
        self.gate = threading.Event()  # the token endpoint waits for it
        self.gate.set()
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.serve(self, "GET", b"")

            def do_POST(self):
                outer.serve(self, "POST", self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    # ---- HTTP

    def serve(self, handler, method, body):
        split = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(split.query, strict_parsing=bool(split.query)))
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        table = {"/.well-known/openid-configuration": self.discovery, "/keys": self.keys, "/token": self.token_endpoint,
                 "/userinfo": self.userinfo, "/revoke": self.revoke}
        if self.down:
            return self.answer(handler, 503, b"<html>down</html>")
        return self.answer(handler, *table[split.path](handler, query, form))

    @staticmethod
    def answer(handler, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(data)

    def discovery(self, *_):
        self.count["discovery"] += 1
        return 200, {"issuer": self.twist.get("issuer", self.url), "jwks_uri": self.url + "/keys",
                     "authorization_endpoint": self.url + "/authorize", "token_endpoint": self.url + "/token",
                     "userinfo_endpoint": self.url + "/userinfo", "end_session_endpoint": self.url + "/end",
                     "revocation_endpoint": self.url + "/revoke", "code_challenge_methods_supported": ["S256"]}

    def keys(self, *_):
        return 200, self.keys_document

    # ---- the browser's part

    def authorize(self, url):
        """What the authorization endpoint answers to that URL: where the browser is sent."""
        split = urllib.parse.urlsplit(url)
        pairs = urllib.parse.parse_qsl(split.query, strict_parsing=True)
        q = dict(pairs)
        assert url.startswith(self.url + "/authorize?") and len(q) == len(pairs), url
        assert q["client_id"] == self.CLIENT and q["response_type"] == "code", q
        assert q["redirect_uri"] in self.redirect_uris, q
        assert q["code_challenge_method"] == "S256" and len(q["code_challenge"]) == 43, q
        assert len(q["state"]) >= 22 and len(q["nonce"]) >= 22 and q["scope"].split()[0] == "openid", q
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**q, "used": False, "user": dict(self.user)}
        return f"{q['redirect_uri']}?{urllib.parse.urlencode({'code': code, 'state': q['state']})}"

    # ---- tokens

    def client_is_right(self, handler, form):
        header = handler.headers.get("Authorization", "")
        if header.startswith("Basic "):
            name, secret = base64.b64decode(header[6:]).decode().split(":", 1)
            return (urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)) == (self.CLIENT, self.SECRET) \
                and "client_secret" not in form
        return (form.get("client_id"), form.get("client_secret")) == (self.CLIENT, self.SECRET)

    def token_endpoint(self, handler, _, form):
        self.gate.wait(20)
        self.count["token"] += 1
        if not self.client_is_right(handler, form):
            return 401, {"error": "invalid_client"}
        with self.lock:
            if form["grant_type"] == "authorization_code":
                return self.redeem(form)
            return self.refresh(form)

    def redeem(self, form):
        code = self.codes.get(form["code"])
        digest = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if not code or code["used"] or code["redirect_uri"] != form["redirect_uri"] or code["code_challenge"] != digest:
            return 400, {"error": "invalid_grant"}
        code["used"] = True
        return 200, self.tokens(code["user"], code["nonce"])

    def refresh(self, form):
        self.count["refresh"] += 1
        grant = self.refreshes.get(form["refresh_token"])
        if not grant or grant["used"]:
            self.count["reused"] += 1
            if grant:  # reuse: the whole family ends
                for other in self.refreshes.values():
                    other["used"] = other["used"] or other["user"]["sub"] == grant["user"]["sub"]
            return 400, {"error": "invalid_grant"}
        grant["used"] = True
        return 200, self.tokens(grant["user"], None)

    def tokens(self, user, nonce):
        now = int(time.time())
        access = secrets.token_urlsafe(30) if self.opaque else self.token(
            sub=user["sub"], exp=now + self.life, email=None, name=None, jti=secrets.token_hex(8))
        claims = {"aud": [self.CLIENT], "sub": user["sub"], "exp": now + 600, "email": None, "name": None,
                  "azp": self.CLIENT, "sid": user["sid"], "at_hash": b64(hashlib.sha256(access.encode()).digest()[:16])}
        if nonce:
            claims["nonce"] = nonce
        if "profile_in_id_token" in self.twist:
            claims.update(email=user["email"], name=user["name"])
        self.twist.get("id_token", lambda c: None)(claims)
        out = {"access_token": access, "token_type": "Bearer", "expires_in": self.life}
        if nonce or self.id_token_at_refresh:
            out["id_token"] = self.token(**claims)
        if self.gives_refresh:
            out["refresh_token"] = secrets.token_urlsafe(24)
            self.refreshes[out["refresh_token"]] = {"used": False, "user": user}
        self.twist.get("answer", lambda o: None)(out)
        return out

    def userinfo(self, handler, *_):
        self.count["userinfo"] += 1
        if not handler.headers.get("Authorization", "").startswith("Bearer "):
            return 401, {"error": "invalid_token"}
        claims = {key: self.user[key] for key in ("sub", "email", "name")}
        self.twist.get("userinfo", lambda c: None)(claims)
        return 200, claims

    def revoke(self, handler, _, form):
        if not self.client_is_right(handler, form):
            return 401, {"error": "invalid_client"}
        self.revoked.append(form["token"])
        return 200, b""

    def logout_token(self, **claims):
        event = "http://schemas.openid.net/event/backchannel-logout"
        body = {"aud": [self.CLIENT], "jti": secrets.token_hex(8), "events": {event: {}}, "sub": None, "email": None,
                "name": None, "plan": None, "exp": int(time.time()) + 120}
        body.update(claims)
        return self.token(**body)


class Browser:
    """Keeps cookies and follows redirects to the gateway, as pages do."""

    def __init__(self, gateway, host="api.test"):
        self.gateway, self.host, self.jar = gateway, host, {}

    def cookies(self):
        return [("Cookie", "; ".join(f"{k}={v}" for k, v in self.jar.items()))] if self.jar else []

    def take(self, answer):
        for line in answer.head.all("Set-Cookie"):
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, value = pair.split("=", 1)
            lower = [a.lower() for a in attributes]
            assert "httponly" in lower and "path=/" in lower and any(a.startswith("samesite=") for a in lower), line
            if "max-age=0" in lower:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        return answer

    def call(self, method, path, headers=(), body=None, gateway=None):
        return self.take((gateway or self.gateway).call(method, path, self.cookies() + list(headers), body))

    def visit(self, path, gateway=None, headers=()):
        """A page is looked at."""
        return self.call("GET", path, [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"),
                                       ("Accept", "text/html,application/xhtml+xml")] + list(headers), gateway=gateway)

    def back(self, location):
        """Path and query of a redirect URI."""
        split = urllib.parse.urlsplit(location)
        return split.path + ("?" + split.query if split.query else "")

    def sign_in(self, issuer, path="/app/page", gateway=None):
        away = self.visit(path, gateway)
        assert away.status == 302, (away.status, away.body)
        home = self.visit(self.back(issuer.authorize(away.head.get("Location"))), gateway)
        assert home.status == 303, (home.status, home.body)
        return home


def dev_idp(folder, **env):
    """The certified provider of deploy/dev-idp on a free port; its process and URL. None: there is no node."""
    root = pathlib.Path(__file__).resolve().parent.parent.parent / "deploy/dev-idp"
    if not shutil.which("node") or not (root / "node_modules/oidc-provider").exists():
        return None
    port = free_port()
    settings = {"PATH": os.environ["PATH"], "PORT": str(port), "ZITADEL_ISSUER": f"http://127.0.0.1:{port}",
                "KOMBI_IDP_DATA_DIR": str(folder / "idp"), **env}
    process = subprocess.Popen(["node", "--import", str(root / "node18/install.mjs"), str(root / "server.mjs")],
                               env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = settings["ZITADEL_ISSUER"]

    def up():
        assert process.poll() is None, "the identity provider ended"
        try:
            return urllib.request.urlopen(url + "/health", timeout=2).status == 200
        except OSError:
            return False
    until(up, 30, "the identity provider")
    return process, url
