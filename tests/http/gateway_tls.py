#!/usr/bin/env python3
"""The gateway's HTTPS, as curl, openssl s_client and Python's ssl see it.

Starts gateways of its own with the program that runs it:
tests/support/captive gateway tests/http/gateway_tls.py"""
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, ROOT, Upstream, Wire, request_bytes, run_tests, until  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kombi-gateway-tls-"))
subprocess.run([str(ROOT / "tests/support/make-certs"), str(FOLDER)], check=True)
UPSTREAM = Upstream()
CONFIG = f"""_format_version: "3.0"
services:
- name: public
  url: http://127.0.0.1:{UPSTREAM.port}
  routes:
  - {{name: public, paths: [/public], strip_path: false}}
  - {{name: secure, paths: [/secure], strip_path: false, protocols: [https]}}
"""


def use(name):
    """The gateway's certificate from the next reload on."""
    for ending in ("key", "pem"):
        target = FOLDER / f"in-use.{ending}"
        shutil.copy(FOLDER / f"{name}.{ending}", target)
        target.chmod(0o600)


def start(**env):
    use("default")
    return Gateway(CONFIG, KOMBI_TLS_CERT_FILE=str(FOLDER / "in-use.pem"), KOMBI_TLS_KEY_FILE=str(FOLDER / "in-use.key"), **env)


GW = start(KOMBI_WORKERS="2")


def port(gateway=None):
    return int((gateway or GW).tls.rsplit(":", 1)[1])


def connect(name="default.test", gateway=None, own=None):
    context = ssl.create_default_context(cafile=str(FOLDER / "ca.pem"))
    if own:
        context.load_cert_chain(str(FOLDER / f"{own}.pem"), str(FOLDER / f"{own}.key"))
    raw = socket.create_connection(("127.0.0.1", port(gateway)), timeout=20)
    return Wire(context.wrap_socket(raw, server_hostname=name))


def ask(wire, path="/public/x"):
    wire.sock.sendall(request_bytes("GET", path, [], None))
    head = wire.head()
    return int(head.start.split()[1]), wire.body(head)


def s_client(*arguments, text="Q\n"):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port()}", "-servername", "default.test", "-CAfile", str(FOLDER / "ca.pem"), *arguments],
        input=text.encode(), capture_output=True, timeout=30, check=False)
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def test_curl_is_answered_and_the_upstream_hears_that_it_was_https():
    out = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", str(FOLDER / "ca.pem"), "--resolve", f"default.test:{port()}:127.0.0.1",
         f"https://default.test:{port()}/secure/curl"], capture_output=True, timeout=30, check=False)
    assert out.returncode == 0, out.stderr
    fields = dict(json.loads(out.stdout)["headers"])
    assert fields["X-Forwarded-Proto"] == "https" and fields["X-Forwarded-Port"] == str(port()), fields


def test_routes_for_https_alone_ask_plain_clients_to_upgrade():
    assert GW.call("GET", "/secure/x").status == 426
    assert GW.call("GET", "/public/x").status == 200
    assert GW.call("GET", "/secure/x", headers=[("X-Forwarded-Proto", "https")]).status == 426


def test_a_chosen_suite_is_ephemeral_and_authenticated():
    out = s_client("-alpn", "h2,http/1.1")
    assert re.search(r"Cipher is (ECDHE-ECDSA-AES128-GCM-SHA256|TLS_AES_128_GCM_SHA256)", out), out
    assert "Verify return code: 0 (ok)" in out and "ALPN protocol: http/1.1" in out, out
    assert re.search(r"Server Temp Key: X25519", out), out


def test_what_is_weak_or_foreign_is_refused():
    for arguments in (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
                      ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), ("-alpn", "h2")):
        out = s_client(*arguments)
        assert "alert" in out and "Cipher is (NONE)" in out, (arguments, out)


def test_a_session_is_resumed_by_its_ticket():
    session = str(FOLDER / "session")
    first = s_client("-tls1_2", "-sess_out", session)
    again = s_client("-tls1_2", "-sess_in", session)
    assert "New, TLSv1.2" in first and "Reused, TLSv1.2" in again, again


def test_renegotiation_is_refused():
    out = s_client("-tls1_2", text="R\n")
    assert "no renegotiation" in out, out
    assert ask(connect())[0] == 200


