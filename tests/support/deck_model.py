"""The client decK as its public sources describe it (Kong/deck,
Kong/go-database-reconciler, Kong/go-kong): which lists it reads, how it fills
defaults from schemas, how it tells entities apart, and the requests, their
order and their forms by which it makes a gateway equal to a file. The program
itself cannot be fetched here.

  deck = Deck(url); deck.ping(); deck.sync(content); deck.diff(content); deck.dump()
"""
import concurrent.futures
import copy
import http.client
import json
import re
import urllib.parse
import uuid

PARALLEL = 10  # --parallelism

# Members of go-kong's structs: what decK reads, compares and sends.
FIELDS = {
    "services": "client_certificate connect_timeout host id name path port protocol read_timeout retries write_timeout tags "
                "tls_verify tls_verify_depth ca_certificates enabled",
    "routes": "hosts headers id name methods paths path_handling preserve_host protocols regex_priority service strip_path "
              "snis sources destinations tags https_redirect_status_code request_buffering response_buffering expression priority",
    "upstreams": "id name host_header client_certificate algorithm slots healthchecks hash_on hash_fallback hash_on_header "
                 "hash_fallback_header hash_on_cookie hash_on_cookie_path hash_on_query_arg hash_fallback_query_arg "
                 "hash_on_uri_capture hash_fallback_uri_capture use_srv_name tags",
    "targets": "id target upstream weight tags",
    "consumers": "id custom_id username tags",
    "consumer_groups": "id name tags",
    "key-auths": "consumer id key ttl tags",
    "basic-auths": "consumer id username password tags",
    "jwts": "consumer id algorithm key rsa_public_key secret tags",
    "acls": "consumer id group tags",
    "plugins": "id name instance_name route service consumer consumer_group config enabled protocols ordering tags",
    "certificates": "id cert key cert_alt key_alt tags",
    "ca_certificates": "id cert cert_digest tags",
    "snis": "id name certificate tags",
    "vaults": "id name prefix description config tags",
    "consumer_group_consumers": "consumer consumer_group",
}
FIELDS = {kind: names.split() for kind, names in FIELDS.items()}

# pkg/diff/order.go: levels; creations go down, deletions up.
ORDER = [["certificates", "ca_certificates", "consumers", "vaults"],
         ["consumer_groups", "snis", "services", "upstreams", "key-auths", "jwts", "basic-auths", "acls"],
         ["routes", "targets", "consumer_group_consumers"],
         ["plugins"]]

# Lists whose absence (404) decK takes for "this Kong has none".
MAY_BE_ABSENT = ["ca_certificates", "vaults", "keys", "key-sets", "partials", "filter-chains", "hmac-auths", "oauth2",
                 "mtls-auths", "key-auths", "basic-auths", "jwts", "acls", "consumer_groups"]
CREDENTIALS = {"key-auths": ("key-auth", "keyauth_credentials", "key"), "basic-auths": ("basic-auth", "basicauth_credentials", "username"),
               "jwts": ("jwt", "jwt_secrets", "key"), "acls": ("acls", "acls", "group")}


class Refused(Exception):
    """HTTP status NNN (message: …), as go-kong's APIError."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        try:
            message = json.loads(body).get("message")
        except ValueError:
            message = body[:200]
        super().__init__(f"HTTP status {status} (message: {message!r})")


class Client:
    """go-kong's client."""

    def __init__(self, url, token=None):
        self.address = urllib.parse.urlsplit(url).netloc
        self.headers = {"Kong-Admin-Token": token} if token else {}
        self.calls = []

    def call(self, method, path, body=None):
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        self.calls.append((method, path, answer.status))
        if not 200 <= answer.status <= 399:
            raise Refused(answer.status, data)
        return json.loads(data) if data else None

    def list(self, path, tags=()):
        """list.go: pages of 1000, followed by "offset"."""
        query, found = {"size": 1000}, []
        if tags:
            query["tags"] = ",".join(tags)
        while True:
            page = self.call("GET", f"{path}?{urllib.parse.urlencode(query)}")
            found += page["data"]
            if page.get("offset") is None:
                return found
            query["offset"] = page["offset"]


