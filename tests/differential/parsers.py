"""The parsers that are compared. Each reads a stream of requests, or of
responses to GET, up to its end of file and gives {"messages": […], "end": …}:
the messages that were read to their end, and why there were no more ("end",
"more", "closed", "upgrade", or what was wrong)."""

import json
import pathlib
import struct
import subprocess
import threading

import h11

HERE = pathlib.Path(__file__).resolve().parent
LARGEST_HEAD = 1 << 20


class Program:
    """A parser in a process: streams in, lines of JSON out, in order."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, streams):
        data = b"".join(struct.pack("<IB", len(s.data), s.response) + s.data for s in streams)
        writer = threading.Thread(target=self.write, args=(data,))
        writer.start()
        outcomes = []
        for _ in streams:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{self.name} has died")
            outcomes.append(json.loads(line))
        writer.join()
        return outcomes

    def write(self, data):
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # told by the reader

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class H11:
    """python3-h11: RFC 9112 as a state machine, written independently."""

    name = "h11"

    def read(self, streams):
        return [self.read_one(s) for s in streams]

    def read_one(self, stream):
        messages = []
        try:
            end = self.events(self.connection(stream), stream, messages)
        except h11.RemoteProtocolError as wrong:
            end = f"bad: {wrong}"
        return {"messages": messages, "end": end}

    @staticmethod
    def connection(stream):
        c = h11.Connection(h11.CLIENT if stream.response else h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        if stream.response:
            H11.ask(c)
        c.receive_data(stream.data)
        return c

    @staticmethod
    def ask(c):
        c.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
        c.send(h11.EndOfMessage())

    def events(self, c, stream, messages):
        head, body, ended = None, b"", False
        while True:
            try:
                event = c.next_event()
            except h11.RemoteProtocolError:
                if ended:  # nothing was wrong before the stream stopped
                    return "more"
                raise
            if event is h11.NEED_DATA:
                if head is None and not c.trailing_data[0]:
                    return "end"
                c.receive_data(b"")
                ended = True
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return "end" if head is None else "more"
            elif isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
                head, body = event, b""
                if isinstance(event, h11.InformationalResponse):
                    messages.append(self.message(c, event, b""))
                    head = None
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages.append(self.message(c, head, body))
                why = self.next_message(c, stream, head)
                if why:
                    return why
                head = None

    @staticmethod
    def message(c, head, body):
        start = [head.status_code] if hasattr(head, "status_code") else [head.method.decode(), head.target.decode()]
        return {"start": start, "minor": int(head.http_version[2:]), "keep": H11.keeps(c, head),
                "fields": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in head.headers],
                "body": body.decode("latin-1")}

    @staticmethod
    def keeps(c, head):
        """None: it does not tell. It closes after every HTTP/1.0."""
        framed = any(n in (b"content-length", b"transfer-encoding") for n, _ in head.headers)
        if head.http_version == b"1.0" or c.their_state is h11.MIGHT_SWITCH_PROTOCOL:
            return None
        if isinstance(head, h11.InformationalResponse) or isinstance(head, h11.Response) and not framed:
            return None
        return c.their_state not in (h11.MUST_CLOSE, h11.CLOSED)

    @staticmethod
    def next_message(c, stream, head):
        if not stream.response and (head.method == b"CONNECT" or H11.asks_upgrade(head)):
            return "upgrade"
        if c.their_state in (h11.MUST_CLOSE, h11.CLOSED):
            return "closed"
        if not stream.response:
            c.send(h11.Response(status_code=204, headers=[]))
            c.send(h11.EndOfMessage())
        if c.our_state is not h11.DONE or c.their_state is not h11.DONE:
            return "closed"
        c.start_next_cycle()
        if stream.response:
            H11.ask(c)
        return None

    @staticmethod
    def asks_upgrade(head):
        options = [o.strip().lower() for n, v in head.headers if n == b"connection" for o in v.split(b",")]
        return head.http_version != b"1.0" and b"upgrade" in options and any(n == b"upgrade" for n, _ in head.headers)

    def stop(self):
        pass
