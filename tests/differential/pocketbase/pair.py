"""The same call to the real PocketBase and to us, and what is unlike in the answers."""
import http.client
import json
import re
import urllib.parse

TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z$")
TOKEN = re.compile(r"^eyJ[\w-]+\.[\w-]+\.[\w-]+$")
VOLATILE = {"created", "updated", "token", "otpId", "mfaId", "execTime", "tokenKey", "clientId", "modified"}


class Side:
    """One of the two servers; tokens by the names of who has them."""

    def __init__(self, name, base):
        parts = urllib.parse.urlsplit(base)
        self.name, self.prefix = name, parts.path.rstrip("/")
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.tokens = {}

    def call(self, method, path, body=None, who=None, headers=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if who:
            headers["Authorization"] = self.tokens[who]
        try:
            self.connection.request(method, self.prefix + path, body, headers)
            answer = self.connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers)
        except (http.client.HTTPException, OSError):
            self.connection.close()
            raise


class Answer:
    def __init__(self, status, raw, headers):
        self.status, self.raw, self.headers = status, raw, headers
        try:
            self.body = json.loads(raw) if raw else None
        except ValueError:
            self.body = raw


def plain(value, key=""):
    """Without what is another one each time: times, tokens, ids by chance."""
    if isinstance(value, dict):
        return {k: plain(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v, key) for v in value]
    if isinstance(value, str) and (key in VOLATILE or TIME.match(value) or TOKEN.match(value)):
        return "<text>" if value else ""
    return value


def unlike(theirs, ours, path=""):
    """Where the two differ, as lines; kinds and key sets first, then values. The texts beside the code of a field's
    error are for people, and ours."""
    if path.endswith(".message") and path.startswith(".data."):
        return []
    if isinstance(theirs, bool) != isinstance(ours, bool) or kind(theirs) != kind(ours):
        return [f"{path or '.'}: {short(theirs)} against {short(ours)}"]
    if isinstance(theirs, dict):
        lines = [f"{path}.{k}: missing ({short(theirs[k])})" for k in theirs if k not in ours]
        lines += [f"{path}.{k}: added ({short(ours[k])})" for k in ours if k not in theirs]
        return lines + [line for k in theirs if k in ours for line in unlike(theirs[k], ours[k], f"{path}.{k}")]
    if isinstance(theirs, list):
        if len(theirs) != len(ours):
            return [f"{path}: {len(theirs)} items {short(theirs)} against {len(ours)} {short(ours)}"]
        return [line for i, (a, b) in enumerate(zip(theirs, ours)) for line in unlike(a, b, f"{path}.{i}")]
    return [] if theirs == ours else [f"{path}: {short(theirs)} against {short(ours)}"]


def kind(value):
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def short(value):
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, bytes) else repr(value)
    return text if len(text) < 160 else text[:157] + "..."


class Pair:
    """Calls both; collects what is unlike and is not argued for in differences.py."""

    def __init__(self, theirs, ours, excuse):
        self.theirs, self.ours, self.excuse = theirs, ours, excuse
        self.calls, self.findings, self.excused, self.area = 0, [], {}, ""

    def call(self, method, path, body=None, who=None, headers=None, ignore=()):
        """The two answers; `ignore`: member names that are not compared."""
        self.calls += 1
        a = self.theirs.call(method, path, body, who, headers)
        b = self.ours.call(method, path, body, who, headers)
        lines = []
        if a.status != b.status:
            lines.append(f"status {a.status} against {b.status}: {short(a.body)} against {short(b.body)}")
        else:
            lines += unlike(without(plain(a.body), ignore), without(plain(b.body), ignore))
        name = f"{method} {path}"
        for line in lines:
            reason = self.excuse(self.area, name, line)
            if reason:
                self.excused.setdefault(reason, []).append(name)
            else:
                self.findings.append((self.area, name, who or "guest", body, line))
        return a, b

    def get(self, path, who=None, **more):
        return self.call("GET", path, None, who, **more)

    def post(self, path, body=None, who=None, **more):
        return self.call("POST", path, {} if body is None else body, who, **more)

    def patch(self, path, body=None, who=None, **more):
        return self.call("PATCH", path, {} if body is None else body, who, **more)

    def delete(self, path, who=None, **more):
        return self.call("DELETE", path, None, who, **more)

    def token(self, who, answers):
        """Keeps the token that both answered under that name."""
        for side, answer in zip((self.theirs, self.ours), answers):
            side.tokens[who] = answer.body.get("token", "") if isinstance(answer.body, dict) else ""


def without(value, names):
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    if isinstance(value, list):
        return [without(v, names) for v in value]
    return value


def query(path, **params):
    return path + "?" + urllib.parse.urlencode(params) if params else path
