"""Bodies from a JSON schema as the services write it: the least that is valid, and one wrong member at a time."""

VALUES = {"string": "abc", "integer": 7, "number": 0.5, "boolean": True, "array": [], "object": {}}
WRONG = {"string": (7, True, [], {}), "integer": ("7", 0.5, True, [], {}, 1e30), "number": ("0.5", True, [], {}),
         "boolean": ("true", 1, [], {}), "array": ("a", 1, {}, True), "object": ("a", 1, [], True)}


def type_of(schema):
    kind = schema.get("type")
    return kind[0] if isinstance(kind, list) else kind


def nullable(schema):
    return isinstance(schema.get("type"), list)


def value(schema):
    kind = type_of(schema)
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        return least(schema)
    if kind == "string" and schema.get("minLength", 0) > 3:
        return "a" * schema["minLength"]
    if kind in ("integer", "number") and "maximum" in schema:
        return schema["maximum"] if schema["maximum"] < 7 else max(schema["minimum"], 1)
    return VALUES.get(kind)


def least(schema):
    """The required members."""
    return {name: value(schema["properties"][name]) for name in schema.get("required", [])}


def bad_values(schema):
    kind = type_of(schema)
    if kind is None:
        return
    for bad in WRONG[kind]:
        yield f"{bad!r} for {kind}", bad
    if not nullable(schema):
        yield "null", None
    if "enum" in schema:
        yield "a word that is no choice", "no-such-choice"
    if kind == "string" and schema.get("minLength", 0) > 0:
        yield "a text too short", "a" * (schema["minLength"] - 1)
    if kind == "string" and schema.get("maxLength", 0) > 0:
        yield "a text too long", "a" * (schema["maxLength"] + 1)
    if kind in ("integer", "number") and "maximum" in schema:
        yield "a number too large", schema["maximum"] + 1
        yield "a number too small", schema["minimum"] - 1
    if kind == "array" and "maxItems" in schema:
        item = value(schema["items"])
        yield "too many items", [item] * (schema["maxItems"] + 1)


def members(schema, base, path=""):
    """(path of a member, what to send instead of it) for each thing that can be wrong with it."""
    for name, sub in schema.get("properties", {}).items():
        where = f"{path}{name}"
        for what, bad in bad_values(sub):
            yield f"{where} is {what}", where, {**base, name: bad}
        if type_of(sub) == "object" and "properties" in sub:
            for what, field, inner in members(sub, value(sub), f"{where}."):
                yield what, field, {**base, name: inner}
        items = sub.get("items", {})
        if type_of(sub) == "array" and "properties" in items:
            for what, field, inner in members(items, value(items), f"{where}[0]."):
                yield what, field, {**base, name: [inner]}
        elif type_of(sub) == "array" and items:
            for what, bad in bad_values(items):
                yield f"{where}[0] is {what}", f"{where}[0]", {**base, name: [bad]}
    for name in schema.get("required", []):
        yield f"{path}{name} is missing", f"{path}{name}", {key: val for key, val in base.items() if key != name}
    if schema.get("additionalProperties") is False:
        yield f"{path}surprise is unknown", f"{path}surprise", {**base, "surprise": 1}


def wrong(schema, base):
    """(what, field, body): bodies with exactly one thing wrong."""
    yield from members(schema, base)