def known(kind, entity):
    """As if read into go-kong's structs: null is absence (but in "config", a map)."""
    return {name: entity[name] if name == "config" else bare(entity[name]) for name in FIELDS[kind] if entity.get(name) is not None}


def bare(value):
    if isinstance(value, dict):
        return {name: bare(below) for name, below in value.items() if below is not None}
    return value


def defaults_of(schema):
    """flattenLuaSchema."""
    found = {}
    for field in schema["fields"]:
        (name, about), = field.items()
        found[name] = defaults_of(about) if about.get("type") == "record" else about.get("default")
    return {name: value for name, value in found.items() if value is not None}


def merge(into, defaults):
    """mergo.Merge: what is nil is filled, records go deeper."""
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        elif into.get(name) is None and value is not None:
            into[name] = copy.deepcopy(value)
    return {name: value for name, value in into.items() if value is not None}


def fill_config(schema, config):
    """fillConfigRecord."""
    filled = copy.deepcopy(config)
    for field in schema["fields"]:
        (name, about), = field.items()
        value = config.get(name)
        if name in config:
            if isinstance(value, dict):
                if "keys" in about and "values" in about:
                    continue
            elif not isinstance(value, list) or (about.get("elements", {}).get("type") != "record" and value is not None):
                continue
        if about.get("type") == "record" and (value is not None or about.get("required")):
            below = fill_config(about, value if isinstance(value, dict) else {})
            if below:
                filled[name] = below
            continue
        filled[name] = about.get("default")
    return filled


def ref(entity):
    return {"id": entity["id"]}


class State:
    """Entities by kind; looked up as pkg/state does."""

    def __init__(self):
        self.of = {kind: [] for kind in FIELDS}

    def find(self, kind, **members):
        for entity in self.of[kind]:
            if all(entity.get(name) == value for name, value in members.items()):
                return entity
        return None

    def plugin(self, wanted):
        place = plugin_place(wanted)
        return next((plugin for plugin in self.of["plugins"] if plugin_place(plugin) == place), None)


def plugin_place(plugin):
    return [plugin["name"]] + [(plugin.get(name) or {}).get("id", "") for name in ("service", "route", "consumer", "consumer_group")]


