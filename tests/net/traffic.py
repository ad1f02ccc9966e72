#!/usr/bin/python3
"""Traffic with a memory: every datagram has a serial number and both ends log it with the time.

Run inside a namespace: traffic.py udp-send|udp-recv|tcp-serve|tcp-get … Times are CLOCK_MONOTONIC,
one clock for all namespaces of a machine. A log is a row of (serial u64, time u64), native order.
"""
import argparse
import hashlib
import json
import random
import select
import signal
import socket
import struct
import sys
import time

ROW = struct.Struct("=QQ")
HEAD = struct.Struct("!QQ")


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp_send(a):
    """Sends datagrams at a rate; one that the kernel refuses is counted and not logged."""
    s = socket.socket(family(a.src), socket.SOCK_DGRAM)
    s.bind((a.src, a.port))
    s.connect((a.dst, a.port))
    pad, refused, log = bytes(max(0, a.size - HEAD.size)), 0, []
    begin = time.monotonic_ns()
    step = 1_000_000_000 // a.rate
    serial = a.first
    while serial < a.first + a.count and not stopped:
        due = begin + (serial - a.first) * step
        now = time.monotonic_ns()
        if due > now:
            time.sleep((due - now) / 1e9)
        try:
            s.send(HEAD.pack(serial, time.monotonic_ns()) + pad)
            log.append(ROW.pack(serial, time.monotonic_ns()))
        except OSError:
            refused += 1
        serial += 1
    with open(a.log, "wb") as f:
        f.write(b"".join(log))
    print(json.dumps({"sent": len(log), "refused": refused}), flush=True)


def udp_recv(a):
    """Receives until it is told to stop, then for a moment longer; logs each serial number."""
    s = socket.socket(family(a.src), socket.SOCK_DGRAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE: only root of the machine may
    except OSError:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind((a.src, a.port))
    print("ready", flush=True)
    log, last_word = [], None
    poll = select.poll()
    poll.register(s, select.POLLIN)
    while last_word is None or time.monotonic() < last_word:
        if poll.poll(50):
            data, _ = s.recvfrom(65536)
            if len(data) >= HEAD.size:
                log.append(ROW.pack(HEAD.unpack_from(data)[0], time.monotonic_ns()))
        if stopped and last_word is None:
            last_word = time.monotonic() + a.linger
    with open(a.log, "wb") as f:
        f.write(b"".join(log))
    print(json.dumps({"received": len(log)}), flush=True)


def stream(seed, total):
    """Pseudo-random octets in chunks, the same for the same seed."""
    block = random.Random(seed).randbytes(1 << 16)
    while total:
        part = block[:total]
        yield part
        total -= len(part)
        block = block[1:] + block[:1]  # so that a chunk in the wrong place changes the digest


def read_exactly(s, total, digest):
    got = 0
    while got < total:
        part = s.recv(min(1 << 18, total - got))
        if not part:
            raise ConnectionError(f"closed after {got} of {total} octets")
        digest.update(part)
        got += len(part)


def send_stream(s, seed, total):
    digest = hashlib.sha256()
    for part in stream(seed, total):
        digest.update(part)
        s.sendall(part)
    s.sendall(digest.digest())


def receive_stream(s, total):
    """True when the digest that follows the octets is theirs."""
    digest, theirs = hashlib.sha256(), []
    read_exactly(s, total, digest)
    while sum(map(len, theirs)) < 32:
        part = s.recv(32 - sum(map(len, theirs)))
        if not part:
            raise ConnectionError("closed before the digest")
        theirs.append(part)
    return b"".join(theirs) == digest.digest()


def tcp_serve(a):
    """Takes connections one after another: receives N octets, checks them, sends N back."""
    s = socket.create_server((a.src, a.port), family=family(a.src))
    print("ready", flush=True)
    while not stopped:
        c, _ = s.accept()
        try:
            total = struct.unpack("!Q", c.recv(8, socket.MSG_WAITALL))[0]
            ok = receive_stream(c, total)
            c.sendall(b"\1" if ok else b"\0")
            send_stream(c, 7, total)
        except (OSError, struct.error) as why:
            print(f"tcp-serve: {why}", file=sys.stderr, flush=True)
        c.close()


def tcp_get(a):
    """N octets each way, with digests; prints the rates."""
    s = socket.create_connection((a.dst, a.port), timeout=a.wait, source_address=(a.src, 0))
    s.settimeout(a.wait)
    begin = time.monotonic()
    s.sendall(struct.pack("!Q", a.count))
    send_stream(s, 3, a.count)
    there = s.recv(1) == b"\1"
    half = time.monotonic()
    back = receive_stream(s, a.count)
    end = time.monotonic()
    print(json.dumps({"there": there, "back": back, "there_mbit": round(a.count * 8e-6 / (half - begin), 1),
                      "back_mbit": round(a.count * 8e-6 / (end - half), 1)}), flush=True)
    return 0 if there and back else 1


stopped = False


def stop(*_):
    global stopped
    stopped = True


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("what", choices=["udp-send", "udp-recv", "tcp-serve", "tcp-get"])
    p.add_argument("--src", required=True)
    p.add_argument("--dst")
    p.add_argument("--port", type=int, default=7000)
    p.add_argument("--rate", type=int, default=2000)
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--size", type=int, default=100)
    p.add_argument("--linger", type=float, default=0.5)
    p.add_argument("--wait", type=float, default=30.0)
    p.add_argument("--log")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return {"udp-send": udp_send, "udp-recv": udp_recv, "tcp-serve": tcp_serve, "tcp-get": tcp_get}[a.what](a) or 0


if __name__ == "__main__":
    sys.exit(main())
