"""Streams to compare the parsers on: messages by the grammar with every part
that a parser may read in two ways, then torn at random places."""

import base64
import json
import pathlib

ATTACKS = pathlib.Path(__file__).resolve().parent.parent / "attacks/http_raw.jsonl"

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"CONNECT", b"get", b"G ET", b"QUERY"]
TARGETS = [b"/", b"/a/b?c=d", b"*", b"http://h/x", b"http://h:80/", b"h:80", b"/%00", b"/a b", b"/\xc3\xa9", b"/#f",
           b"", b"//", b"http://u@h/", b"/" + b"a" * 200, b"/\t", b"\\", b"/a\x7f", b"HTTP://h/", b"/|^\"<>"]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"HTTP/01.1", b""]
LINES = [b"HTTP/1.1 200 OK"] * 6 + [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK",
         b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 ", b"HTTP/1.1 99 x", b"HTTP/1.1 1000 x", b"HTTP/1.1 404 \xff"]
HOSTS = [b"Host: h"] * 8 + [b"Host: h:80", b"Host:", b"Host: a b", b"host: h\r\nHost: h", b"Host: h,h", b"Host: [::1]"]
FRAMING = [b"Content-Length: %d", b"Content-Length: %d", b"Content-Length:%d", b"Content-Length: 0%d",
           b"Content-Length: +%d", b"Content-Length: %d, %d", b"Content-Length: %d\r\nContent-Length: %d",
           b"Content-Length: -%d", b"Content-Length: 0x%x", b"Content-Length: %d ", b"Content-Length : %d",
           b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Content_Length: %d", b"Content-Length: 1%d",
           b"Content-Length: %d;", b"Content-Length: \t%d\t", b"Content-Length: 184467440737095516%d"]
CHUNKING = [b"Transfer-Encoding: chunked"] * 8 + [
    b"transfer-encoding: Chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: \tchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: chunked;q=1", b"Transfer_Encoding: chunked", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding\t: chunked", b"X: a\nTransfer-Encoding: chunked", b"Transfer-Encoding: chun\x0bked"]
FIELDS = [b"A: b", b"Accept: */*", b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade",
          b"Upgrade: websocket", b"Connection: close, x", b"Connection: content-length", b"Expect: 100-continue",
          b"X: \x80\xff", b"X:", b"X: \t ", b"X : a", b" X: a", b"X: a\r\n b", b"X", b": a", b"X: a\x00b", b"X: a\rb",
          b"X: a\nY: b", b"X\x00: a", b"X: \x7f", b"X: \x0b", b"(x): a", b"X: " + b"v" * 300, b"Keep-Alive: 5",
          b"Cookie: a=b", b"Te: trailers", b"Trailer: X", b"Connection: close\r\nConnection: keep-alive"]
SIZES = [b"%x", b"%x", b"%x", b"%X", b"0%x", b"%x;a", b"%x;a=b", b"%x;a=\"b;\\\"c\"", b"%x ", b"%x ;a", b"0x%x", b"+%x",
         b"%x;", b"%x\t", b" %x", b"-%x", b"%x;a=\nb", b"%x;a\x00", b"10000000000000%x", b"%x; a=b", b"%x;\"a\""]
ENDS = [b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n\r\n"]
SPECIAL = [bytes([c]) for c in b"\r\n\t :;,\0\x0b\x0c\x7f\x80\xff\"\\0a_-"] + [
    b"\r\n", b"\r\n\r\n", b"\r\n ", b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b"\r\nContent-Length: 3",
    b"\r\nTransfer-Encoding: chunked", b"chunked", b", ", b"\xef\xbb\xbf", b"\x85", b"\xa0", b"9" * 20, b"f" * 16]


class Stream:
    def __init__(self, data, response):
        self.data, self.response = data, response


def corpus():
    """The attack corpus: what others have used to split requests."""
    found = []
    for line in ATTACKS.read_text().splitlines():
        case = json.loads(line)
        if "raw_b64" in case:
            data = base64.b64decode(case["raw_b64"]).replace(b"@@HOST@@", b"h").replace(b"@@TOKEN@@", b"token")
            found.append(Stream(data, False))
        elif "upstream_sends_b64" in case:
            found.append(Stream(base64.b64decode(case["upstream_sends_b64"]), True))
    return [s for s in found if len(s.data) < 16000]


class Generator:
    def __init__(self, random):
        self.random, self.corpus = random, corpus()

    def stream(self):
        r = self.random
        if r.random() < 0.2:
            base = r.choice(self.corpus)
            return Stream(self.mutated(base.data, r.randint(1, 3)), base.response)
        response = r.random() < 0.25
        data = b"".join(self.message(response) for _ in range(r.choice((1, 1, 1, 2, 3))))
        return Stream(self.mutated(data, r.choice((0, 0, 0, 0, 1, 1, 2))), response)

    def odd(self, choices):
        """Mostly the first, so that a stream has one oddity and not ten."""
        return choices[0] if self.random.random() < 0.85 else self.random.choice(choices)

    def message(self, response):
        r = self.random
        lines = [self.odd(LINES)] if response else [self.request_line(), self.odd(HOSTS)]
        lines += [r.choice(FIELDS[:6]) if r.random() < 0.6 else r.choice(FIELDS) for _ in range(r.choice((0, 0, 1, 1, 2)))]
        body = b""
        kind = r.random()
        if kind < 0.35:
            body = bytes(r.choice(b"abc\r\n0") for _ in range(r.randint(0, 12)))
            lines.insert(r.randint(1, len(lines)), self.numbered(self.odd(FRAMING), len(body)))
        elif kind < 0.75:
            lines.insert(r.randint(1, len(lines)), self.odd(CHUNKING))
            body = self.chunks()
        end = [self.odd(ENDS) for _ in lines]
        return b"".join(line + e for line, e in zip(lines, end)) + self.odd(ENDS) + body

    def request_line(self):
        r = self.random
        method = r.choice(METHODS[:4]) if r.random() < 0.9 else r.choice(METHODS)
        return self.odd([b" ", b"  ", b"\t", b""]).join((method, self.odd(TARGETS), self.odd(VERSIONS)))

    @staticmethod
    def numbered(form, n):
        return form % ((n,) * form.count(b"%"))

    def chunks(self):
        r = self.random
        out = b""
        for _ in range(r.choice((0, 1, 1, 2, 3))):
            data = bytes(r.choice(b"abc\r\n0") for _ in range(r.randint(1, 20)))
            out += self.numbered(self.odd(SIZES), len(data)) + self.odd(ENDS) + data + self.odd(ENDS)
        out += self.odd([b"0", b"00", b"0;a=b", b"000000000000000000000", b"", b"0 "]) + self.odd(ENDS)
        for _ in range(r.choice((0, 0, 0, 1))):
            out += r.choice(FIELDS) + self.odd(ENDS)
        return out + self.odd(ENDS)

    def mutated(self, data, times):
        r = self.random
        for _ in range(times):
            at = r.randint(0, len(data))
            to = min(len(data), at + r.choice((1, 1, 2, 5)))
            what = r.random()
            if what < 0.4:
                data = data[:at] + r.choice(SPECIAL) + data[at:]
            elif what < 0.6:
                data = data[:at] + data[to:]
            elif what < 0.75:
                data = data[:at] + r.choice(SPECIAL) + data[to:]
            elif what < 0.85 and at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << r.randint(0, 7)]) + data[at + 1:]
            else:
                lines = data.split(b"\r\n")
                lines.insert(r.randint(0, len(lines)), r.choice(lines))
                data = b"\r\n".join(lines)
        return data
