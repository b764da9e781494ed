"""A provider of identities: gives a token for any code and says who that is."""
import base64
import http.server
import json
import threading
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_POST(self):  # noqa: N802
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        client = (form.get("client_id"), form.get("client_secret"))
        if self.headers.get("Authorization", "").startswith("Basic "):
            pair = base64.b64decode(self.headers["Authorization"][6:]).decode().split(":")
            client = tuple(urllib.parse.unquote(part) for part in pair)
        self.server.asked.append(form)
        if client != self.server.client or form.get("code") not in self.server.people:
            self.answer(400, {"error": "invalid_grant"})
            return
        self.answer(200, {"access_token": form["code"], "token_type": "bearer", "expires_in": 3600,
                          "refresh_token": "again"})

    def do_GET(self):  # noqa: N802
        person = self.server.people.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        self.answer(200 if person else 401, person or {})

    def log_message(self, *_):
        pass


class Oidc(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, client=("client", "secret&more")):
        super().__init__(("127.0.0.1", 0), Handler)
        self.client, self.people, self.asked = client, {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def provider(self, name="oidc"):
        base = f"http://127.0.0.1:{self.server_address[1]}"
        return {"name": name, "clientId": self.client[0], "clientSecret": self.client[1], "authURL": base + "/auth",
                "tokenURL": base + "/token", "userInfoURL": base + "/userinfo"}
