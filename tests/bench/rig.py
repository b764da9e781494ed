"""What is measured: an origin, the proxies before it, and tokens for them."""
import base64
import http.server
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MANY = 10000  # routes of "gateway-10k" and "nginx-10k"
CLAIMS = {
    "aud": "bench-api", "sub": "7f2c1d1e-3b54-4e0f-9a4c-111122223333",
    "email": "someone@example.org", "name": "Some One", "plan": "enterprise",
    "urn:zitadel:iam:user:resourceowner:id": "org-0042",
    "urn:zitadel:iam:org:project:roles": {"user": {"org-0042": "org-0042.example.org"},
                                          "subscriber_enterprise": {"org-0042": "org-0042.example.org"}},
    "tenant_id": "tenant-0042", "roles": "admin,editor,viewer",
}

KONG = """_format_version: "3.0"
services:
  - name: items
    url: http://127.0.0.1:{origin}
    routes:
      - name: items
        paths: [/api/items]
        strip_path: false
{routes}
    plugins:
      - name: jwt
        config:
          claims_to_verify: [exp, iss, aud]
          maximum_expiration: 86400
          issuer: {issuer}
          audience: [bench-api]
          jwks_uri: {issuer}/keys
      - name: rate-limiting-advanced
        config:
          identifier: jwt_claim_plan
          limit: [100000000, 100000000, 100000000, 100000000]
          window_size: [60, 60, 60, 60]
plugins:
  - name: correlation-id
    config: {{ header_name: X-Request-ID, generator: uuid, echo_downstream: true }}
  - name: cors
    config:
      origins: [https://app.kombify.io]
      credentials: true
"""

NGINX_MANY = """worker_processes {workers};
pid {folder}/run/nginx-10k.pid;
error_log /dev/null crit;
daemon off;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 60s; tcp_nodelay on; server_tokens off;
  proxy_http_version 1.1; proxy_set_header Connection "";
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} reuseport backlog=4096;
    location /api/items {{ proxy_pass http://origin; }}
{routes}  }}
}}
"""


def file_limit():
    """Descriptors that each process may have: as many as we can get."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    except (ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(name, port, process, log, deadline=30):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"bench: {name} ended with {process.returncode}\n{log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"bench: {name} does not listen")


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An RSA key of 2048 bit, its key set on a port, and tokens of about 950
    bytes that differ in their jti."""

    def __init__(self, folder):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self.key.public_key()
        (folder / "pub.pem").write_bytes(public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        modulus = public.public_numbers().n.to_bytes(256, "big")
        self.jwks = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench",
                               "n": base64url(modulus), "e": "AQAB"}]}
        self.made = 0
        self.url = self.serve()

    def token(self):
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding
        now = int(time.time())
        self.made += 1
        claims = dict(CLAIMS, iss=self.url, iat=now, exp=now + 6 * 3600, jti=f"c0ffee00-0000-4000-8000-{self.made:012}")
        head = {"alg": "RS256", "typ": "JWT", "kid": "bench"}
        text = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
        return f"{text}.{base64url(self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def serve(self):
        body = json.dumps(self.jwks).encode()

        class Keys(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"


class Proxy:
    """One way through one process (with its children)."""

    def __init__(self, name, process, port):
        self.name, self.process, self.port = name, process, port

    def pids(self):
        leader = self.process.pid
        children = pathlib.Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        return [leader, *map(int, children)]

    def cpu_ns(self):
        """Run time of all its threads."""
        return sum(int(stat.read_text().split()[0])
                   for pid in self.pids() for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))

    def memory_kib(self, field, file):
        total = 0
        for pid in self.pids():
            found = re.search(rf"^{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/{file}").read_text(), re.M)
            total += int(found.group(1)) if found else 0
        return total

    def rss_kib(self):
        return self.memory_kib("VmRSS", "status")

    def pss_kib(self):
        """What is its own, and its share of what processes share."""
        return self.memory_kib("Pss", "smaps_rollup")


