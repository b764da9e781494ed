#!/usr/bin/env python3
"""The Admin API as scripts and operators use it: curl's forms, pages, tags,
refusals, POST /config under traffic, the state file, the watch on the file.
tests/support/captive gateway tests/http/gateway_admin_api.py"""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from gateway_rig import Gateway, Upstream, gateway_binary, request_bytes, run_tests, until  # noqa: E402

UPSTREAM = Upstream()
FILE = {"_format_version": "3.0",
        "services": [{"name": "one", "url": f"http://127.0.0.1:{UPSTREAM.port}/base", "tags": ["a", "b"],
                      "routes": [{"name": "r1", "paths": ["/one"], "tags": ["b"]}]}],
        "upstreams": [{"name": "pool", "targets": [{"target": f"127.0.0.1:{UPSTREAM.port}"}]}],
        "consumers": [{"username": "ana", "keyauth_credentials": [{"key": "the-key-of-ana-is-long"}],
                       "jwt_secrets": [{"key": "https://i.example", "algorithm": "RS256", "secret": "never-to-be-shown"}]}],
        "plugins": [{"name": "correlation-id", "tags": ["a"]}]}
TOKEN = "a-token-of-operators-0123456789"


class Admin:
    def __init__(self, gateway, token=None):
        self.gateway, self.token = gateway, token

    def call(self, method, path, data=None, headers=()):
        """dict: JSON; str: a form, as curl -d sends it."""
        headers = list(headers)
        if self.token:
            headers.append(("Kong-Admin-Token", self.token))
        body = None
        if isinstance(data, (dict, list)):
            body = json.dumps(data).encode()
            headers.append(("Content-Type", "application/json"))
        elif data is not None:
            body = data.encode() if isinstance(data, str) else data
            if not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        return self.gateway.call(method, path, headers, body, admin=True)

    def good(self, method, path, data=None, status=200, headers=()):
        answer = self.call(method, path, data, headers)
        assert answer.status == status, (answer.status, answer.body)
        return answer.json() if answer.body else None

    def get(self, path):
        return self.good("GET", path)

    def hash(self):
        return self.get("/status")["configuration_hash"]


def with_gateway(test, file=None, **env):
    gateway = Gateway(json.dumps(file or FILE), **env)
    try:
        test(gateway, Admin(gateway, env.get("KOMBI_ADMIN_TOKEN")))
    finally:
        gateway.stop()


GW = Gateway(json.dumps(FILE))
ADMIN = Admin(GW)


def refused(answer, status, code=None, field=None):
    assert answer.status == status, (answer.status, answer.body)
    body = answer.json()
    assert body["message"] and (code is None or body["code"] == code), body
    assert field is None or field in body["fields"], body
    return body


# ---- reading ---------------------------------------------------------------------


def test_the_node_tells_what_tools_ask_for():
    root = ADMIN.get("/")
    assert root["version"].startswith("3.9") and root["configuration"]["database"] == "postgres", root
    assert root["plugins"]["available_on_server"]["jwt"]["priority"] == 1450
    assert root["plugins"]["enabled_in_cluster"] == ["correlation-id"]
    assert re.fullmatch("[0-9a-f-]{36}", root["node_id"]) and root["hostname"]
    GW.call("GET", "/one")
    status = ADMIN.get("/status")
    assert status["database"] == {"reachable": True} and status["memory"]["resident_bytes"] > 1 << 20, status
    for name in ("accepted", "active", "handled", "reading", "waiting", "writing"):
        assert isinstance(status["server"][f"connections_{name}"], int), status
    assert status["server"]["total_requests"] >= 1
    assert ADMIN.get("/status/ready") == {"message": "ready"}
    assert "jwt" in ADMIN.get("/plugins/enabled")["enabled_plugins"]
    assert "/services/{services}/routes" in ADMIN.get("/endpoints")["data"]
    assert b'"name":"one"' in ADMIN.call("GET", "/services").body  # scripts grep for it


