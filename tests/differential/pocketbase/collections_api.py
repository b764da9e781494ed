"""Collections: definitions that are right and wrong, changes, imports, views."""

TEXT = {"name": "title", "type": "text"}


def field(kind, **options):
    return {"name": f"f_{kind}", "type": kind, **options}


EVERY_TYPE = [
    field("text", min=1, max=20, pattern="^[a-z ]*$", presentable=True), field("number", min=-5, max=5.5, onlyInt=False),
    field("bool"), field("email", onlyDomains=["example.com"]), field("url", exceptDomains=["bad.test"]),
    field("editor", maxSize=1000), field("date", min="2020-01-01 00:00:00.000Z"), field("autodate", onCreate=True),
    field("select", values=["a", "b", "c"], maxSelect=2), field("json", maxSize=2000),
    field("file", maxSelect=2, maxSize=1000, mimeTypes=["text/plain"], thumbs=["10x10"]), field("geoPoint"),
]

# Bodies of collections that are refused, or taken in a way worth comparing.
DEFINITIONS = [
    {}, {"name": ""}, {"name": "a b"}, {"name": "1abc"}, {"name": "_mine"}, {"name": "x" * 256}, {"name": "a_via_b"},
    {"name": "twice"}, {"name": "Twice"}, {"name": "users"}, {"name": "nope", "type": "other"}, {"name": 5},
    {"name": "n1", "fields": "x"}, {"name": "n2", "fields": [TEXT, TEXT]},
    {"name": "n3", "fields": [{"name": "", "type": "text"}]}, {"name": "n4", "fields": [{"name": "a b", "type": "text"}]},
    {"name": "n5", "fields": [{"name": "id", "type": "text"}]}, {"name": "n6", "fields": [{"name": "x", "type": "what"}]},
    {"name": "n7", "fields": [{"name": "collectionId", "type": "text"}]}, {"name": "n8", "fields": [{"name": "expand", "type": "text"}]},
    {"name": "n9", "fields": [{"name": "x", "type": "text", "min": 9, "max": 3}]},
    {"name": "n10", "fields": [{"name": "x", "type": "text", "pattern": "("}]},
    {"name": "n11", "fields": [{"name": "x", "type": "number", "min": 9, "max": 3}]},
    {"name": "n12", "fields": [{"name": "x", "type": "select"}]},
    {"name": "n13", "fields": [{"name": "x", "type": "select", "values": ["a", "a"]}]},
    {"name": "n14", "fields": [{"name": "x", "type": "select", "values": ["a"], "maxSelect": 5}]},
    {"name": "n15", "fields": [{"name": "x", "type": "relation"}]},
    {"name": "n16", "fields": [{"name": "x", "type": "relation", "collectionId": "missing"}]},
    {"name": "n17", "fields": [{"name": "x", "type": "autodate"}]},
    {"name": "n18", "fields": [{"name": "x", "type": "email", "onlyDomains": ["a.b"], "exceptDomains": ["c.d"]}]},
    {"name": "n19", "fields": [{"name": "x", "type": "url", "onlyDomains": ["not a domain"]}]},
    {"name": "n20", "fields": [{"name": "x", "type": "date", "min": "2024-01-02", "max": "2024-01-01"}]},
    {"name": "n21", "fields": [{"name": "x", "type": "file", "thumbs": ["bad"]}]},
    {"name": "n22", "fields": [{"name": "x", "type": "file", "maxSize": -1}]},
    {"name": "n23", "fields": [{"name": "x", "type": "json", "maxSize": -1}]},
    {"name": "n24", "fields": [{"name": "x", "type": "password"}]},
    {"name": "n25", "listRule": "nofield = 1"}, {"name": "n26", "viewRule": "((("}, {"name": "n27", "createRule": "id ="},
    {"name": "n28", "updateRule": "@request.auth.nothere = 1"}, {"name": "n29", "deleteRule": "@collection.nothere.id = 1"},
    {"name": "n30", "indexes": ["hello"]}, {"name": "n31", "indexes": ["CREATE INDEX idx_n31 ON n31 (nofield)"]},
    {"name": "n32", "indexes": ["CREATE INDEX idx_n32 ON other (id)"]},
    {"name": "n33", "fields": [TEXT], "indexes": ["CREATE INDEX idx_n33 ON n33 (title)", "CREATE INDEX idx_n33 ON n33 (title)"]},
    {"name": "n34", "fields": [TEXT], "indexes": ["create unique index `idx_n34` on `n34` (`title` COLLATE NOCASE, id DESC) WHERE title != ''"]},
    {"name": "n35", "id": "short"}, {"name": "n36", "id": "pbc_1234567890abcde"}, {"name": "n37", "system": True},
    {"name": "n38", "type": "auth", "passwordAuth": {"enabled": True, "identityFields": ["nofield"]}},
    {"name": "n39", "type": "auth", "passwordAuth": {"enabled": True, "identityFields": []}},
    {"name": "n40", "type": "auth", "mfa": {"enabled": True}}, {"name": "n41", "type": "auth", "otp": {"enabled": True, "length": 1}},
    {"name": "n42", "type": "auth", "authToken": {"duration": 1}}, {"name": "n43", "type": "auth", "authRule": "bad =", "manageRule": "x"},
    {"name": "n44", "type": "auth", "fields": [{"name": "password", "type": "text"}]},
    {"name": "n45", "type": "auth", "fields": [{"name": "email", "type": "text"}]},
    {"name": "n46", "type": "view"}, {"name": "n47", "type": "view", "viewQuery": "select"},
    {"name": "n48", "type": "view", "viewQuery": "delete from users"}, {"name": "n49", "type": "view", "viewQuery": "select 1 as x"},
    {"name": "n50", "type": "view", "viewQuery": "select id from nothere"},
    {"name": "n51", "type": "view", "viewQuery": "select id, title from twice", "createRule": ""},
    {"name": "n52", "fields": [{"name": "f", "type": "bool", "hidden": True, "presentable": True}]},
    {"name": "n53", "fields": [{"name": "created", "type": "autodate", "onCreate": True}, {"name": "updated", "type": "autodate", "onUpdate": True, "onCreate": True}]},
]

