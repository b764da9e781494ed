"""The differences that we mean, each with its reason. Whatever is not named
here fails the test."""

# We refuse what the other reads: its reason to be so lenient, and ours not to.
STRICTER = {
    "h11": {
        "Content-Length beside Transfer-Encoding": "RFC 9112 6.1 lets a server refuse it; two framings are how requests are split",
        "two Content-Length fields": "RFC 9112 6.3: identical ones may be refused or merged; we refuse",
        "bad Content-Length": "RFC 9112 6.3: a list of identical numbers may be refused or merged; we refuse",
        "bad field name": "obs-fold; RFC 9112 5.2 has a server refuse or replace it",
        "bad Transfer-Encoding": "obs-fold before the value, the same",
        "bad chunk": "bare LF, blanks before ';' or CRLF, and extensions, which h11 does not look at",
        "LF without CR": "RFC 9112 2.2: a recipient MAY take a bare LF; hops that do and do not disagree on the head's end",
        "control byte in the head": "RFC 9110 5.5: DEL and other controls are no field content",
        "protocol version not served": "h11 reads any HTTP/D.D as 1.1",
        "bad byte in the target": "a fragment or a byte that is no URI byte (RFC 9112 3.2)",
        "bad target": "neither of the four forms (RFC 9112 3.2)",
        "target * without OPTIONS": "RFC 9112 3.2.4",
        "CONNECT needs host:port": "RFC 9112 3.2.3",
        "CONNECT with a body": "RFC 9110 9.3.6: it has none, and peers differ on what follows",
        "Host is not that of the target": "RFC 9112 3.2.2 lets the target win; caches and routers that disagree are poisoned",
        "bad Host": "RFC 9112 3.2: a server MUST refuse an invalid Host; h11 leaves that to its user",
        "Transfer-Encoding in HTTP/1.0": "RFC 9112 6.1: treat the framing as faulty",
        "bad status line": "RFC 9112 4: the space after the code is not optional",
        "Content-Length too large": "over 2^53, which some peers' numbers cannot hold",
        "status out of range": "RFC 9110 15: 100 to 599",
    },
    "llhttp": {
        "bad Transfer-Encoding": "llhttp reads responses with any other coding until they close",
        "transfer coding not served": "the same",
        "two Transfer-Encoding fields": "a list of codings, of which we serve one",
        "Transfer-Encoding in HTTP/1.0": "RFC 9112 6.1: treat the framing as faulty",
        "bad request line": "HTTP/0.9",
        "protocol version not served": "HTTP/0.9 and HTTP/2.0 by name",
        "bad byte in the target": "a fragment or a byte that is no URI byte (RFC 9112 3.2)",
        "bad target": "neither of the four forms (RFC 9112 3.2)",
        "target * without OPTIONS": "RFC 9112 3.2.4",
        "CONNECT needs host:port": "RFC 9112 3.2.3",
        "CONNECT with a body": "RFC 9110 9.3.6: it has none, and peers differ on what follows",
        "Host missing": "RFC 9112 3.2: MUST refuse; node's http module does so above llhttp",
        "two Host fields": "the same",
        "bad Host": "the same",
        "Host is not that of the target": "RFC 9112 3.2.2 lets the target win; caches and routers that disagree are poisoned",
        "not HTTP": "more than one empty line before a message, or a bare LF (RFC 9112 2.2)",
        "LF without CR": "a bare CR or LF at the end of a request line without a version (HTTP/0.9)",
        "control byte in the head": "a bare CR in a status line",
        "bad status line": "RFC 9112 4: the space after the code is not optional",
        "status out of range": "RFC 9110 15: 100 to 599",
        "Content-Length too large": "over 2^53, which some peers' numbers cannot hold",
        "bad chunk": "a size of more than 16 digits, or a blank in an extension",
        "too many fields": "we take 100",
    },
}


def empty_line_first(stream, mine, other):
    """RFC 9112 2.2: a server SHOULD ignore an empty line before a request."""
    return b"\r\n" + mine["start"][0].encode() in stream.data


def unknown_method(stream, mine, other):
    """RFC 9110 9.1: any token is a method; the gateway answers 405. llhttp has
    a list, and reads what begins like one of it as that one."""
    return not stream.response


def framing_in_trailer(stream, mine, other):
    """RFC 9110 6.5.1: framing fields in trailers mean nothing. Ours are
    dropped; llhttp and h11 judge them as if they stood in the head."""
    fields = [name.lower() for name, _ in mine["fields"]]
    return fields.count("transfer-encoding") == 1 and "content-length" not in fields


def blank_behind_value(stream, mine, other):
    """RFC 9112 5: HTAB after a value is no part of it; llhttp refuses it."""
    return b"\t" in stream.data


def close_without_effect(stream, mine, other):
    """An interim answer with "close" is still followed by the final one; in a
    trailer it means nothing (RFC 9110 6.5.1)."""
    return stream.response or b"chunked" in stream.data.lower()


def no_keep_alive_in_1_0(stream, mine, other):
    """h11 closes after every HTTP/1.0 message."""
    return b"HTTP/1.0" in stream.data


# We take what the other refuses: only under these conditions.
WIDER = (
    ("h11", "bad: no request line received", empty_line_first),
    ("h11", "bad: Only Transfer-Encoding: chunked is supported", framing_in_trailer),
    ("h11", "bad: multiple Transfer-Encoding headers", framing_in_trailer),
    ("h11", "bad: bad Content-Length", framing_in_trailer),
    ("h11", "bad: conflicting Content-Length headers", framing_in_trailer),
    ("h11", "closed", no_keep_alive_in_1_0),
    ("llhttp", "HPE_INVALID_METHOD", unknown_method),
    ("llhttp", "HPE_INVALID_CONTENT_LENGTH Content-Length can't be present with", framing_in_trailer),
    ("llhttp", "HPE_UNEXPECTED_CONTENT_LENGTH", framing_in_trailer),
    ("llhttp", "HPE_INVALID_TRANSFER_ENCODING Transfer-Encoding can't be present", framing_in_trailer),
    ("llhttp", "HPE_INVALID_TRANSFER_ENCODING Invalid `Transfer-Encoding`", framing_in_trailer),
    ("llhttp", "HPE_INVALID_TRANSFER_ENCODING Request has invalid", blank_behind_value),
    ("llhttp", "HPE_INVALID_CONTENT_LENGTH Invalid character", blank_behind_value),
    ("llhttp", "HPE_CLOSED_CONNECTION", close_without_effect),
)


def excuse(parser, what, stream, mine, other):
    kind, _, why = what.partition(": ")
    if kind == "we refuse":
        return why in STRICTER[parser]
    if kind == "we take":
        return any(parser == name and why.startswith(text) and holds(stream, mine, other) for name, text, holds in WIDER)
    if parser == "llhttp" and what == "unlike: body" and stream.response and b"chunked\t" in stream.data.lower():
        return True  # blank_behind_value: to llhttp it is another coding, read until the connection closes
    if parser == "llhttp" and what == "unlike: body" and stream.response and 100 <= mine["start"][0] < 200:
        return mine["body"] == ""  # RFC 9112 6.3: no 1xx has one; llhttp knows that of 100 and 101 alone
    # llhttp goes on after "close" with HTAB behind it, or beside "keep-alive".
    return parser == "llhttp" and what == "unlike: keep" and not mine["keep"] and b"close" in stream.data.lower()