def test_entities_come_with_defaults_nulls_and_references():
    service = ADMIN.get("/services/one")
    assert (service["host"], service["port"], service["path"], service["retries"], service["client_certificate"]) == \
        ("127.0.0.1", UPSTREAM.port, "/base", 5, None), service
    assert "url" not in service
    route = ADMIN.get("/services/one/routes")["data"][0]
    assert route["protocols"] == ["http", "https"] and route["service"] == {"id": service["id"]} and route["headers"] is None, route
    assert ADMIN.get(f"/routes/{route['id']}") == route == ADMIN.get("/services/one/routes/r1")
    assert ADMIN.get("/routes/r1/service") == service == ADMIN.get(f"/services/{service['id']}")
    assert ADMIN.get("/upstreams/pool/targets/all")["data"][0]["weight"] == 100
    assert ADMIN.get("/upstreams/pool/health")["data"][0]["health"] == "HEALTHCHECKS_OFF"
    assert ADMIN.call("HEAD", "/services/one").status == 200
    for path in ("/services/none", "/services/none/routes", "/nothing", "/services/one/nothing"):
        assert ADMIN.call("GET", path).status == 404, path


def test_secrets_are_never_given_out():
    texts = [ADMIN.call("GET", path).body.decode() for path in
             ("/consumers/ana/key-auth", "/key-auths", "/jwts", "/consumers/ana/jwt", "/config", "/consumers")]
    assert not any("the-key-of-ana" in text or "never-to-be" in text for text in texts), texts
    assert ADMIN.get("/jwts")["data"][0]["secret"] == "********"
    assert ADMIN.get("/key-auths")["data"][0]["key"].startswith("sha256:")


def test_schemas_are_those_of_the_tables():
    def field(schema, name):
        return next(about[name] for about in schema["fields"] if name in about)
    assert field(ADMIN.get("/schemas/services"), "retries") == {"type": "integer", "default": 5, "between": [0, 32767]}
    active = field(field(ADMIN.get("/schemas/upstreams"), "healthchecks"), "active")
    assert active["type"] == "record" and field(active, "concurrency")["default"] == 10
    config = field(ADMIN.get("/schemas/plugins/rate-limiting"), "config")
    assert field(config, "error_code") == {"type": "integer", "default": 429, "between": [400, 599]}
    assert ADMIN.call("GET", "/schemas/nothing").status == ADMIN.call("GET", "/schemas/plugins/nothing").status == 404
    ADMIN.good("POST", "/schemas/plugins/validate", {"name": "ip-restriction", "config": {"allow": ["10.0.0.1"]}}, status=201)
    refused(ADMIN.call("POST", "/schemas/plugins/validate", {"name": "ip-restriction", "config": {"allow": ["x"]}}), 400, 2)
    ADMIN.good("POST", "/schemas/routes/validate", {"name": "x", "paths": ["/x"], "service": {"id": "1" * 8 + "-2222-4333-8444-555555555555"}}, status=201)
    refused(ADMIN.call("POST", "/schemas/routes/validate", {"name": "x", "paths": "x"}), 400, 2)


def test_pages_and_tags():
    def check(_, admin):
        found, path, pages = [], "/routes?size=7&tags=even", 0
        while path:
            page = admin.get(path)
            found, path, pages = found + page["data"], page["next"], pages + 1
            assert ("offset" in page) == (path is not None)
        assert pages == 4 and sorted(int(route["name"][1:]) for route in found) == list(range(0, 50, 2))
        assert len(admin.get("/routes?tags=even,third")["data"]) == 9
        assert len(admin.get("/routes?tags=even/third")["data"]) == 33
        assert len(admin.get("/tags/third")["data"]) == 17
        for query, code in (("size=0", 9), ("size=1001", 9), ("size=x", 9), ("offset=%25%25", 7), ("tags=a,b/c", 2)):
            refused(admin.call("GET", f"/routes?{query}"), 400, code)
    routes = [{"name": f"r{n}", "paths": [f"/p{n}"], "tags": ["even"] * (n % 2 == 0) + ["third"] * (n % 3 == 0) or ["none"]} for n in range(50)]
    with_gateway(check, {"_format_version": "3.0", "services": [{"name": "s", "host": "127.0.0.1", "routes": routes}]})


# ---- writing -----------------------------------------------------------------------


