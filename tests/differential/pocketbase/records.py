"""Records: values of every type, modifiers, paging, expand, fields, batch."""
from pair import query

TASKS = "/api/collections/tasks/records"
FIELDS = [
    {"name": "title", "type": "text", "max": 20, "required": True}, {"name": "slug", "type": "text", "pattern": "^[a-z]+$"},
    {"name": "n", "type": "number", "min": -10, "max": 10}, {"name": "i", "type": "number", "onlyInt": True},
    {"name": "done", "type": "bool"}, {"name": "mail", "type": "email", "exceptDomains": ["bad.test"]},
    {"name": "link", "type": "url", "onlyDomains": ["example.com"]}, {"name": "text", "type": "editor", "maxSize": 50},
    {"name": "day", "type": "date", "min": "2020-01-01 00:00:00.000Z", "max": "2030-01-01 00:00:00.000Z"},
    {"name": "one", "type": "select", "values": ["a", "b", "c"]}, {"name": "many", "type": "select", "values": ["a", "b", "c"], "maxSelect": 2},
    {"name": "data", "type": "json", "maxSize": 60}, {"name": "place", "type": "geoPoint"}, {"name": "secret", "type": "text", "hidden": True},
    {"name": "created", "type": "autodate", "onCreate": True}, {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
]
VALUES = {
    "title": ["", "x" * 20, "x" * 21, 5, 1.5, True, None, ["a"], {"a": 1}, "ünïcödé", " blank ", "\u0001", "<b>"],
    "slug": ["abc", "ABC", "", "a b"],
    "n": [0, 10, 10.5, -10, -11, "5", "5.5", "x", "", None, True, [1], {"a": 1}, 1e300, "1e3"],
    "i": [1, 1.5, "2", "2.5", -0.0],
    "done": [True, False, "true", "false", "1", "0", 1, 0, "x", "", None, [True]],
    "mail": ["a@example.com", "a@bad.test", "nope", "", 5, "A@EXAMPLE.com", "a@b", "ü@example.com"],
    "link": ["https://example.com/a?b=c", "https://other.test", "nope", "", "ftp://example.com", "//example.com"],
    "text": ["<p>x</p>", "y" * 51, "", 5],
    "day": ["2024-01-02 03:04:05.678Z", "2024-01-02", "2024-01-02T03:04:05Z", "2019-01-01", "2031-01-01", "nope", "", 5, 1704164645, None, "2024-01-02 03:04:05+02:00"],
    "one": ["a", "d", "", ["a"], ["a", "b"], 5, None], "many": ["a", ["a", "b"], ["a", "b", "c"], ["a", "a"], [], "", ["d"], None, ["a", ""]],
    "data": [{"a": [1, 2]}, "text", "\"quoted\"", "{\"a\":1}", 5, True, None, [], "", "x" * 61, "nul", "[1"],
    "place": [{"lon": 1, "lat": 2}, {"lon": 181, "lat": 0}, {"lon": 0, "lat": 91}, "{\"lon\":3,\"lat\":4}", {}, None, "x", [1, 2], {"lon": "5", "lat": "6"}],
    "id": ["abcdefghijklmno", "short", "ABCDEFGHIJKLMNO", "abcdefghijklmno", "x" * 16, 5],
    "unknown": [1],
    "created": ["2020-01-01 00:00:00.000Z"],
}
PAGES = [{}, {"page": 0}, {"page": -1}, {"page": "x"}, {"page": 2, "perPage": 2}, {"perPage": 0}, {"perPage": 2000}, {"perPage": "x"},
         {"skipTotal": 1}, {"skipTotal": "true"}, {"page": 99}, {"fields": "id"}, {"fields": "title,id"}, {"fields": "*"},
         {"fields": "text:excerpt(2,true)"}, {"fields": "title:excerpt(3)"}, {"fields": "nothere"}, {"fields": "*,text:excerpt(4,true)"},
         {"fields": "data.a"}, {"fields": "collectionName,items.id"}, {"sort": "-title"}, {"sort": "title,-n"}, {"sort": "nothere"},
         {"sort": "+n"}, {"sort": "@rowid"}, {"sort": "-@rowid"}, {"sort": "data.a"}, {"sort": "a,b,c,d,e,f,g,h,i"}, {"sort": ""},
         {"expand": "nothere"}, {"filter": ""}, {"filter": "title"}, {"perPage": 3, "sort": "title,id", "page": 2}]


def run(pair):
    root = "root"
    pair.post("/api/collections", {"name": "tasks", "fields": FIELDS, "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": ""}, root)
    for path in (TASKS, TASKS + "/nothere", "/api/collections/nothere/records", "/api/nothere", "/api/collections/tasks/nothere"):
        for method in ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD"):
            pair.call(method, path, None if method in ("GET", "HEAD", "DELETE") else {})
    values(pair, root)
    changes(pair, root)
    pages(pair)
    relations(pair, root)
    bodies(pair)


def values(pair, root):
    number = 0
    for name, candidates in VALUES.items():
        for value in candidates:
            number += 1
            body = {"id": f"value{number:010d}", "title": "t", name: value}
            pair.post(TASKS, body)
    pair.post(TASKS, {"id": "hidden000000001", "title": "t", "secret": "guest"})
    pair.post(TASKS, {"id": "hidden000000002", "title": "t", "secret": "root"}, root)
    for who in (None, root):
        pair.get(TASKS + "/hidden000000001", who)
        pair.get(TASKS + "/hidden000000002", who)


def changes(pair, root):
    one = TASKS + "/patch0000000001"
    pair.post(TASKS, {"id": "patch0000000001", "title": "start", "n": 1, "many": ["a"], "one": "b", "data": {"a": 1}})
    for body in ({"n+": 2}, {"n-": 1}, {"n+": "x"}, {"n+": 100}, {"many+": "b"}, {"+many": "c"}, {"many-": "a"}, {"many+": ["a", "b"]}, {"many-": ["a", "b"]},
                 {"many": None}, {"one+": "c"}, {"one-": "c"}, {"title": ""}, {"title": "x", "id": "other0000000001"}, {"id": "patch0000000001"},
                 {"data": None}, {"title+": "x"}, {"created": "2020-01-01 00:00:00.000Z"}, {}, {"nothere": 1}, {"slug:autogenerate": "x"}, {"done": "true", "day": "2024-05-06"}):
        pair.patch(one, body)
    pair.get(one)
    pair.delete(one)
    pair.get(one)
    pair.delete(one)


def pages(pair):
    for params in PAGES:
        pair.get(query(TASKS, **{"sort": "id", **params}))
    pair.get(query(TASKS + "/value0000000002", fields="id,title"))
    pair.get(query(TASKS + "/value0000000002", fields="expand"))


def relations(pair, root):
    everyone = {"listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": ""}
    authors = {"name": "authors", "fields": [{"name": "name", "type": "text"}], **everyone}
    a, b = pair.post("/api/collections", authors, root)
    target = {"collectionId": a.body["id"]}
    pair.post("/api/collections", {"name": "books", "fields": [
        {"name": "title", "type": "text"}, {"name": "author", "type": "relation", "required": True, "maxSelect": 1, **target},
        {"name": "others", "type": "relation", "maxSelect": 3, **target}, {"name": "editor", "type": "relation", "maxSelect": 1, "cascadeDelete": True, **target}], **everyone}, root)
    for i in range(1, 5):
        pair.post("/api/collections/authors/records", {"id": f"author00000000{i}", "name": f"name{i}"})
    path = "/api/collections/books/records"
    for i, body in enumerate(({"author": "author000000001"}, {"author": "nothere00000000"}, {}, {"author": ["author000000001"]}, {"author": ["author000000001", "author000000002"]},
                              {"author": "author000000001", "others": ["author000000002", "author000000003"]}, {"author": "author000000002", "others": ["author000000002", "nothere00000000"]},
                              {"author": "author000000002", "others": ["author000000001", "author000000002", "author000000003", "author000000004"]},
                              {"author": "author000000003", "editor": "author000000004"})):
        pair.post(query(path, expand="author,others"), {"id": f"book0000000000{i}", "title": f"book{i}", **body})
    for expand in ("author", "others", "author,others", "author.nothere", "nothere", "others,editor", ",", "author.books_via_author"):
        pair.get(query(path, expand=expand, sort="id"))
    for expand in ("books_via_author", "books_via_others", "books_via_author.author", "books_via_nothere", "nothere_via_author"):
        pair.get(query("/api/collections/authors/records", expand=expand, sort="id"))
        pair.get(query("/api/collections/authors/records", expand=expand, sort="id", fields=f"id,expand.{expand}.title"))
    pair.patch(path + "/book00000000005", {"others+": "author000000004"})
    pair.patch(path + "/book00000000005", {"others-": ["author000000002"], "author": ""})
    pair.delete("/api/collections/authors/records/author000000001")
    pair.delete("/api/collections/authors/records/author000000004")
    pair.delete("/api/collections/authors/records/author000000002")
    pair.get(query(path, sort="id"))
    pair.delete("/api/collections/authors", root)


def bodies(pair):
    json_type = {"Content-Type": "application/json"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for text in (b"", b"{", b"[]", b"null", b"5", b'"x"', b'{"title":"a"} x', b'{"title":"a","title":"b","id":"body00000000001"}', b'{"title":"\\ud800"}'):
        pair.call("POST", TASKS, text, None, json_type)
    pair.call("POST", TASKS, b"title=form&id=body00000000002&n=5&done=true&many=a&many=b", None, form)
    pair.call("POST", TASKS, b"title=form&id=body00000000003&n=x", None, form)
    multi = {"Content-Type": "multipart/form-data; boundary=x"}
    for i, parts in enumerate(((("title", "a"),), (("title", "b"), ("n", "5")), (("@jsonPayload", '{"title":"c","n":6,"many":["a"]}'),), (("title", "d"), ("many", "a"), ("many", "b")),
                               (("title", "e"), ("data", '{"a":1}')), (("title", "f"), ("done", "true")), (("title", "g"), ("@jsonPayload", "{"),))):
        lines = "".join(f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in (*parts, ("id", f"multi000000000{i}")))
        pair.call("POST", TASKS, (lines + "--x--\r\n").encode(), None, multi)
    pair.call("POST", TASKS, b"--x\r\ntorn", None, multi)
    pair.call("POST", TASKS, b"title=x", None, {"Content-Type": "text/plain"})
    for made in ("", None):  # by chance, and so not among what is compared before
        pair.post(TASKS, {"id": made, "title": "t"}, ignore=("id",))
