#!/usr/bin/env python3
"""decK's protocol against the Admin API: ping, dump, diff, sync, validate.
tests/support/captive gateway tests/http/gateway_deck.py"""
import copy
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from deck_model import Deck, Refused  # noqa: E402
from gateway_rig import Gateway, Upstream, run_tests  # noqa: E402

EMPTY = '_format_version: "3.0"\n'
KEY = "sha256:" + "ab" * 32  # decK sees hashes only; files for it hold them


def content(port=9):
    return {"_format_version": "3.0",
            "services": [
                {"name": "one", "url": f"http://127.0.0.1:{port}/base", "tags": ["team"],
                 "routes": [{"name": "r1", "paths": ["/one"], "methods": ["GET", "POST"],
                             "plugins": [{"name": "cors", "config": {"origins": ["https://a.example"], "credentials": True}}]},
                            {"name": "r2", "paths": ["/two"], "hosts": ["two.example"], "strip_path": False}],
                 "plugins": [{"name": "rate-limiting", "config": {"minute": 5, "policy": "local"}}]},
                {"name": "balanced", "host": "pool", "routes": [{"name": "r3", "paths": ["/pool"]}]}],
            "upstreams": [{"name": "pool", "healthchecks": {"active": {"healthy": {"interval": 5}}},
                           "targets": [{"target": f"127.0.0.1:{port}", "weight": 50}, {"target": "127.0.0.1:10"}]}],
            "consumer_groups": [{"name": "gold", "plugins": [{"name": "ip-restriction", "config": {"deny": ["192.0.2.0/24"]}}]}],
            "consumers": [{"username": "ana", "custom_id": "a-1", "keyauth_credentials": [{"key": KEY}],
                           "acls": [{"group": "staff"}, {"group": "ops"}], "groups": [{"name": "gold"}],
                           "jwt_secrets": [{"key": "https://issuer.example", "algorithm": "RS256"}],
                           "plugins": [{"name": "ip-restriction", "config": {"allow": ["127.0.0.0/8"]}}]},
                          {"username": "ben", "acls": [{"group": "staff"}]}],
            "plugins": [{"name": "correlation-id", "config": {"header_name": "X-Request-ID", "generator": "uuid"}},
                        {"name": "ip-restriction", "config": {"allow": ["127.0.0.0/8"]}, "service": "one", "consumer": "ben"}]}


def with_gateway(test):
    def run(*args):
        gateway = Gateway(EMPTY)
        try:
            test(gateway, Deck(gateway.admin), *args)
        finally:
            gateway.stop()
    return run


def hash_of(gateway):
    return gateway.call("GET", "/status", admin=True).json()["configuration_hash"]


def summary(changes):
    return sorted(f"{operation} {kind} {entity.get('name') or entity.get('username') or entity.get('target') or ''}"
                  for operation, kind, entity in changes)


def certificate():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=a.example", "-keyout", f"{folder}/key", "-out", f"{folder}/cert"], check=True, capture_output=True)
        return pathlib.Path(f"{folder}/cert").read_text(), pathlib.Path(f"{folder}/key").read_text()


def test_ping_reads_a_version_of_kong_3():
    with_gateway(lambda gateway, deck: deck.ping().startswith("3."))()


def test_after_a_sync_there_is_no_difference():
    def check(gateway, deck):
        upstream = Upstream()
        try:
            file = content(upstream.port)
            made = deck.sync(file)
            assert len(made) > 15 and all(operation == "create" for operation, _, _ in made), summary(made)
            assert deck.diff(file) == [], summary(deck.diff(file))
            assert gateway.call("GET", "/one/x").status == 200
            assert gateway.call("GET", "/pool").status in (200, 502)
        finally:
            upstream.stop()
    with_gateway(check)()


def test_a_dump_can_be_synced_and_changes_nothing():
    def check(gateway, deck):
        deck.sync(content())
        before = hash_of(gateway)
        dump = deck.dump()
        assert deck.diff(dump) == [], summary(deck.diff(dump))
        assert [service["name"] for service in sorted(dump["services"], key=lambda one: one["name"])] == ["balanced", "one"]
        deck.sync({"_format_version": "3.0"})
        assert [kind for kind, found in deck.fetch().of.items() if found] == []
        deck.sync(dump)
        assert deck.diff(content()) == [], summary(deck.diff(content()))
        assert hash_of(gateway) != before  # other ids
    with_gateway(check)()


def test_additions_updates_and_deletions_are_found_and_made():
    def check(gateway, deck):
        deck.sync(content())
        file = copy.deepcopy(content())
        file["services"][0]["read_timeout"] = 1234
        file["services"][0]["routes"][0]["plugins"][0]["config"]["max_age"] = 60
        file["services"][0]["routes"][1]["plugins"] = [{"name": "ip-restriction", "config": {"allow": ["127.0.0.1"]}}]
        file["services"][0]["routes"].append({"name": "r4", "paths": ["/four"]})
        file["upstreams"][0]["targets"][0]["weight"] = 70
        del file["upstreams"][0]["targets"][1]
        del file["services"][1]
        file["consumers"][0]["acls"] = [{"group": "staff"}]
        del file["consumers"][0]["groups"]
        changes = deck.diff(file)
        assert summary(changes) == sorted([
            "update services one", "update plugins cors", "create plugins ip-restriction", "create routes r4",
            "update targets 127.0.0.1:9", "delete targets 127.0.0.1:10", "delete routes r3", "delete services balanced",
            "delete acls ", "delete consumer_group_consumers "]), summary(changes)
        deck.sync(file)
        assert deck.diff(file) == [], summary(deck.diff(file))
        assert gateway.call("GET", "/services/one", admin=True).json()["read_timeout"] == 1234
    with_gateway(check)()


