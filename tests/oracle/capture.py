"""Reads pcap and pcapng files, and writes pcap for tests. Nothing here knows of IPsec."""
import mmap
import os
import struct
from dataclasses import dataclass

LINK_ETHERNET = 1


@dataclass(slots=True)
class Frame:
    index: int      # from 1, as Wireshark counts
    time: int       # nanoseconds since 1970, or whatever clock the writer had
    interface: int
    data: bytes
    whole: bool     # False where the capture cut it


class BadCapture(Exception):
    """The file is no capture that this reader knows."""


def read(path):
    """Yields every frame of a capture in file order. A last record that is cut short ends the file:
    a program that was killed while it wrote leaves one."""
    with open(path, "rb") as f:
        if not os.fstat(f.fileno()).st_size:
            return
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    magic = data[:4]
    if magic == b"\x0a\x0d\x0d\x0a":
        yield from _read_pcapng(data)
    else:
        yield from _read_pcap(data)


_PCAP = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
         b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1)}


def _read_pcap(data):
    if data[:4] not in _PCAP or len(data) < 24:
        raise BadCapture("not a pcap file")
    order, scale = _PCAP[data[:4]]
    if struct.unpack_from(order + "I", data, 20)[0] & 0xffff != LINK_ETHERNET:
        raise BadCapture("not Ethernet")
    record, at, index = struct.Struct(order + "IIII"), 24, 0
    while at + 16 <= len(data):
        sec, part, kept, full = record.unpack_from(data, at)
        at += 16
        if at + kept > len(data):
            return
        index += 1
        yield Frame(index, sec * 1_000_000_000 + part * scale, 0, data[at:at + kept], kept == full)
        at += kept


def _resolution(order, body):
    """Nanoseconds a tick as a (multiply, divide) pair, from the options of an interface block."""
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        if code == 9 and length == 1:
            v = body[at + 4]
            ticks = 2 ** (v & 0x7f) if v & 0x80 else 10 ** v
            return 1_000_000_000, ticks
        at += 4 + (length + 3) // 4 * 4
    return 1_000_000_000, 1_000_000


def _read_pcapng(data):
    at, index, order, scales = 0, 0, "<", []
    while at + 12 <= len(data):
        if data[at:at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            scales = []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or length % 4 or at + length > len(data):
            return
        body = data[at + 8:at + length - 4]
        at += length
        if kind == 1:
            if struct.unpack_from(order + "H", body)[0] != LINK_ETHERNET:
                raise BadCapture("not Ethernet")
            scales.append(_resolution(order, body))
        elif kind == 6:
            interface, high, low, kept, full = struct.unpack_from(order + "IIIII", body)
            if interface >= len(scales) or 20 + kept > len(body):
                raise BadCapture("a packet block without its interface, or too long")
            multiply, divide = scales[interface]
            index += 1
            yield Frame(index, (high << 32 | low) * multiply // divide, interface, body[20:20 + kept], kept == full)
        elif kind == 3:
            full = struct.unpack_from(order + "I", body)[0]
            index += 1
            yield Frame(index, 0, 0, body[4:4 + full], full <= len(body) - 4)


def merge(paths):
    """All frames of several captures of one wire, by time. Each file must hold different frames."""
    frames = [f for p in paths for f in read(p)]
    frames.sort(key=lambda f: f.time)
    for n, f in enumerate(frames, 1):
        f.index = n
    return frames


def write(path, frames):
    """Writes (time, data) pairs as a pcap file with nanoseconds."""
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, LINK_ETHERNET))
        for time, data in frames:
            f.write(struct.pack("<IIII", time // 1_000_000_000, time % 1_000_000_000, len(data), len(data)) + data)