class Deck:
    def __init__(self, url, token=None, select_tags=()):
        self.client, self.tags, self.schemas = Client(url, token), list(select_tags), {}

    # ---- what there is

    def ping(self):
        """The version, or an exception."""
        version = self.client.call("GET", "/")["version"]
        found = re.search(r"((?:\d+\.\d+\.\d+)|(?:\d+\.\d+))(?:[.-](\d+))?(?:-?(.+)$|$)", version)
        assert found and tuple(int(part) for part in found.group(1).split(".")[:2]) >= (3, 0), version
        return version

    def fetch(self):
        """pkg/dump: all lists at once."""
        plain = ["services", "routes", "plugins", "certificates", "snis", "upstreams", "consumers", "consumer_groups"]
        paths = list(dict.fromkeys(plain + MAY_BE_ABSENT))
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            lists = dict(zip(paths, pool.map(self.list_or_none, paths)))
        state = State()
        for kind in FIELDS:
            state.of[kind] = [known(kind, entity) for entity in lists.get(kind, [])]
        for upstream in state.of["upstreams"]:
            state.of["targets"] += [known("targets", target) for target in self.client.list(f"/upstreams/{upstream['id']}/targets", self.tags)]
        for group in state.of["consumer_groups"]:
            seen = self.client.call("GET", f"/consumer_groups/{urllib.parse.quote(group['name'])}")
            assert seen["consumer_group"]["id"] == group["id"], seen
            state.of["consumer_group_consumers"] += [{"consumer": {"username": consumer["username"]}, "consumer_group": ref(group)}
                                                     for consumer in seen.get("consumers") or []]
        return state

    def list_or_none(self, kind):
        try:
            return self.client.list(f"/{kind}", self.tags)
        except Refused as refused:
            if refused.status == 404 and kind in MAY_BE_ABSENT:
                return []
            raise

    def defaults(self, kind):
        if kind not in self.schemas:
            found = defaults_of(self.client.call("GET", f"/schemas/{kind}"))
            self.schemas[kind] = {name: value for name, value in found.items() if name in FIELDS[kind]}
        return self.schemas[kind]

    def plugin_schema(self, name):
        """The schema of "config", and the default protocols."""
        if name not in self.schemas:
            fields = self.client.call("GET", f"/schemas/plugins/{name}")["fields"]
            config = next(field["config"] for field in fields if "config" in field)
            protocols = next((field["protocols"].get("default") for field in fields if "protocols" in field), None)
            self.schemas[name] = config, protocols
        return self.schemas[name]

    # ---- what there should be (pkg/file/builder.go)

    def target(self, content, current):
        return Builder(self, current).build(content)

    def changes(self, content):
        current = self.fetch()
        target = self.target(content, current)
        changes = []
        for level in ORDER:
            for kind in level:
                changes += [change for entity in target.of[kind] for change in [self.compare(kind, entity, current)] if change]
        for level in reversed(ORDER):
            for kind in level:
                changes += [("delete", kind, entity) for entity in current.of[kind] if not has(kind, entity, target)]
        return changes

    def compare(self, kind, entity, current):
        old = current.plugin(entity) if kind == "plugins" else has(kind, entity, current)
        if old is None:
            return "create", kind, entity
        if kind == "consumer_group_consumers" or equal(kind, old, self.completed(kind, entity)):
            return None
        return "update", kind, entity

    def completed(self, kind, entity):
        if kind != "plugins":
            return entity
        schema, protocols = self.plugin_schema(entity["name"])
        filled = dict(entity, config=fill_config(schema, entity["config"]))
        filled.setdefault("protocols", protocols)
        filled.setdefault("enabled", True)
        return filled

    def diff(self, content):
        """What sync would do: [(operation, kind, entity)]."""
        return self.changes(content)

    def sync(self, content):
        changes = self.changes(content)
        levels = [("create update", level) for level in ORDER] + [("delete", level) for level in reversed(ORDER)]
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            for operations, level in levels:
                todo = [change for change in changes if change[0] in operations.split() and change[1] in level]
                list(pool.map(lambda change: self.apply(*change), todo))
        return changes

    def apply(self, operation, kind, entity):
        """pkg/types: an update is a PUT of the whole, as is a creation with an id."""
        if kind == "consumer_group_consumers":
            path = f"/consumer_groups/{entity['consumer_group']['id']}/consumers"
            if operation == "delete":
                return self.client.call("DELETE", f"{path}/{urllib.parse.quote(entity['consumer']['username'])}")
            return self.client.call("POST", path, {"consumer": entity["consumer"]["username"]})
        path = f"/{kind}"
        if kind == "targets":
            path = f"/upstreams/{entity['upstream']['id']}/targets"
            if operation == "create":
                return self.client.call("POST", path, entity)
            if operation == "update":
                return self.client.call("PATCH", f"{path}/{entity['id']}", entity)
        if kind in CREDENTIALS:
            path = f"/consumers/{entity['consumer']['id']}/{CREDENTIALS[kind][0]}"
        if operation == "delete":
            return self.client.call("DELETE", f"{path}/{entity['id']}")
        answer = self.client.call("PUT", f"{path}/{entity['id']}", entity)
        assert answer["id"] == entity["id"], (answer, entity)
        return answer

    # ---- dump

    def dump(self):
        """A file's content, without ids, defaults and all (`deck dump`)."""
        return Writer(self.fetch()).content()

    def validate(self, content):
        """`deck gateway validate`: each entity by itself; what is wrong."""
        target, wrong = self.target(content, State()), []
        for level in ORDER[:-1] + [["plugins"]]:
            for kind in level:
                if kind in ("consumer_group_consumers", "certificates", "snis"):
                    continue
                name = {"key-auths": "keyauth_credentials", "basic-auths": "basicauth_credentials", "jwts": "jwt_secrets"}.get(kind, kind)
                for entity in target.of[kind]:
                    try:
                        self.client.call("POST", f"/schemas/{name}/validate", entity)
                    except Refused as refused:
                        wrong.append(f"{kind}: {refused}")
        return wrong


def has(kind, entity, state):
    if kind == "plugins":
        return state.plugin(entity)
    if kind == "consumer_group_consumers":
        return state.find(kind, **entity)
    return state.find(kind, id=entity["id"])


