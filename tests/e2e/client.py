"""A small HTTP client for the end-to-end tests and the demo.

Plain http.client: every header of the answer is visible, redirects are not
followed, JSON is read strictly. Needs nothing but the standard library."""

import http.client
import json
import urllib.parse


class Answer:
    """What came back: status, headers (names in lower case), body as bytes."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"the answer is not JSON: {self.body[:200]!r}") from None

    def cookies(self):
        pairs = (line.split(";", 1)[0] for name, line in self.headers if name == "set-cookie")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def header(self, name):
        values = [value for key, value in self.headers if key == name.lower()]
        return values[0] if values else None


def request(method, url, body=None, headers=None, timeout=30):
    """One request on a connection of its own. A dict or list becomes JSON."""
    parts = urllib.parse.urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
    try:
        connection.request(method, target or "/", body=body, headers=headers)
        response = connection.getresponse()
        data = response.read()
        pairs = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, pairs, data)
    finally:
        connection.close()