def test_the_scripts_of_the_platform_work_by_forms_and_json():
    def check(gateway, admin):
        url = urllib.parse.quote(f"http://127.0.0.1:{UPSTREAM.port}", safe="")
        made = admin.good("PUT", "/services/new", f"url={url}&retries=2&tags[]=x&tags[]=y")
        assert made["name"] == "new" and made["retries"] == 2 and made["tags"] == ["x", "y"], made
        assert admin.good("PUT", "/services/new", f"url={url}")["id"] == made["id"]
        assert admin.good("PUT", "/services/new/routes/first", "paths[]=/first&paths[]=/1st&strip_path=false")["service"] == {"id": made["id"]}
        assert admin.good("PUT", "/routes/second", {"paths": ["/second"], "service": {"name": "new"}})["service"] == {"id": made["id"]}
        admin.good("PUT", "/upstreams/fresh", "algorithm=least-connections")
        target = admin.good("POST", "/upstreams/fresh/targets", f"target=127.0.0.1:{UPSTREAM.port}&weight=20", status=201)
        assert target["weight"] == 20 and target["upstream"], target
        plugin = admin.good("POST", "/services/new/plugins", "name=rate-limiting&config.minute=2&config.policy=local", status=201)
        assert plugin["config"]["minute"] == 2 and plugin["enabled"] is True, plugin
        assert [gateway.call("GET", path).status for path in ("/first", "/1st", "/second")] == [200, 200, 429]
        assert admin.good("PATCH", f"/plugins/{plugin['id']}", "config.minute=1000")["config"]["policy"] == "local"
        assert gateway.call("GET", "/second").status == 200
        admin.good("PATCH", "/services/new", {"path": "/deeper"})
        assert gateway.call("GET", "/second").json()["start"].split()[1] == "/deeper"
        assert admin.get("/services/new")["host"] == "127.0.0.1"
        admin.good("POST", f"/upstreams/fresh/targets/{target['id']}/unhealthy", status=409)
    with_gateway(check)


def test_conflicts_and_missing_references_have_kongs_forms():
    before = ADMIN.hash()
    body = refused(ADMIN.call("POST", "/services", {"name": "one", "host": "127.0.0.1"}), 409, 5, "name")
    assert body["name"] == "unique constraint violation", body
    refused(ADMIN.call("POST", "/services", {"id": ADMIN.get("/services/one")["id"], "name": "z", "host": "127.0.0.1"}), 409, 3, "id")
    refused(ADMIN.call("POST", "/routes", {"paths": ["/q"], "service": {"name": "none"}}), 400, 4, "service")
    refused(ADMIN.call("POST", "/plugins", {"name": "correlation-id"}), 409, 5)
    refused(ADMIN.call("POST", "/upstreams/pool/targets", {"target": f"127.0.0.1:{UPSTREAM.port}"}), 409, 5)
    body = refused(ADMIN.call("DELETE", "/services/one"), 400, 4, "@referenced_by")
    assert "'routes'" in body["message"], body
    assert ADMIN.call("DELETE", "/services/none").status == 204
    assert ADMIN.call("PATCH", "/services/none", {"host": "x"}).status == 404
    assert ADMIN.hash() == before


def test_bad_input_changes_nothing():
    before = ADMIN.hash()
    for method, path, data, field in (
            ("POST", "/services", {"name": "x"}, None), ("POST", "/services", {"name": "x", "host": "h", "port": 70000}, "port"),
            ("PUT", "/services/x", {"host": "h", "retires": 1}, "retires"), ("PUT", "/services/x", {"host": "h", "routes": []}, "routes"),
            ("PUT", "/services/x", {"host": "h", "name": ["x"]}, "name"), ("POST", "/plugins", {"name": "nothing"}, None),
            ("POST", "/plugins", {"name": "rate-limiting", "config": {"minute": -1}}, "minute"),
            ("POST", "/consumers", {}, None), ("PUT", "/services/x", {"host": "${HOME}"}, None),
            ("PUT", "/services/x", {"host": "{vault://env/HOME}"}, None), ("POST", "/consumers/ana/jwt", {"key": "k", "algorithm": "RS256", "secret": "********"}, None)):
        refused(ADMIN.call(method, path, data), 400, 2, field)
    for data, headers in ((b"{", [("Content-Type", "application/json")]), (b'{"a":1,"a":2}', [("Content-Type", "application/json")]),
                          (b"[]", [("Content-Type", "application/json")]), (b"a=%zz", ()), (b"a=1&a.b=2", ())):
        assert ADMIN.call("POST", "/services", data, headers).status == 400, data
    assert ADMIN.call("POST", "/services", b"<x/>", [("Content-Type", "text/xml")]).status == 415
    assert ADMIN.call("PUT", "/services", {}).status == ADMIN.call("POST", "/services/one", {}).status == 405
    assert ADMIN.call("POST", "/services", b"x" * (2 << 20)).status == 413
    assert ADMIN.hash() == before