def equal(kind, one, other):
    return canonical(kind, one) == canonical(kind, other)


def canonical(kind, entity):
    found = known(kind, entity)
    for name in ("tags", "protocols", "methods", "hosts", "paths"):
        if isinstance(found.get(name), list):
            found[name] = sorted(found[name])
    for name in ("service", "route", "consumer", "consumer_group", "upstream", "certificate"):
        if isinstance(found.get(name), dict):
            found[name] = {"id": found[name].get("id")}
    return {name: value for name, value in found.items() if value not in ([], {})}


class Builder:
    def __init__(self, deck, current):
        self.deck, self.current, self.state = deck, current, State()

    def add(self, kind, entity, old):
        entity = {name: value for name, value in entity.items() if name in FIELDS[kind] and value is not None}
        entity["id"] = entity.get("id") or (old["id"] if old else str(uuid.uuid4()))
        if self.deck.tags:
            entity["tags"] = list(dict.fromkeys(entity.get("tags", []) + self.deck.tags))
        if kind in ("services", "routes", "upstreams", "targets"):
            entity = merge(entity, self.deck.defaults(kind))
        self.state.of[kind].append(entity)
        return entity

    def build(self, content):
        content = copy.deepcopy(content)
        for certificate in content.get("certificates", []):
            self.certificate(certificate)
        for authority in content.get("ca_certificates", []):
            self.add("ca_certificates", authority, self.current.find("ca_certificates", cert=authority["cert"]))
        for service in content.get("services", []):
            self.service(service)
        for route in content.get("routes", []):
            self.route(route)
        for upstream in content.get("upstreams", []):
            self.upstream(upstream)
        for group in content.get("consumer_groups", []):
            added = self.add("consumer_groups", group, self.current.find("consumer_groups", name=group["name"]))
            self.plugins(group, consumer_group=ref(added))
        for consumer in content.get("consumers", []):
            self.consumer(consumer)
        for vault in content.get("vaults", []):
            self.add("vaults", vault, self.current.find("vaults", prefix=vault["prefix"]))
        for plugin in content.get("plugins", []):
            self.plugin(plugin, {name: self.named(kind, plugin.get(name)) for name, kind in
                                 (("service", "services"), ("route", "routes"), ("consumer", "consumers"), ("consumer_group", "consumer_groups"))
                                 if plugin.get(name)})
        return self.state

    def named(self, kind, name):
        name = name if isinstance(name, str) else name.get("name") or name.get("id")
        found = self.state.find(kind, name=name) or self.state.find(kind, username=name) or self.state.find(kind, id=name)
        assert found, f"{kind} {name} not found"
        return ref(found)

    def certificate(self, certificate):
        old = self.current.find("certificates", id=certificate.get("id")) or self.current.find("certificates", cert=certificate["cert"])
        added = self.add("certificates", certificate, old)
        for sni in certificate.get("snis", []):
            self.add("snis", dict(sni, certificate=ref(added)), self.current.find("snis", name=sni["name"]))

    def service(self, service):
        if service.get("url"):
            url = urllib.parse.urlsplit(service.pop("url"))
            service.update(protocol=url.scheme, host=url.hostname, port=url.port or {"https": 443}.get(url.scheme, 80), path=url.path or None)
        added = self.add("services", service, self.current.find("services", name=service.get("name")))
        self.plugins(service, service=ref(added))
        for route in service.get("routes", []):
            self.route(dict(route, service=ref(added)))

    def route(self, route):
        if isinstance(route.get("service"), str) or (route.get("service") and "id" not in route["service"]):
            route["service"] = self.named("services", route["service"])
        added = self.add("routes", route, self.current.find("routes", name=route.get("name")))
        self.plugins(route, route=ref(added))

    def upstream(self, upstream):
        added = self.add("upstreams", upstream, self.current.find("upstreams", name=upstream["name"]))
        for target in upstream.get("targets", []):
            self.add("targets", dict(target, upstream=ref(added)),
                     self.current.find("targets", target=target["target"], upstream=ref(added)))

    def consumer(self, consumer):
        added = self.add("consumers", consumer, self.current.find("consumers", username=consumer["username"]))
        for kind, (_, member, key) in CREDENTIALS.items():
            for credential in consumer.get(member, []):
                at = {"consumer": ref(added)} if kind == "acls" else {}
                self.add(kind, dict(credential, consumer=ref(added)), self.current.find(kind, **{key: credential[key]}, **at))
        for group in consumer.get("groups", []):
            self.state.of["consumer_group_consumers"].append(
                {"consumer": {"username": consumer["username"]}, "consumer_group": self.named("consumer_groups", group)})
        self.plugins(consumer, consumer=ref(added))

    def plugins(self, holder, **place):
        for plugin in holder.get("plugins", []):
            self.plugin(plugin, place)

    def plugin(self, plugin, place):
        plugin = dict({name: value for name, value in plugin.items() if name not in ("service", "route", "consumer", "consumer_group")}, **place)
        plugin.setdefault("config", {})
        self.add("plugins", plugin, self.current.plugin(plugin))


