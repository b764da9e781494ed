"""API rules: what guests, a user and a superuser may do under each of them."""
from pair import query

RULES = [
    None, "", "@request.auth.id != ''", "owner = @request.auth.id", "owner.name = 'ann'", "@request.auth.name = 'ann'", "title = 'open'", "@request.query.pass = 'x'", "@request.headers.x_pass = 'x'",
    "@request.method = 'GET'", "@request.context = 'default'", "@request.body.title = 'open'", "@request.body.title:isset = true", "@request.body.title:changed = false", "@request.body.title:length = 4", "@request.body.tags:each ~ 'a'",
    "@request.body.tags:length = 2", "@request.body.owner.name = 'ann'", "@collection.people.name ?= 'ann'", "@collection.people.id ?= @request.auth.id", "@request.auth.collectionName = 'members'", "@request.auth.verified = false", "@request.auth.email != ''",
    "tags:each ~ 'a'", "tags:length > 1", "owner.id != '' && owner.email ~ 'example'", "secret = 'x'", "@request.body.secret:isset = false", "id = 'rule00000000001' || owner.id = @request.auth.id", "@request.auth.docs_via_owner.title ?= 'open'",
]
PATH = "/api/collections/docs/records"


def run(pair):
    root = "root"
    people(pair, root)
    made, _ = pair.post("/api/collections", {"name": "docs", "fields": [
        {"name": "title", "type": "text"}, {"name": "secret", "type": "text", "hidden": True}, {"name": "tags", "type": "select", "values": ["a1", "a2", "b"], "maxSelect": 3},
        {"name": "owner", "type": "relation", "collectionId": people_id(pair), "maxSelect": 1}]}, root)
    number = 0
    for rule in RULES:
        pair.patch("/api/collections/docs", {k: rule for k in ("listRule", "viewRule", "createRule", "updateRule", "deleteRule")}, root)
        pair.delete("/api/collections/docs/truncate", root)
        pair.post(PATH, {"id": "rule00000000001", "title": "open", "tags": ["a1", "a2"], "owner": "person000000001", "secret": "x"}, root)
        pair.post(PATH, {"id": "rule00000000002", "title": "shut", "tags": ["b"], "owner": "person000000002"}, root)
        for who in (None, "ann", "bob"):
            number += 1
            pair.get(query(PATH, sort="id", fields="id"), who)
            pair.get(query(PATH, sort="id", fields="id", **{"pass": "x"}), who, headers={"X-Pass": "x"})
            pair.get(PATH + "/rule00000000002", who)
            pair.patch(PATH + "/rule00000000001", {"title": "open"}, who)
            pair.patch(PATH + "/rule00000000002", {"title": "else", "tags": ["a1", "a2"]}, who)
            pair.post(PATH, {"id": f"new{number:012d}", "title": "open", "tags": ["a1", "b"], "owner": "person000000001"}, who)
            pair.delete(PATH + f"/new{number:012d}", who)


def people_id(pair):
    return pair.theirs.call("GET", "/api/collections/members", None, "root").body["id"]


def people(pair, root):
    pair.post("/api/collections", {"name": "people", "fields": [{"name": "name", "type": "text"}], "listRule": ""}, root)
    pair.post("/api/collections/people/records", {"id": "somebody0000001", "name": "ann"}, root)
    pair.post("/api/collections", {"name": "members", "type": "auth", "fields": [{"name": "name", "type": "text"}], "listRule": "", "viewRule": "id = @request.auth.id"}, root)
    for i, name in enumerate(("ann", "bob"), 1):
        pair.post("/api/collections/members/records", {"id": f"person00000000{i}", "email": f"{name}@example.com", "password": "1234567890", "passwordConfirm": "1234567890", "name": name}, root)
        pair.token(name, pair.post("/api/collections/members/auth-with-password", {"identity": f"{name}@example.com", "password": "1234567890"}))
    for who in (None, "ann", "bob", root):
        pair.get(query("/api/collections/members/records", sort="id"), who)
        pair.get("/api/collections/members/records/person000000001", who)
