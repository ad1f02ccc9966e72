"""Sudden death and the stop: the same SAs go on, nothing is reused, nothing leaves in clear."""
import os
import subprocess
import sys
import time

from oracle import capture, packet as pk
from pylib.cases import equal, expect
from .flow import A, B, INNER, Flow, silence
from .records import read_log
from .scene import Scene, complain

OUT_A, OUT_B = "10.0.0.1", "10.0.0.2"


def rules():
    return [{"name": "lan", "local": "10.1.1.0/24", "remote": "10.2.1.0/24", "action": "protect",
             "transforms": ["ESP_AES128_GCM16/28800"], "tunnel": "t4", "esn": True},
            {"name": "ping", "protocol": "icmp", "action": "pass"}]


def start(world, kind="card", after_stop="discard"):
    scene = Scene(world, kind, rules(), inner=INNER, after_stop=after_stop)
    try:
        scene.start()
        scene.pair = scene.connect("lan", esn=True)
        scene.wait_place(*scene.pair, "card" if scene.cards else "software")
    except BaseException:
        scene.close()
        raise
    return scene


def data_dies(world, kind):
    """kill -9 of data at a, under traffic; then everything from before is played again."""
    scene = start(world, kind)
    try:
        flow = Flow(scene, 30)
        time.sleep(1.5)
        before = {(s["spi"], s["dir"]) for s in scene.a.sas()}
        moment = time.monotonic_ns()
        scene.a.kill_child("data")
        time.sleep(0.3)
        scene.a.connect(5)
        time.sleep(3)
        after = {(s["spi"], s["dir"]) for s in scene.a.sas()}
        result = flow.stop()
        equal(after, before, "SPIs of a")
        gaps = {side: resumed(result[side], moment) for side in "ab"}
        expect(max(gaps.values()) < 2, f"traffic was back after {gaps} s")
        for side, (sent, received) in result.items():
            serials = [n for n, _ in received]
            equal(len(set(serials)), len(serials), f"datagrams from {side} that came twice: difference")
        tops = {side: scene.hosts[side].sas() for side in "ab"}
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
        return f"back after {gaps['a']:.2f} s from a, {gaps['b']:.2f} s to a; {describe(tops)}"
    finally:
        scene.close()


def resumed(pair, moment):
    """The longest silence at the receiver after the moment, in seconds."""
    return silence([t for _, t in pair[1]], moment, pair[0][-1][1], moment)


def describe(tops):
    rows = [s for s in tops["a"] if s["dir"] == "out"]
    return f"next number {rows[0]['next']}" if rows else ""


def inject(ns, interface, frames):
    """Sends frames out of an interface of a namespace, exactly as they are."""
    code = ("import socket,sys,struct,time\n"
            "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);s.bind((sys.argv[1],0))\n"
            "d=sys.stdin.buffer\nn=0\n"
            "while True:\n"
            " h=d.read(4)\n"
            " if len(h)<4: break\n"
            " s.send(d.read(struct.unpack('=I',h)[0]));n+=1\n"
            " if n%64==0: time.sleep(0.004)\n")
    data = b"".join(len(f).to_bytes(4, sys.byteorder) + f for f in frames)
    subprocess.run(ns.inside([sys.executable, "-c", code, interface]), input=data, check=True, timeout=60)


