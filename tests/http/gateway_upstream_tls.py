#!/usr/bin/env python3
"""TLS from the gateway to services: who is believed, what is shown to them,
and new certificates. Starts gateways of its own with the program that runs it:
tests/support/captive gateway tests/http/gateway_upstream_tls.py"""
import json
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, ROOT, Upstream, connect, gateway_binary, request_bytes, run_tests, send, until  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-upstream-tls-"))


def certs(*arguments, folder="a"):
    subprocess.run([str(ROOT / "deploy/certs"), *arguments[:-1], str(FOLDER / folder), *arguments[-1].split()],
                   check=True, capture_output=True)


certs("gateway stack=stack,localhost,127.0.0.1 named=stack.test")
certs("stack=127.0.0.1", folder="b")


def pem(name, folder="a"):
    return (FOLDER / folder / name).read_text()


def context(name="stack", folder="a", clients=True):
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(FOLDER / folder / f"{name}.pem", FOLDER / folder / f"{name}.key")
    if clients:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(FOLDER / folder / "ca.pem")
    made.set_alpn_protocols(["http/1.1"])
    made.sni_callback = lambda sock, name, _: made.names.append(name)
    made.names = []
    return made


def server(*arguments, **more):
    made = Upstream(tls=context(*arguments, **more))
    made.rules["/who"] = lambda wire, head: send(wire, 200, json.dumps([wire.sock.getpeercert(), wire.sock.selected_alpn_protocol()]).encode())
    made.rules["/health"] = lambda wire, head: send(wire, 200, b"")
    return made


def indented(text, n=4):
    return "\n".join(" " * n + line for line in text.splitlines())


def config(service, upstream="", extra=""):
    return f"""_format_version: "3.0"
{extra}
services:
- name: s
  retries: 0
{indented(service, 2)}
  routes: [{{name: r, paths: [/], strip_path: false}}]
{upstream}
"""


OPTIONS = {"KOMBI_UPSTREAM_CA_FILE": str(FOLDER / "a/ca.pem"), "KOMBI_UPSTREAM_CERT_FILE": str(FOLDER / "a/gateway.pem"),
           "KOMBI_UPSTREAM_KEY_FILE": str(FOLDER / "a/gateway.key")}


def test_services_of_https_are_shown_our_certificate_and_must_show_theirs():
    good, stranger, named = server(), server(folder="b", clients=False), server("named")
    text = config(f"url: https://127.0.0.1:{good.port}")
    gateway = Gateway(text, **OPTIONS)
    try:
        answer = gateway.call("GET", "/who")
        subject, protocol = answer.json()
        assert answer.status == 200 and ["commonName", "gateway"] in subject["subject"][0] and protocol == "http/1.1", answer.body
        assert good.tls.names == [None], good.tls.names  # addresses are not told as names
        for other in (stranger, named):
            gateway.reload(text.replace(str(good.port), str(other.port)))
            assert gateway.call("GET", "/who").status == 503
            until(lambda: other.refused or other.seen, 5, "the connection") and not other.seen
        gateway.reload(text.replace(f"127.0.0.1:{good.port}", f"localhost:{good.port}"))
        assert gateway.call("GET", "/who").status == 200 and good.tls.names[-1] == "localhost"
        until(lambda: "certificate" in gateway.logged() and "TLS" in gateway.logged(), 5, "the reason")
        big = gateway.call("POST", "/big", body=b"x" * 900_000)
        assert big.status == 200 and len(big.json()["body"]) == 900_000
    finally:
        gateway.stop()


def test_the_file_says_whom_to_believe_and_what_to_show():
    good, stranger = server(), server(folder="b")
    extra = f"""ca_certificates:
- id: 00000000-0000-4000-8000-00000000000a
  cert: |
{indented(pem("ca.pem"))}
certificates:
- id: 00000000-0000-4000-8000-00000000000b
  cert: |
{indented(pem("gateway.pem"))}
  key: |
{indented(pem("gateway.key"))}
"""
    service = f"""url: https://127.0.0.1:{good.port}
ca_certificates: [00000000-0000-4000-8000-00000000000a]
client_certificate: {{id: 00000000-0000-4000-8000-00000000000b}}
tls_verify: true
tls_verify_depth: 0"""
    gateway = Gateway(config(service, extra=extra))
    try:
        assert gateway.call("GET", "/who").status == 200
        gateway.reload(config(service.replace(str(good.port), str(stranger.port)), extra=extra))
        assert gateway.call("GET", "/who").status == 503
        assert "PRIVATE KEY" not in gateway.logged()
        loose = server(folder="b", clients=False)
        gateway.reload(config(f"url: https://127.0.0.1:{loose.port}\ntls_verify: false"))
        assert gateway.call("GET", "/who").status == 200
        gateway.reload(config(f"url: https://127.0.0.1:{loose.port}"))
        assert gateway.call("GET", "/who").status == 503  # nobody is believed without being asked for
    finally:
        gateway.stop()


