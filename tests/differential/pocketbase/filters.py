"""The filter language over one set of rows: which rows come, or how it is refused."""
from pair import query

PATH = "/api/collections/things/records"
OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "~", "!~", "?=", "?!=", "?>", "?>=", "?<", "?<=", "?~", "?!~")
SIDES = [("title", "'beta'"), ("n", "2"), ("n", "'2'"), ("flag", "true"), ("day", "'2024-02-01'"), ("one", "'a'"), ("many", "'a'"),
         ("tags.name", "'red'"), ("tag.name", "'red'"), ("data.a", "1"), ("data.list", "2"), ("title", "null"), ("tag", "''"), ("many:each", "'a'"),
         ("many:length", "2"), ("tags:length", "1"), ("title:lower", "'beta'"), ("notes_via_thing.text", "'hi'"), ("data", "'x'"), ("'beta'", "title")]
ALONE = [
    "title = 'alpha' && n > 0", "title = 'alpha' || title = 'beta'", "(title = 'alpha' || n = 3) && flag = true", "!flag", "flag", "",
    "title = \"be'ta\"", "title = 'a\\'b'", "title ~ 'a%'", "title ~ '%a'", "title ~ '_eta'", "title !~ 'a'", "title ~ ''", "title = 'alpha' // comment",
    "title = 'alpha' and n = 1", "title == 'alpha'", "title = alpha", "title =", "= 'x'", "(title = 'a'", "title = 'a')", "title = 'a' &&", "&& title = 'a'",
    "nothere = 1", "title.nothere = 1", "tag.nothere = 1", "tag.name.x = 1", "data.a.b = null", "data.list.1 = 2", "data.nothere = null", "data.nothere = ''",
    "created > @now", "created < @now", "created <= @todayEnd && created >= @todayStart", "day > @yearStart", "day < @monthStart", "@year > 2000", "@month >= 1 && @month <= 12",
    "@weekday >= 0", "@hour < 24", "@minute < 60", "@second < 60", "@day > 0", "@yesterday < @tomorrow", "@nothere = 1", "@monthEnd > @monthStart", "@yearEnd > @now",
    "geoDistance(place.lon, place.lat, 13.4, 52.5) < 10", "geoDistance(place.lon, place.lat, 13.4, 52.5) > 10", "geoDistance(1,2,3) > 1", "geoDistance('a',2,3,4) > 1",
    "strftime('%Y', day) = '2024'", "strftime('%Y-%m', day) = '2024-02'", "strftime('%Y') = 1", "strftime(day) = 1", "strftime('%d', day, '+1 day') = '02'", "nothere(1) = 1",
    "place.lon > 0", "place = null", "@request.auth.id = ''", "@request.method = 'GET'", "@collection.tags.name = 'red'", "@request.query.a = 1",
    "id = @request.auth.id", "tags.name = 'red' && tags.name = 'blue'", "tags.name ?= 'red' && tags.name ?= 'blue'", "tags = 'tag000000000001'", "tags ?= 'tag000000000001'",
    "tag.name != ''", "tag = null", "tag != null", "many = '[]'", "many:length = 0", "many:length > 1", "many:each = 'a'", "many:each ?= 'a'", "many:each ~ 'a'",
    "title:nothere = 1", "title:isset = true", "title:length = 4", "n:lower = 1", "secret = 'x'", "notes_via_thing.id != ''", "notes_via_thing.text ?= 'hi'", "nothere_via_thing.id = 1",
    "notes_via_nothere.id = 1", "notes_via_thing.thing.title = 'alpha'", "n = 1.0", "n = 1e0", "n = -1", "n > -5 && n < 5", "n = .5", "n = '1' || n = 'x'", "flag = 1", "flag = 'true'",
    "title > 'a' && title < 'c'", "title = true", "null = null", "true = true", "1 = 1", "1 = 2", "'a' = 'a'", "title != null", "title = null || title = ''", "n = null", "n != null",
    "title ~ 'A'", "title = 'ALPHA'", "title:lower = 'ALPHA'", "title ?= 'alpha'", "x" * 3501, " && ".join(["n=1"] * 201), " || ".join(["n=1"] * 199), "((((((n=1))))))", "title='alpha'&&n=1",
    "title = 'alpha'\n&& n = 1", "title\t=\t'alpha'", "title = 'alpha' & n = 1", "title = 'alpha' | n = 1", "title = `alpha`", "title = 'unterminated", "# = 1", "_ = 1", "collectionName = 'things'", "collectionId = 'x'",
    "created = ''", "day = ''", "day != ''", "day = '2024-02-01 00:00:00.000Z'", "day ~ '2024'", "one = 'a' || many ?~ 'b'", "data ~ 'list'", "data.list:length = 3", "data.list:each > 1", "data.list:each ?> 2", "tags:each = 'tag000000000001'", "tags.id:each = 'x'",
]


