"""A client of the control socket: JSON-RPC 2.0, one message a line, descriptors beside it."""
import json
import os
import socket

from .world import NetError


class Refused(NetError):
    """The daemon answered with an error; code and message are in it."""

    def __init__(self, method, error):
        super().__init__(f"{method}: {error.get('message')}")
        self.code, self.message = error.get("code"), error.get("message", "")


class Control:
    """One connection. Events that come between answers are kept in .events."""

    def __init__(self, path, timeout=5.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer, self.next_id, self.events = b"", 0, []

    def call(self, method, params=None, fds=()):
        """Sends one request and returns its result; Refused when the daemon says no."""
        self.next_id += 1
        line = json.dumps({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params or {}}).encode() + b"\n"
        if fds:
            socket.send_fds(self.socket, [line], list(fds))
        else:
            self.socket.sendall(line)
        result = None
        while True:
            m = self.read()
            if m.get("id") != self.next_id:
                self.events.append(m)
                continue
            if "error" in m:
                raise Refused(method, m["error"])
            result = joined(result, m.get("result", {}))
            if not m.get("more"):
                return result

    def read(self):
        """The next message, whatever it is."""
        while b"\n" not in self.buffer:
            part = self.socket.recv(65536)
            if not part:
                raise NetError("the control socket was closed")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def event(self, seconds=5.0):
        """The next event's params."""
        self.socket.settimeout(seconds)
        m = self.events.pop(0) if self.events else self.read()
        return m.get("params", m)

    def close(self):
        self.socket.close()


def joined(before, page):
    """Puts a page behind what came before: lists grow, other members keep their first value."""
    if before is None:
        return page
    for key, value in page.items():
        if isinstance(value, list):
            before.setdefault(key, []).extend(value)
        else:
            before.setdefault(key, value)
    return before


def key_memfd(encr, integ, salt, iv_key):
    """Keys as sa.add takes them: 32 + 64 + 4 + 16 octets in a memfd."""
    fd = os.memfd_create("keys")
    os.write(fd, encr.ljust(32, b"\0") + integ.ljust(64, b"\0") + salt.ljust(4, b"\0") + iv_key.ljust(16, b"\0"))
    return fd