def test_new_certificates_reach_new_clients_and_open_connections_stay():
    before = connect()
    first = before.sock.getpeercert(True)
    assert ask(before)[0] == 200
    use("one")
    GW.reload(CONFIG)
    until(lambda: served() != first, 10, "the new certificate")
    assert ask(before)[0] == 200
    assert ask(connect("one.test"))[0] == 200
    shutil.copy(FOLDER / "default.key", FOLDER / "in-use.key")
    GW.reload(CONFIG)
    assert "is not the key of the certificate" in GW.logged()
    assert ask(before)[0] == 200 and ask(connect("one.test"))[0] == 200
    use("default")
    GW.reload(CONFIG)
    until(lambda: served() == first, 10, "the first certificate")
    assert ask(before)[0] == 200


def served():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port()), timeout=20) as raw, context.wrap_socket(raw) as wrapped:
        return wrapped.getpeercert(True)


def pem(name, ending="pem"):
    return json.dumps((FOLDER / f"{name}.{ending}").read_text())


def of_file(*rows):
    return CONFIG + "certificates:\n" + "".join(
        f"- {{id: 00000000-0000-4000-8000-00000000000{number}, cert: {pem(name)}, key: {pem(key or name, 'key')}, snis: [{snis}]}}\n"
        for number, (name, key, snis) in enumerate(rows))


def test_certificates_of_the_file_are_chosen_by_sni_and_changed_with_it():
    gateway = Gateway(of_file(("default", None, ""), ("one", None, "{name: one.test}, {name: one.*}"), ("rsa", None, ""),
                              ("wild", None, "{name: '*.wild.test'}")))
    try:
        for name in ("default.test", "one.test", "a.wild.test"):
            assert ask(connect(name, gateway))[0] == 200
        shown = {name: subject(gateway, name) for name in ("one.example", "nobody.test", "b.wild.test", "a.b.wild.test")}
        assert shown == {"one.example": "one.test", "nobody.test": "default.test", "b.wild.test": "wild.test", "a.b.wild.test": "default.test"}, shown
        context = ssl.create_default_context(cafile=str(FOLDER / "ca.pem"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        raw = socket.create_connection(("127.0.0.1", port(gateway)), timeout=20)
        assert ask(Wire(context.wrap_socket(raw, server_hostname="one.test")))[0] == 200
        before = connect("one.test", gateway)
        gateway.reload(of_file(("one", None, "{name: default.test}")))
        until(lambda: subject(gateway, "default.test") == "one.test", 5, "the new certificates")
        assert ask(before)[0] == 200
        gateway.reload(of_file(("one", "wild", "")))
        assert "configuration refused" in gateway.logged() and "is not the key of the certificate" in gateway.logged()
        assert "PRIVATE KEY" not in gateway.logged()
        assert ask(before)[0] == 200
    finally:
        gateway.stop()


def subject(gateway, name):
    """Of the certificate that is shown for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port(gateway)), timeout=20) as raw, context.wrap_socket(raw, server_hostname=name) as wrapped:
        shown = ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(True))
    out = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=shown.encode(), capture_output=True, check=True).stdout.decode()
    return out.split("DNS:")[1].strip().removeprefix("*.")


def test_clients_must_show_a_certificate_where_the_operator_says_so():
    gateway = start(KOMBI_TLS_CLIENTS="required", KOMBI_TLS_CLIENT_CA_FILE=str(FOLDER / "ca.pem"))
    try:
        assert ask(connect(gateway=gateway, own="client"))[0] == 200
        for own in (None, "stranger"):
            try:
                status = ask(connect(gateway=gateway, own=own))[0]
            except (OSError, AttributeError):
                status = None
            assert status is None, own
    finally:
        gateway.stop()


def test_options_that_do_not_go_together_are_told():
    for env, text in (({"KOMBI_TLS_CERT_FILE": "x"}, "go together"), ({"KOMBI_TLS_LISTEN": "127.0.0.1:0"}, "needs KOMBI_TLS_CERT_FILE")):
        try:
            Gateway(CONFIG, **env).stop()
        except AssertionError as error:
            assert text in str(error), error
        else:
            raise AssertionError("it started")


def main():
    try:
        return run_tests(globals())
    finally:
        GW.stop()
        UPSTREAM.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