def run(pair):
    root = "root"
    fill(pair, root)
    for left, right in SIDES:
        for operator in OPERATORS:
            ask(pair, f"{left} {operator} {right}")
    for text in ALONE:
        ask(pair, text)
    for text in ("@request.auth.id != ''", "@collection.tags.name ?= 'red'", "@request.headers.x = 1", "secret = 'x'", "@collection.tags:a.name = 'red' && @collection.tags:b.name = 'blue'", "@collection.nothere.id = 1"):
        ask(pair, text, root)
    for sort in ("title", "-title,n", "tag.name,title", "tags.name,title", "data.a,title", "notes_via_thing.text,title", "place.lon,title", "many:length,title", "@request.auth.id", "@collection.tags.name", "secret", "@random"):
        pair.get(query(PATH, sort=sort, fields="title" if sort != "@random" else "nothere"))


def ask(pair, text, who=None):
    pair.get(query(PATH, filter=text, sort="id", fields="id,title"), who)


def fill(pair, root):
    open_to_all = {"listRule": "", "viewRule": "", "createRule": ""}
    made, _ = pair.post("/api/collections", {"name": "tags", "fields": [{"name": "name", "type": "text"}], **open_to_all}, root)
    tags = made.body["id"]
    made, _ = pair.post("/api/collections", {"name": "things", **open_to_all, "fields": [
        {"name": "title", "type": "text"}, {"name": "n", "type": "number"}, {"name": "flag", "type": "bool"}, {"name": "day", "type": "date"}, {"name": "one", "type": "select", "values": ["a", "b"]},
        {"name": "many", "type": "select", "values": ["a", "b", "c"], "maxSelect": 3}, {"name": "data", "type": "json"}, {"name": "place", "type": "geoPoint"}, {"name": "secret", "type": "text", "hidden": True},
        {"name": "tag", "type": "relation", "collectionId": tags, "maxSelect": 1}, {"name": "tags", "type": "relation", "collectionId": tags, "maxSelect": 5},
        {"name": "created", "type": "autodate", "onCreate": True}]}, root)
    things = made.body["id"]
    pair.post("/api/collections", {"name": "notes", "fields": [{"name": "text", "type": "text"}, {"name": "thing", "type": "relation", "collectionId": things, "maxSelect": 1}], **open_to_all}, root)
    for i, name in enumerate(("red", "blue", "green"), 1):
        pair.post("/api/collections/tags/records", {"id": f"tag00000000000{i}", "name": name})
    red, blue, green = (f"tag00000000000{i}" for i in (1, 2, 3))
    rows = [
        {"title": "alpha", "n": 1, "flag": True, "day": "2024-01-01", "one": "a", "many": ["a"], "data": {"a": 1, "list": [1, 2, 3]}, "tag": red, "tags": [red], "place": {"lon": 13.4, "lat": 52.5}},
        {"title": "beta", "n": 2, "flag": False, "day": "2024-02-01", "one": "b", "many": ["a", "b"], "data": {"a": "1", "list": [2]}, "tag": blue, "tags": [red, blue], "place": {"lon": 2.3, "lat": 48.8}},
        {"title": "Beta", "n": 3, "flag": True, "day": "2024-03-01", "many": ["b", "c"], "data": "x", "tags": [blue, green]},
        {"title": "", "n": 0, "many": [], "data": None}, {"title": "be'ta", "n": -1, "many": ["a", "b", "c"], "data": [1, 2], "tag": green, "tags": [green]},
        {"title": "100%", "n": 2.5, "data": 5, "day": "2024-02-01 10:00:00.000Z"}, {"title": "a_b", "n": 1000, "data": True, "many": ["c"]}, {"title": "a\\b", "data": {"a": {"b": None}}, "tags": [red, blue, green]},
    ]
    for i, row in enumerate(rows, 1):
        pair.post(PATH, {"id": f"thing000000000{i}", **row})
    for i, (text, thing) in enumerate((("hi", 1), ("ho", 1), ("hi", 2), ("", 3)), 1):
        pair.post("/api/collections/notes/records", {"id": f"note0000000000{i}", "text": text, "thing": f"thing000000000{thing}"})
