"""A plain parser of Ethernet, IPv4, IPv6 and UDP, of its own: it shares nothing with the daemon."""
import struct
from dataclasses import dataclass

ICMP, IGMP, IPIP, TCP, UDP, IPV6, ROUTING, FRAGMENT, ESP, AH, ICMP6, NONE, DSTOPTS = \
    1, 2, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60
HOPOPTS = 0


class Malformed(Exception):
    """The packet breaks its own format; the text says where."""


@dataclass(slots=True)
class Ip:
    version: int
    src: bytes
    dst: bytes
    proto: int        # of the payload, behind extension headers
    payload: bytes
    ttl: int
    tos: int
    ident: int        # IPv4 ID; of the fragment header in IPv6
    dont_fragment: bool
    offset: int       # of a fragment, octets
    more: bool
    header_ok: bool   # IPv4 header checksum
    first_header: int


def ethernet(frame):
    """(destination, source, type, payload) behind any VLAN tags."""
    if len(frame) < 14:
        raise Malformed("frame shorter than Ethernet's header")
    at, kind = 14, frame[12] << 8 | frame[13]
    while kind in (0x8100, 0x88a8) and len(frame) >= at + 4:
        kind, at = frame[at + 2] << 8 | frame[at + 3], at + 4
    return frame[:6], frame[6:12], kind, frame[at:]


def total(data, start=0):
    """The one's-complement sum of 16-bit words, not inverted. A number modulo 65535 is just that sum."""
    if len(data) % 2:
        data = data + b"\0"
    s = (int.from_bytes(data, "big") + start) % 0xffff
    return s


def sums_to_zero(data, start=0):
    """Does a message with its checksum in it add up?"""
    return total(data, start) == 0


def pseudo(src, dst, proto, length):
    """The pseudo header of TCP, UDP and ICMPv6 as a sum."""
    return total(src + dst + struct.pack("!II", length, proto))


def ip4(data):
    """Parses an IPv4 packet; what stands behind its length is link padding."""
    if len(data) < 20 or data[0] >> 4 != 4:
        raise Malformed("no IPv4 header")
    hlen, length = (data[0] & 15) * 4, data[2] << 8 | data[3]
    if hlen < 20 or length < hlen or length > len(data):
        raise Malformed(f"IPv4 lengths: header {hlen}, packet {length}, there are {len(data)}")
    word = data[6] << 8 | data[7]
    return Ip(4, data[12:16], data[16:20], data[9], data[hlen:length], data[8], data[1],
              data[4] << 8 | data[5], bool(word & 0x4000), (word & 0x1fff) * 8, bool(word & 0x2000),
              sums_to_zero(data[:hlen]), data[9])


def ip6(data):
    """Parses an IPv6 packet and follows its extension headers up to ESP or the upper protocol."""
    if len(data) < 40 or data[0] >> 4 != 6:
        raise Malformed("no IPv6 header")
    length = 40 + (data[4] << 8 | data[5])
    if length > len(data):
        raise Malformed(f"IPv6 length {length}, there are {len(data)}")
    p = Ip(6, data[8:24], data[24:40], data[6], b"", data[7], (data[0] << 4 | data[1] >> 4) & 255,
           0, True, 0, False, True, data[6])
    at = 40
    while p.proto in (HOPOPTS, ROUTING, DSTOPTS, FRAGMENT):
        if at + 8 > length:
            raise Malformed("extension header beyond the packet")
        if p.proto == FRAGMENT:
            word = data[at + 2] << 8 | data[at + 3]
            p.offset, p.more = word & 0xfff8, bool(word & 1)
            p.ident = struct.unpack_from("!I", data, at + 4)[0]
            p.proto, at = data[at], at + 8
            break
        p.proto, at = data[at], at + 8 + data[at + 1] * 8
    if at > length:
        raise Malformed("extension header beyond the packet")
    p.payload = data[at:length]
    return p


def ip(data):
    """Parses either family."""
    if not data:
        raise Malformed("empty packet")
    return ip4(data) if data[0] >> 4 == 4 else ip6(data)


def udp(payload):
    """(source port, destination port, checksum, data) of a UDP datagram."""
    if len(payload) < 8:
        raise Malformed("UDP shorter than its header")
    sport, dport, length, check = struct.unpack_from("!HHHH", payload)
    if length < 8 or length > len(payload):
        raise Malformed(f"UDP length {length}, there are {len(payload)}")
    return sport, dport, check, payload[8:length]


def upper_checksum_ok(p):
    """Is the checksum of TCP, UDP or ICMP inside this packet right? Fragments are not judged."""
    if p.offset or p.more:
        return True
    if p.proto == ICMP:
        return sums_to_zero(p.payload)
    if p.proto == UDP:
        if len(p.payload) < 8:
            return False
        if p.payload[6:8] == b"\0\0":
            return p.version == 4
    if p.proto in (TCP, UDP, ICMP6):
        return sums_to_zero(p.payload, pseudo(p.src, p.dst, p.proto, len(p.payload)))
    return True


class Reassembly:
    """Puts fragments together; keeps the last 256 datagrams that are not whole."""

    def __init__(self):
        self.parts = {}

    def add(self, p):
        """The whole packet when this fragment completed it, else None."""
        key = (p.src, p.dst, p.ident, p.proto if p.version == 4 else 0)
        parts = self.parts.setdefault(key, {})
        parts[p.offset] = (p.payload, p.more)
        if len(self.parts) > 256:
            del self.parts[next(iter(self.parts))]
        at, out = 0, []
        while at in parts:
            data, more = parts[at]
            out.append(data)
            at += len(data)
            if not more:
                del self.parts[key]
                p.payload, p.offset, p.more = b"".join(out), 0, False
                return p
            if not data:
                return None
        return None