def replay(world):
    """The whole capture from before data's death, played again to both: nothing is delivered."""
    scene = start(world, "standby")
    try:
        flow = Flow(scene, 2, rate=1000)
        flow.wait()
        time.sleep(0.3)
        old = [f.data for f in capture.merge([c.file for c in scene.captures])]
        macs = {side: mac_of(scene, side) for side in "ab"}
        to = {side: [f for f in old if f[:6] == macs[side] and is_esp(f)] for side in "ab"}
        expect(min(len(x) for x in to.values()) > 1500, f"captured {[len(x) for x in to.values()]}")
        scene.a.kill_child("data")
        time.sleep(0.3)
        scene.a.connect(5)
        scene.a.wait_ready()
        watchers = [scene.tool(side, "udp-recv", "--src", src, "--port", str(port), "--log", scene.world.path(f"w{side}"),
                               stdout=subprocess.PIPE) for side, src, port in (("b", B, 7000), ("a", A, 7001))]
        for w in watchers:
            w.stdout.readline()
        before = {side: dropped(scene.hosts[side]) for side in "ab"}
        for side in "ab":
            inject(scene.switch, "card" + side, to[side])
        time.sleep(1)
        for w in watchers:
            w.terminate()
            w.wait(10)
        for side in "ab":
            equal(len(read_log(scene.world.path(f"w{side}"))), 0, f"old datagrams delivered at {side}")
            grown = dropped(scene.hosts[side]) - before[side]
            expect(grown >= len(to[side]) * 0.99, f"{side} counts {grown} of {len(to[side])} replays")
        again = Flow(scene, 1, rate=500).wait()
        for side in "ab":
            equal(len(again[side][1]), len(again[side][0]), f"new datagrams from {side} after the replay")
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
        return f"{len(to['a'])} and {len(to['b'])} old packets, none delivered"
    finally:
        scene.close()


def is_esp(frame):
    _, _, kind, rest = pk.ethernet(frame)
    return kind == 0x0800 and pk.ip(rest).proto == pk.ESP


def mac_of(scene, side):
    return bytes.fromhex(scene.hosts[side].ns.json("link", "show", "dev", "ipsec0")[0]["address"].replace(":", ""))


def dropped(host):
    return sum(n for s in host.sas() if s["dir"] == "in" for text, n in s["drops"].items() if "replay" in text or "window" in text)


def process_dies(world, title):
    """kill -9 of one process under traffic: nothing in clear, and the daemon is whole again (or gone)."""
    scene = start(world, "software")
    try:
        flow = Flow(scene, 20, rate=500)
        time.sleep(0.7)
        if title == "parent":
            children = scene.a.children()
            scene.a.program.kill()
            scene.a.program.wait()
            time.sleep(2)
            left = {t: p for t, p in children.items() if os.path.exists(f"/proc/{p}")}
            expect(not left, f"children that outlived the parent: {left}")
        else:
            scene.a.kill_child(title)
            time.sleep(1)
            scene.a.connect(5)
            equal(scene.a.ns.ping(OUT_A, OUT_B), (3, 3), "pings under the pass policy")
        time.sleep(0.5)
        result = flow.stop()
        if title != "parent":
            last = max(t for _, t in result["a"][1])
            expect(last > max(t for _, t in result["a"][0]) - 200_000_000, "traffic did not go on")
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
    finally:
        scene.close()


def stopped(world, after_stop):
    """The stop: what a protect policy covers goes nowhere; the pass policy goes on, or all ends."""
    scene = start(world, "card", after_stop)
    try:
        flow = Flow(scene, 20, rate=500)
        time.sleep(0.5)
        equal(scene.a.ns.ping(OUT_A, OUT_B), (3, 3), "pings before the stop")
        scene.a.call("stop")
        moment = time.monotonic_ns()
        time.sleep(0.5)
        pings = scene.a.ns.ping(OUT_A, OUT_B)
        result = flow.stop()
        equal(pings, (3, 3 if after_stop == "pass" else 0), "pings after the stop")
        late = [t for _, t in result["a"][1] if t > moment + 300_000_000]
        equal(len(late), 0, "protected datagrams delivered after the stop")
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
    finally:
        scene.close()


def run(cases, world, args):
    cases.run("data killed under traffic, both in cards", data_dies, world, "card")
    cases.run("data killed under traffic, both in software", data_dies, world, "software")
    cases.run("replay of everything from before the death", replay, world)
    for title in ("control", "data", "parent"):
        cases.run(f"{title} killed: nothing in clear", process_dies, world, title)
    for after in ("pass", "discard"):
        cases.run(f"stop, after-stop: {after}", stopped, world, after)