def test_a_target_is_asked_for_by_the_name_of_host_header_and_probed_in_the_same_way():
    named = server("named")
    upstream = f"""upstreams:
- name: u
  host_header: stack.test:8443
  targets: [{{target: "127.0.0.1:{named.port}"}}]
  healthchecks: {{active: {{type: https, http_path: /health, healthy: {{interval: 0.05, successes: 1, http_statuses: [200]}},
    unhealthy: {{interval: 0.05, tcp_failures: 1}}}}}}"""
    gateway = Gateway(config("host: u\nprotocol: https", upstream), **OPTIONS)
    try:
        until(lambda: named.count("/health") > 2, 5, "probes")
        assert gateway.call("GET", "/who").status == 200
        assert {*named.tls.names} == {"stack.test"} and named.refused == []
        assert named.seen[-1].get("Host") in ("stack.test:8443",), named.seen[-1].fields
        gateway.reload(config("host: u\nprotocol: https", upstream.replace("stack.test:", "else.test:")))
        until(lambda: gateway.call("GET", "/upstreams/u/health", admin=True).json()["data"][0]["health"] == "UNHEALTHY", 5, "bad name")
    finally:
        gateway.stop()


def test_one_switch_makes_our_own_services_speak_tls():
    own, plain = server(), Upstream()
    text = f"""_format_version: "3.0"
services:
- {{name: stack, url: "http://127.0.0.1:{own.port}", routes: [{{name: a, paths: [/who]}}, {{name: b, paths: [/ws], protocols: [ws, http], strip_path: false}}]}}
- {{name: foreign, url: "http://127.0.0.1:{plain.port}", routes: [{{name: c, paths: [/plain]}}]}}
"""
    gateway = Gateway(text.replace("paths: [/who]", "paths: [/who], strip_path: false"), KOMBI_UPSTREAM_TLS="true", **OPTIONS)
    try:
        assert gateway.call("GET", "/who").status == 200
        assert gateway.call("GET", "/plain").status == 200

        def echo(wire, head):
            wire.sock.sendall(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            wire.sock.sendall(wire.exactly(5))
            return False
        own.rules["/ws"] = echo
        wire = connect(gateway.url)
        wire.sock.sendall(request_bytes("GET", "/ws", [("Connection", "Upgrade"), ("Upgrade", "websocket")], None))
        assert wire.head().start.split()[1] == "101"
        wire.sock.sendall(b"hello")
        assert wire.exactly(5) == b"hello"
        wire.close()
    finally:
        gateway.stop()


def test_rotated_certificates_are_taken_at_sighup_and_unchanged_ones_keep_their_connections():
    good = server()
    text = config(f"url: https://127.0.0.1:{good.port}")
    gateway = Gateway(text, **OPTIONS)
    try:
        assert gateway.call("GET", "/who").status == 200
        for _ in range(3):
            gateway.reload(text)
            assert gateway.call("GET", "/who").status == 200
        assert len(good.tls.names) == 1, "the connection was not kept"
        first = gateway.call("GET", "/who").json()[0]["serialNumber"]
        certs("--rotate-ca", "gateway stack=stack,localhost,127.0.0.1")
        good.tls.load_cert_chain(FOLDER / "a/stack.pem", FOLDER / "a/stack.key")
        good.tls.load_verify_locations(FOLDER / "a/ca.pem")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.call("GET", "/who").json()[0]["serialNumber"] != first, 5, "the new certificate")
        (FOLDER / "a/ca.pem").rename(FOLDER / "a/kept")
        gateway.reload(text)
        assert "configuration refused" in gateway.logged()
        assert gateway.call("GET", "/who").status == 200
        (FOLDER / "a/kept").rename(FOLDER / "a/ca.pem")
        before = gateway.rss_kib()
        for _ in range(30):
            gateway.reload(text)
        if "asan" not in gateway_binary():  # which frees late
            assert gateway.rss_kib() - before < 3000
    finally:
        gateway.stop()


if __name__ == "__main__":
    code = run_tests(dict(globals()))
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(code)
