#!/usr/bin/env python3
"""An issuer that misbehaves on request, for issuer_test.

Prints its port, serves until stdin is closed. GET /mode/NAME chooses what the key set looks
like from now on, /discovery/NAME what the discovery document looks like, /count says how often
keys were asked for. The key sets hold public keys only."""
import http.server, json, sys, threading

N1, N2 = sys.argv[1], sys.argv[2]


def key_set(kid, n):
    return json.dumps({"keys": [{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": "AQAB"}]})


class State:
    mode, discovery, count = "good", "good", 0
    released = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def base(self):
        return "http://127.0.0.1:%d" % self.server.server_port

    def do_GET(self):
        what, _, name = self.path[1:].partition("/")
        if what == "mode":
            State.mode = name
            return self.answer(200, "")
        if what == "discovery":
            State.discovery = name
            return self.answer(200, "")
        if what == "count":
            return self.answer(200, str(State.count))
        if self.path == "/.well-known/openid-configuration":
            return self.discover()
        return self.keys()

    def discover(self):
        if State.discovery == "missing":
            return self.answer(404, "no")
        issuer = "https://evil.example" if State.discovery == "foreign" else self.base()
        doc = {"issuer": issuer, "jwks_uri": self.base() + "/keys"}
        if State.discovery == "without_uri":
            del doc["jwks_uri"]
        return self.answer(200, json.dumps(doc))

    def keys(self):
        State.count += 1
        mode = State.mode
        if State.discovery == "missing" and self.path != "/oauth/v2/keys":
            return self.answer(404, "no")
        if mode == "slow":
            State.released.wait()
            self.close_connection = True
            return None
        if mode == "redirect":
            return self.answer(302, "", [("Location", self.base() + "/elsewhere")])
        good = key_set("k1", N1)
        status, body = {
            "good": (200, good),
            "rotated": (200, key_set("k2", N2)),
            "error": (500, good),
            "html": (200, "<html>no</html>"),
            "empty": (200, ""),
            "cut": (200, good[:-10]),
            "no_keys": (200, '{"keys":[]}'),
            "huge": (200, good + " " * (300 * 1024)),
        }[mode]
        return self.answer(status, body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that give up are what the test is about."""


def main():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    State.released.set()


if __name__ == "__main__":
    main()