VIEWS = [
    "select id, title from twice", "select * from twice", "select t.id, t.title as name, count(*) as total from twice t group by t.id",
    "select (row_number() over ()) as id, title from twice", "select id, cast(count(id) as int) as n, cast(title as text) as t from twice",
    "select id, sum(1) as s, avg(1) as a, max(title) as m, 'x' as constant, 5 as five from twice",
    "with c as (select id from twice) select id from c", "select u.id, u.email, t.title from users u left join twice t on t.id = u.id",
    "select id from twice; select 1", "select id, id from twice", "select title from twice", "pragma table_info(twice)",
    "select id from twice -- comment", "select id, json_extract(title, '$.a') as j from twice", "", "values (1)",
]

PATCHES = [
    {"name": "twice2"}, {"name": "twice"}, {"type": "auth"}, {"listRule": ""}, {"listRule": None}, {"listRule": "title != ''"},
    {"listRule": "bad"}, {"fields": [{"name": "title", "type": "number"}]}, {"system": True}, {"id": "other"},
    {"indexes": ["CREATE INDEX idx_twice ON twice (title)"]}, {"indexes": []}, {"unknown": 1}, {"name": "users"},
]


def run(pair):
    root = "root"
    for who in (None, root):
        pair.get("/api/collections", who, ignore=("items", "totalItems", "totalPages"))
        pair.get("/api/collections/nothere", who)
        pair.post("/api/collections", {"name": "guest"} if who is None else {}, who)
        pair.get("/api/collections/meta/scaffolds", who)
    pair.post("/api/collections", {"name": "every", "fields": EVERY_TYPE}, root)
    pair.get("/api/collections/every", root)
    pair.get("/api/collections/every?fields=name,fields.name", root)
    pair.post("/api/collections", {"name": "twice", "fields": [TEXT]}, root)
    for body in DEFINITIONS:
        pair.post("/api/collections", body, root)
    pair.post("/api/collections", {"name": "people", "type": "auth"}, root)
    pair.get("/api/collections/people", root)
    for name in ("_superusers", "_mfas", "_otps", "_externalAuths", "_authOrigins"):
        pair.get(f"/api/collections/{name}", root)
        pair.delete(f"/api/collections/{name}", root)
    for text in VIEWS:
        pair.call("PUT", "/api/collections/meta/dry-run-view", {"query": text}, root)
        pair.post("/api/collections", {"name": "view_" + str(VIEWS.index(text)), "type": "view", "viewQuery": text, "listRule": ""}, root)
    for body in PATCHES:
        pair.patch("/api/collections/twice", body, root)
    pair.get("/api/collections?filter=name='twice'&skipTotal=1", root)
    pair.get("/api/collections?sort=-name&perPage=3&fields=name&filter=system=false%26%26name~'n'", root, ignore=("totalItems", "totalPages"))
    imports(pair, root)
    pair.delete("/api/collections/every/truncate", root)
    pair.delete("/api/collections/nothere/truncate", root)
    pair.delete("/api/collections/every", root)
    pair.delete("/api/collections/every", root)
    pair.delete("/api/collections/twice")


def imports(pair, root):
    wanted = [{"name": "imported", "type": "base", "id": "pbc_importedabcde", "fields": [TEXT]}]
    for body in ({}, {"collections": []}, {"collections": [{"name": ""}]}, {"collections": wanted}, {"collections": wanted, "deleteMissing": False},
                 {"collections": [{**wanted[0], "fields": [{"name": "other", "type": "number"}]}]}):
        pair.call("PUT", "/api/collections/import", body, root)
    pair.get("/api/collections/imported", root)
    pair.call("PUT", "/api/collections/import", {"collections": wanted})
    pair.delete("/api/collections/imported", root)