def test_consumers_credentials_and_groups():
    def check(gateway, admin):
        admin.good("POST", "/consumers", "username=ben&custom_id=b-1", status=201)
        key = admin.good("POST", "/consumers/ben/key-auth", {"key": "bens-own-and-long-key"}, status=201)
        assert key["key"].startswith("sha256:") and key["consumer"]["id"] == admin.get("/consumers/b-1")["id"]
        admin.good("PUT", "/consumers/ben/acls/staff", {})
        admin.good("POST", "/plugins", {"name": "key-auth"}, status=201)
        assert gateway.call("GET", "/one", [("apikey", "bens-own-and-long-key")]).status == 200
        assert gateway.call("GET", "/one").status == 401
        admin.good("POST", "/consumer_groups", {"name": "gold"}, status=201)
        joined = admin.good("POST", "/consumer_groups/gold/consumers", {"consumer": "ben"}, status=201)
        assert [one["username"] for one in joined["consumers"]] == ["ben"], joined
        assert admin.get("/consumers/ben/consumer_groups")["data"][0]["name"] == "gold"
        admin.good("PUT", "/consumers/ben", {"custom_id": "b-2"})  # membership has paths of its own
        assert [one["username"] for one in admin.get("/consumer_groups/gold/consumers")["data"]] == ["ben"]
        assert "consumers" not in admin.get("/consumer_groups/gold?list_consumers=false")
        admin.good("DELETE", "/consumers/ben/consumer_groups/gold", status=204)
        assert admin.get("/consumer_groups/gold")["consumers"] == []
        admin.good("DELETE", "/consumers/ben", status=204)
        assert all(one["consumer"]["id"] != key["consumer"]["id"] for kind in ("/key-auths", "/acls") for one in admin.get(kind)["data"])
        assert gateway.call("GET", "/one", [("apikey", "bens-own-and-long-key")]).status == 401
    with_gateway(check)


def test_a_service_whose_upstream_lost_its_targets_answers_503_until_one_is_back():
    def check(gateway, admin):
        admin.good("PUT", "/services/p", {"host": "pool"})
        admin.good("PUT", "/services/p/routes/p", {"paths": ["/p"]})
        assert gateway.call("GET", "/p").status == 200
        admin.good("DELETE", f"/upstreams/pool/targets/127.0.0.1:{UPSTREAM.port}", status=204)
        assert gateway.call("GET", "/p").status == 503
        admin.good("POST", "/upstreams/pool/targets", {"target": f"127.0.0.1:{UPSTREAM.port}"}, status=201)
        assert gateway.call("GET", "/p").status == 200
    with_gateway(check)


# ---- who may -------------------------------------------------------------------------


def test_web_pages_and_foreign_names_are_refused():
    assert ADMIN.call("GET", "/", headers=[("Origin", "https://evil.example")]).status == 403
    assert ADMIN.call("POST", "/services", "name=x&host=y", [("Origin", "null")]).status == 403
    assert GW.raw(request_bytes("GET", "/services", host="rebound.example"), admin=True).status == 403
    for host in ("127.0.0.1:1", "localhost", "[::1]:80"):
        assert GW.raw(request_bytes("GET", "/services", host=host), admin=True).status == 200, host
    assert GW.raw(request_bytes("GET", "/health", host="probe.example"), admin=True).status == 200


def test_a_token_is_asked_for_where_there_is_one():
    def check(gateway, admin):
        assert admin.get("/services")["data"]
        for headers in ((), [("Kong-Admin-Token", "wrong" * 6)], [("Authorization", "Basic abc")]):
            assert gateway.call("GET", "/services", headers, admin=True).status == 401, headers
        assert gateway.call("GET", "/services", [("Authorization", f"Bearer {TOKEN}")], admin=True).status == 200
        assert gateway.call("GET", "/health", admin=True).status == 200
        assert TOKEN not in gateway.logged()
    with_gateway(check, KOMBI_ADMIN_TOKEN=TOKEN)