class Writer:
    """pkg/file/writer.go: flat entities to nested ones, ids left out."""

    def __init__(self, state):
        self.state = state

    def bare(self, entity, *without):
        return {name: value for name, value in copy.deepcopy(entity).items() if name not in without + ("id",) and value is not None}

    def below(self, kind, member, entity):
        return [found for found in self.state.of[kind] if (found.get(member) or {}).get("id") == entity["id"]]

    def plugins(self, member, entity):
        places = ("service", "route", "consumer", "consumer_group")
        return [self.bare(plugin, *places) for plugin in self.below("plugins", member, entity)
                if sum(name in plugin for name in places) == 1]

    def holder(self, kind, entity, lists, without=()):
        bare = self.bare(entity, *without)
        bare.update({name: items for name, items in lists.items() if items})
        return bare

    def route(self, route):
        return self.holder("routes", route, {"plugins": self.plugins("route", route)}, ("service",))

    def consumer(self, consumer):
        lists = {member: [self.bare(one, "consumer") for one in self.below(kind, "consumer", consumer)]
                 for kind, (_, member, _) in CREDENTIALS.items()}
        lists["plugins"] = self.plugins("consumer", consumer)
        names = {group["id"]: group["name"] for group in self.state.of["consumer_groups"]}
        lists["groups"] = [{"name": names[one["consumer_group"]["id"]]} for one in self.state.of["consumer_group_consumers"]
                           if one["consumer"]["username"] == consumer["username"]]
        return self.holder("consumers", consumer, lists)

    def name_of(self, kind, reference):
        found = self.state.find(kind, id=reference["id"])
        return found.get("name") or found.get("username")

    def loose_plugins(self):
        """Global ones, and those of several places."""
        kinds = {"service": "services", "route": "routes", "consumer": "consumers", "consumer_group": "consumer_groups"}
        for plugin in self.state.of["plugins"]:
            places = [name for name in kinds if name in plugin]
            if len(places) != 1:
                yield dict(self.bare(plugin, *places), **{name: self.name_of(kinds[name], plugin[name]) for name in places})

    def content(self):
        of = self.state.of
        content = {"_format_version": "3.0",
                   "services": [self.holder("services", service, {
                       "routes": [self.route(route) for route in self.below("routes", "service", service)],
                       "plugins": self.plugins("service", service)}) for service in of["services"]],
                   "routes": [self.route(route) for route in of["routes"] if "service" not in route],
                   "upstreams": [self.holder("upstreams", upstream, {
                       "targets": [self.bare(target, "upstream") for target in self.below("targets", "upstream", upstream)]})
                       for upstream in of["upstreams"]],
                   "consumer_groups": [self.holder("consumer_groups", group, {"plugins": self.plugins("consumer_group", group)})
                                       for group in of["consumer_groups"]],
                   "consumers": [self.consumer(consumer) for consumer in of["consumers"]],
                   "certificates": [dict(self.holder("certificates", certificate, {
                       "snis": [self.bare(sni, "certificate") for sni in self.below("snis", "certificate", certificate)]}),
                       id=certificate["id"]) for certificate in of["certificates"]],
                   "ca_certificates": [dict(self.bare(one), id=one["id"]) for one in of["ca_certificates"]],
                   "vaults": [self.bare(vault) for vault in of["vaults"]],
                   "plugins": list(self.loose_plugins())}
        return {name: value for name, value in content.items() if value}