def test_a_plugin_moves_between_service_route_and_consumer():
    def check(gateway, deck):
        file = {"_format_version": "3.0", "services": [{"name": "s", "host": "127.0.0.1", "routes": [{"name": "r", "paths": ["/r"]}]}],
                "consumers": [{"username": "c"}], "plugins": []}
        for places in ({}, {"service": "s"}, {"route": "r"}, {"consumer": "c"}, {"route": "r", "consumer": "c"}):
            file["plugins"] = [dict({"name": "ip-restriction", "config": {"allow": ["127.0.0.1"]}}, **places)]
            deck.sync(file)
            assert deck.diff(file) == [], (places, summary(deck.diff(file)))
            assert len(deck.fetch().of["plugins"]) == 1
    with_gateway(check)()


def test_certificates_are_synced_and_their_keys_never_come_back():
    def check(gateway, deck):
        cert, key = certificate()
        file = {"_format_version": "3.0", "certificates": [
            {"id": "11111111-2222-4333-8444-555555555555", "cert": cert, "key": key, "snis": [{"name": "a.example"}, {"name": "*.b.example"}]}],
            "services": [{"name": "s", "url": "http://127.0.0.1:9"}]}
        deck.sync(file)
        # What is hidden can only be written once more: the key, nothing else.
        assert summary(deck.diff(file)) == ["update certificates "], summary(deck.diff(file))
        deck.sync(file)
        dump = deck.dump()
        assert deck.diff(dump) == [], summary(deck.diff(dump))
        for path in ("/certificates", "/config", "/snis", "/certificates/a.example"):
            assert "PRIVATE" not in gateway.call("GET", path, admin=True).body.decode(), path
        deck.sync(dump)  # the mask stands for the key that is there
        assert gateway.call("GET", "/certificates", admin=True).json()["data"][0]["snis"]
        for name in (file["certificates"][0]["id"], "a.example"):
            found = gateway.call("GET", f"/certificates/{name}", admin=True).json()
            assert found["key"] == "********" and sorted(found["snis"]) == ["*.b.example", "a.example"], found
    with_gateway(check)()


def test_plain_keys_can_be_synced_over_and_over():
    def check(gateway, deck):
        file = {"_format_version": "3.0", "services": [{"name": "s", "host": "127.0.0.1", "routes": [
            {"name": "r", "paths": ["/r"], "plugins": [{"name": "key-auth"}, {"name": "request-termination", "config": {"status_code": 299}}]}]}],
            "consumers": [{"username": "c", "keyauth_credentials": [{"key": "a-rather-long-key-of-somebody"}]}]}
        for _ in range(3):
            deck.sync(file)
            assert len(deck.fetch().of["key-auths"]) == 1
            answer = gateway.call("GET", "/r", [("apikey", "a-rather-long-key-of-somebody")])
            assert answer.status == 299, (answer.status, answer.body)
        for path in ("/key-auths", "/config", "/consumers/c/key-auth"):
            assert "somebody" not in gateway.call("GET", path, admin=True).body.decode()
    with_gateway(check)()


def test_select_tags_leave_the_others_alone():
    def check(gateway, deck):
        deck.sync(content())
        mine = Deck(gateway.admin, select_tags=["mine"])
        mine.sync({"_format_version": "3.0", "services": [{"name": "other", "host": "127.0.0.1", "routes": [{"name": "o", "paths": ["/o"]}]}]})
        names = {service["name"] for service in deck.fetch().of["services"]}
        assert names == {"one", "balanced", "other"}, names
        mine.sync({"_format_version": "3.0"})
        assert {service["name"] for service in deck.fetch().of["services"]} == {"one", "balanced"}
    with_gateway(check)()


def test_what_is_wrong_is_refused_and_changes_nothing():
    def check(gateway, deck):
        deck.sync(content())
        before, file = hash_of(gateway), content()
        file["plugins"].append({"name": "ip-restriction", "config": {"allow": ["nonsense"]}})
        try:
            deck.sync(file)
            raise AssertionError("accepted")
        except Refused as refused:
            assert refused.status == 400 and b"nonsense" in refused.body, refused.body
        assert hash_of(gateway) == before
        assert len(deck.validate(file)) == 1, deck.validate(file)
        assert deck.validate(content()) == [], deck.validate(content())
        assert hash_of(gateway) == before
    with_gateway(check)()


def test_lists_longer_than_a_page_are_read_whole():
    def check(gateway, deck):
        routes = [{"name": f"r{n}", "paths": [f"/p{n}"]} for n in range(2500)]
        gateway.file.write_text(str({"_format_version": "3.0", "services": [{"name": "s", "host": "127.0.0.1", "routes": routes}]}))
        answer = gateway.call("POST", "/config", [("Content-Type", "application/yaml")], gateway.file.read_bytes(), admin=True)
        assert answer.status == 201, answer.body
        assert len({route["name"] for route in deck.fetch().of["routes"]}) == 2500
        assert sum(path.startswith("/routes?") for _, path, _ in deck.client.calls) == 3
    with_gateway(check)()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