class Tools:
    """What lives as long as the measurement: folder, programs, key, tokens."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kombi-bench-"))
        (self.folder / "run").mkdir()
        for name in ("origin", "load"):
            subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", self.folder / name, HERE / f"{name}.c"], check=True)
        self.issuer = Issuer(self.folder)
        self.warm = self.tokens("warm", 1)
        self.cold, self.cold_at = None, 0

    def tokens(self, name, n):
        path = self.folder / f"{name}.tokens"
        path.write_text("".join(self.issuer.token() + "\n" for _ in range(n)))
        return path

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Rig:
    """Origin and proxies with a number of workers; `names` are the wanted."""

    def __init__(self, tools, workers, names):
        self.tools, self.workers, self.folder = tools, workers, tools.folder
        self.processes, self.proxies = [], {}
        try:
            self.origin = free_port()
            self.start("origin", [self.folder / "origin", self.origin], self.origin, cpu=1)
            for names_of, start in (({"nginx", "nginx-6hdr"}, self.start_nginx), ({"nginx-10k"}, self.start_nginx_many),
                                    ({"haproxy-bare", "haproxy-6hdr+rl", "haproxy-jwt"}, self.start_haproxy),
                                    ({"caddy"}, self.start_caddy), ({"gateway"}, self.start_gateway),
                                    ({"gateway-10k"}, self.start_gateway_many)):
                if names_of & set(names):
                    start()
        except BaseException:
            self.stop()
            raise

    def start(self, name, command, port, cpu=0, env=None):
        command = list(map(str, command))
        if self.workers == 1:
            command = ["taskset", "-c", str(cpu), *command]
        path = self.folder / f"{name}.log"
        with open(path, "w") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.processes.append(process)
        wait_for(name, port, process, path)
        return process

    def add(self, process, **ports):
        for name, port in ports.items():
            self.proxies[name] = Proxy(name, process, port)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def template(self, name, **values):
        text = (HERE / f"{name}.in").read_text()
        for key, value in {"N": self.workers, "DIR": self.folder, "O": self.origin, "MAX": file_limit() // 2 - 200,
                           **values}.items():
            text = text.replace(f"@{key}@", str(value))
        target = self.folder / name
        target.write_text(text)
        return target

    def start_nginx(self):
        plain, headers = free_port(), free_port()
        conf = self.template("nginx.conf", P1=plain, P2=headers)
        process = self.start("nginx", ["nginx", "-p", self.folder, "-c", conf], plain)
        self.add(process, **{"nginx": plain, "nginx-6hdr": headers})

    def start_nginx_many(self):
        port = free_port()
        routes = "".join(f"    location /r/{i}/items {{ proxy_pass http://origin; }}\n" for i in range(MANY - 1))
        conf = self.folder / "nginx-10k.conf"
        conf.write_text(NGINX_MANY.format(workers=self.workers, folder=self.folder, origin=self.origin, port=port,
                                          routes=routes))
        self.add(self.start("nginx-10k", ["nginx", "-p", self.folder, "-c", conf], port), **{"nginx-10k": port})

    def start_haproxy(self):
        jwt, limited, bare = free_port(), free_port(), free_port()
        conf = self.template("haproxy.cfg", P1=jwt, P2=limited, P3=bare)
        process = self.start("haproxy", ["haproxy", "-f", conf], bare)
        self.add(process, **{"haproxy-jwt": jwt, "haproxy-6hdr+rl": limited, "haproxy-bare": bare})

    def start_caddy(self):
        port = free_port()
        conf = self.template("Caddyfile", P1=port)
        env = dict(os.environ, HOME=str(self.folder), XDG_DATA_HOME=str(self.folder), XDG_CONFIG_HOME=str(self.folder),
                   GOMAXPROCS=str(self.workers))
        self.add(self.start("caddy", ["caddy", "run", "--adapter", "caddyfile", "--config", conf], port, env=env), caddy=port)

    def start_gateway(self, name="gateway", routes=""):
        port, internal, issuer = free_port(), free_port(), self.tools.issuer.url
        kong = self.folder / f"{name}.yml"
        kong.write_text(KONG.format(origin=self.origin, issuer=issuer, routes=routes))
        env = dict(os.environ, KOMBI_ENVIRONMENT="development", KOMBIFY_DEPLOYMENT_MODE="saas-shared",
                   KOMBI_SERVICE_SECRET="bench-secret-with-at-least-32-bytes-in-it",
                   KONG_DECLARATIVE_CONFIG=str(kong), PORT=str(port), KOMBI_WORKERS=str(self.workers),
                   KOMBI_ADMIN_LISTEN=f"127.0.0.1:{internal}", ZITADEL_ISSUER=issuer,
                   ZITADEL_JWKS_URL=f"{issuer}/keys", KOMBI_AUDIENCE="bench-api")
        self.add(self.start(name, [ROOT / "build/release/bin/gateway"], port, env=env), **{name: port})

    def start_gateway_many(self):
        self.start_gateway("gateway-10k", "".join(
            f"      - {{ name: r{i}, paths: [/r/{i}/items], strip_path: false }}\n" for i in range(MANY - 1)))