def test_writing_can_be_switched_off():
    def check(_, admin):
        before = admin.hash()
        body = refused(admin.call("PUT", "/services/x", {"host": "h"}), 405)
        assert body["message"] == "cannot create or update 'services' entities when not using a database", body
        assert admin.call("DELETE", "/services/one").status == admin.call("POST", "/config", FILE).status == 405
        assert admin.get("/")["configuration"]["database"] == "off" and admin.hash() == before
    with_gateway(check, KOMBI_ADMIN_WRITE="false")


# ---- the whole -------------------------------------------------------------------------


def changed(name):
    file = json.loads(json.dumps(FILE))
    file["services"][0]["routes"].append({"name": name, "paths": [f"/{name}"]})
    return file


def test_a_configuration_can_be_posted_in_every_form():
    def check(gateway, admin):
        text = json.dumps(changed("second"))
        answer = admin.good("POST", "/config", changed("first"), status=201)
        assert {one["name"] for one in answer["routes"].values()} == {"r1", "first"}, answer
        assert gateway.call("GET", "/first").status == 200
        forms = [({"config": text}, ()), ("config=" + urllib.parse.quote(text), ()), (text, [("Content-Type", "text/yaml")])]
        for data, headers in forms:
            admin.good("POST", "/config", changed("first"), status=201)
            admin.good("PUT", "/config", data, status=201, headers=headers)
            assert (gateway.call("GET", "/first").status, gateway.call("GET", "/second").status) == (404, 200)
        assert admin.call("POST", "/config?check_hash=1", changed("second")).status == 304
        assert admin.call("POST", "/config?check_hash=1", changed("third")).status == 201
        assert 'kong_config_reload_total{result="accepted"} 8' in gateway.call("GET", "/metrics", admin=True).body.decode()
    with_gateway(check)


def test_a_bad_configuration_is_explained_entity_by_entity_and_changes_nothing():
    before = ADMIN.hash()
    bad = {"_format_version": "3.0", "services": [{"name": "s", "host": "127.0.0.1", "port": 0, "tags": ["t"], "retries": "x"}],
           "plugins": [{"name": "rate-limiting", "config": {"minute": 0}}], "nothing": 1}
    body = refused(ADMIN.call("POST", "/config?flatten_errors=1", bad), 400, 14)
    found = {one["entity_type"]: one for one in body["flattened_errors"]}
    assert found["service"]["entity_name"] == "s" and found["service"]["entity_tags"] == ["t"], body
    assert {error["field"] for error in found["service"]["errors"]} == {"port", "retries"}, body
    assert any("nothing" in text for text in body["fields"]["@entity"]), body
    assert len(refused(ADMIN.call("POST", "/config", bad), 400, 14)["fields"]["@entity"]) >= 4
    for data in (b"a: [", b"- 1", b'_format_version: "3.0"\nservices: [{name: s, host: "${HOME}"}]'):
        assert ADMIN.call("POST", "/config", data, [("Content-Type", "text/yaml")]).status == 400, data
    assert ADMIN.hash() == before
    assert 'kong_config_reload_total{result="refused"}' in GW.call("GET", "/metrics", admin=True).body.decode()


def test_what_is_given_out_can_be_posted_back():
    state = GW.folder / "back.yml"

    def check(_, admin):
        lists = ("/services", "/routes", "/key-auths", "/plugins")
        given, before = admin.get("/config"), [admin.get(path)["data"] for path in lists]
        admin.good("POST", "/config", given, status=201)
        assert [admin.get(path)["data"] for path in lists] == before
        assert "never-to-be-shown" in state.read_text()  # a mask stands for what it hid
        given["jwt_secrets"][0].update(id="11111111-2222-4333-8444-555555555555")
        refused(admin.call("POST", "/config", given), 400, 14)  # and for nothing else
    with_gateway(check, KOMBI_CONFIG_STATE=str(state))


def test_a_post_under_traffic_loses_no_request():
    def check(gateway, admin):
        stop, bad, done = threading.Event(), [], [0]

        def ask():
            host = urllib.parse.urlsplit(gateway.url).netloc
            connection = http.client.HTTPConnection(host, timeout=20)
            while not stop.is_set():
                connection.request("GET", "/one")
                answer = connection.getresponse()
                answer.read()
                done[0] += 1
                if answer.status != 200:
                    bad.append(answer.status)
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(30):
            admin.good("POST", "/config", changed(f"n{n}"), status=201)
            admin.good("PUT", f"/services/s{n}", {"host": "127.0.0.1"})
        stop.set()
        for thread in threads:
            thread.join(20)
        assert not bad and done[0] > 50, (bad[:5], done)
    with_gateway(check)


