#!/usr/bin/python3
"""sniff.py INTERFACE FILE [in|out|inout]: writes what passes an interface to a pcap file until SIGTERM.

A packet ring of 64 MiB (TPACKET_V2) shared with the kernel: it needs no more rights than a user
namespace gives, and says at the end how many frames the kernel could not keep.
"""
import mmap
import select
import signal
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, OUTGOING = 263, 5, 6, 10, 4
BLOCK, BLOCKS, SLOT = 1 << 20, 64, 2048
HEAD = struct.Struct("=IIIHHII")    # struct tpacket2_hdr up to the nanoseconds
KIND_AT = 32 + 10                   # sll_pkttype, behind the header
STATUS = struct.Struct("=I")


def open_ring(interface):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(SOL_PACKET, PACKET_VERSION, 1)
    s.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("=IIII", BLOCK, BLOCKS, SLOT, BLOCK // SLOT * BLOCKS))
    ring = mmap.mmap(s.fileno(), BLOCK * BLOCKS)
    s.bind((interface, 3))
    return s, ring


def take(ring, at, way):
    """One frame of the ring as a pcap record (b"" where its direction is not wanted); None: none there."""
    status, length, kept, mac, _, sec, nsec = HEAD.unpack_from(ring, at)
    if not status & 1:
        return None
    outgoing = ring[at + KIND_AT] == OUTGOING
    record = b""
    if way == "inout" or outgoing == (way == "out"):
        record = struct.pack("<IIII", sec, nsec, kept, length) + ring[at + mac:at + mac + kept]
    STATUS.pack_into(ring, at, 0)
    return record


def main():
    interface, path, way = sys.argv[1], sys.argv[2], (sys.argv[3:] or ["inout"])[0]
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    s, ring = open_ring(interface)
    poll, at, total = select.poll(), 0, 0
    poll.register(s, select.POLLIN)
    with open(path, "wb", buffering=1 << 20) as f:
        f.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, 1))
        print("listening", flush=True)
        while True:
            record = take(ring, at, way)
            if record is not None:
                f.write(record)
                total += bool(record)
                at = (at + SLOT) % (BLOCK * BLOCKS)
            elif stopped:
                break
            else:
                f.flush()
                if any(what & select.POLLERR for _, what in poll.poll(20)):
                    s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # the interface is down: wait for the end
                    time.sleep(0.02)
    lost = struct.unpack("=II", s.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
    print(f"{total} frames kept, {lost} lost", flush=True)


if __name__ == "__main__":
    main()
