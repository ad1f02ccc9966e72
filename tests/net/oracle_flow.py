"""Which datagrams of a Flow were on the wire, and when."""
import struct
import time

PORTS = {7000: "a", 7001: "b"}


class WireLog:
    """The oracle's on_inner: remembers each serial number that passed the wire, by the side that sent it."""

    def __init__(self):
        self.wire = {"a": {}, "b": {}}
        self.twice = {"a": 0, "b": 0}
        self.shift = time.time_ns() - time.monotonic_ns()   # captures have the wall clock, logs the monotonic one

    def on_inner(self, moment, sa, number, inner):
        """Takes IPv4 and UDP in tunnel mode; what is no datagram of a Flow is left out."""
        if inner[0] >> 4 != 4 or inner[9] != 17:
            return
        at = (inner[0] & 15) * 4
        port = inner[at + 2] << 8 | inner[at + 3]
        side = PORTS.get(port)
        if side is None:
            return
        serial = struct.unpack_from("!Q", inner, at + 8)[0]
        if serial in self.wire[side]:
            self.twice[side] += 1
        self.wire[side][serial] = moment - self.shift