# ---- what lasts --------------------------------------------------------------------------


def test_changes_outlive_a_restart_in_the_state_file_until_the_file_is_edited():
    folder = GW.folder / "state"
    folder.mkdir()
    state = folder / "state.yml"

    def change(gateway, admin):
        admin.good("PUT", "/services/kept", {"host": "127.0.0.1", "port": UPSTREAM.port})
        admin.good("PUT", "/services/kept/routes/kept", {"paths": ["/kept"]})
        assert oct(state.stat().st_mode & 0o777) == "0o600" and "never-to-be-shown" in state.read_text()
        check = subprocess.run([gateway_binary(), "check", str(state)], capture_output=True).returncode
        assert check == 0

    def kept(gateway, admin):
        assert gateway.call("GET", "/kept").status == 200
        assert admin.get("/jwts")["data"][0]["secret"] == "********"
        gateway.process.send_signal(signal.SIGHUP)  # the file is the same: so is the state
        until(lambda: "configuration loaded" in gateway.logged(), 10, "reload")
        assert gateway.call("GET", "/kept").status == 200
        gateway.file.write_text(json.dumps(changed("edited")))
        until(lambda: gateway.call("GET", "/edited").status == 200, 10, "the edited file")
        assert gateway.call("GET", "/kept").status == 404 and not state.exists()
        assert (folder / "state.yml.superseded").exists()
        until(lambda: "put aside" in gateway.logged(), 10, "the line about it")

    with_gateway(change, KOMBI_CONFIG_STATE=str(state))
    with_gateway(kept, KOMBI_CONFIG_STATE=str(state))


def test_a_change_that_cannot_be_kept_is_refused():
    def check(_, admin):
        before = admin.hash()
        assert admin.call("PUT", "/services/x", {"host": "h"}).status == 500 and admin.hash() == before
    with_gateway(check, KOMBI_CONFIG_STATE="/proc/nowhere/state.yml")


def test_without_a_state_file_one_line_says_how_long_changes_last():
    def check(gateway, admin):
        for n in range(3):
            admin.good("PUT", f"/services/s{n}", {"host": "127.0.0.1"})
        until(lambda: "last until the next reload" in gateway.logged(), 10, "the line")
        gateway.reload(json.dumps(FILE))
        assert admin.call("GET", "/services/s0").status == 404
        assert gateway.logged().count("last until the next reload or restart") == 1
    with_gateway(check, KOMBI_CONFIG_WATCH="false")


def test_the_file_is_loaded_when_it_is_written_renamed_over_or_linked_elsewhere():
    def check(gateway, admin):
        def comes(name):
            until(lambda: gateway.call("GET", f"/{name}").status == 200, 10, name)
        gateway.file.write_text(json.dumps(changed("written")))
        comes("written")
        fresh = gateway.folder / "fresh"
        fresh.write_text(json.dumps(changed("renamed")))
        os.rename(fresh, gateway.file)
        comes("renamed")
        for name in ("map1", "map2"):  # as Kubernetes does it: kong.yml -> ..data/kong.yml, ..data -> folder
            (gateway.folder / name).mkdir()
            (gateway.folder / name / "kong.yml").write_text(json.dumps(changed(name)))
            os.symlink(name, gateway.folder / "..new")
            os.rename(gateway.folder / "..new", gateway.folder / "..data")
            if name == "map1":
                gateway.file.unlink()
                os.symlink("..data/kong.yml", gateway.file)
            comes(name)
        before = admin.hash()
        (gateway.folder / "map2" / "kong.yml").write_text("services: [")
        until(lambda: "configuration refused" in gateway.logged(), 10, "refusal")
        assert admin.hash() == before and gateway.call("GET", "/map2").status == 200
        assert 'kong_config_reload_total{result="refused"} 1' in gateway.call("GET", "/metrics", admin=True).body.decode()
        (gateway.folder / "map2" / "kong.yml").write_text(json.dumps(changed("mended")))
        comes("mended")
    with_gateway(check)


def main():
    try:
        return run_tests(globals())
    finally:
        GW.stop()
        UPSTREAM.stop()


if __name__ == "__main__":
    sys.exit(main())
