"""The daemon as an administrator meets it: its processes' rights, its errors, its reload."""
import copy
import os
import re
import subprocess

from pylib import user
from pylib.cases import equal, expect
from .control import Refused
from .cells import check_udp
from .scene import Scene, complain
from .world import wait_for

INNER = [("10.1.1.1/32", "10.2.1.1/32"), ("10.1.2.1/32", "10.2.2.1/32")]


def rules():
    return [{"name": f"p{n}", "local": f"10.1.{n}.0/24", "remote": f"10.2.{n}.0/24", "action": "protect",
             "transforms": ["ESP_AES128_GCM16/28800"], "tunnel": "t4", "esn": False} for n in (1, 2)]


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def rights(world):
    """No capability, NoNewPrivs, an empty root, not the user who started it."""
    scene = Scene(world, "card", rules(), inner=INNER)
    try:
        scene.start()
        children = scene.a.children()
        expect({"data", "control"} <= set(children), f"children {children}")
        for title, pid in children.items():
            s = status_of(pid)
            for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                equal(int(s[key], 16), 0, f"{title}: {key}")
            equal(s["NoNewPrivs"].strip(), "1", f"{title}: NoNewPrivs")
            equal(os.listdir(os.path.join("/proc", str(pid), "root")), [], f"{title}: what its root holds")
            if not user.inside():
                expect(s["Uid"].split()[0] != "0", f"{title} runs as root")
        return ", ".join(f"{t} {p}" for t, p in children.items())
    finally:
        scene.close()


def reload_leaves_others(world):
    """p2 changes: p1's SAs stay as they are, to the number; p2's are gone."""
    scene = Scene(world, "card", rules(), inner=INNER)
    try:
        scene.start()
        one, two = scene.connect("p1"), scene.connect("p2")
        scene.wait_place(*one, "card")
        scene.wait_place(*two, "card")
        check_udp(scene, "a", "10.1.1.1", "10.2.1.1", 7000)
        keep = {s["cookie"]: still(s) for s in scene.a.sas() if s["policy"] == "p1"}
        handles = {(s["spi"], s["handle"]) for s in scene.cards["a"].sas()}
        config = copy.deepcopy(scene.a.config)
        config["policy"][1]["transforms"] = ["ESP_AES256_GCM16/28800"]
        scene.a.reload(config)
        wait_for("the changed policy", lambda: [p["transforms"] for p in scene.a.call("policy.list")["policies"]][1] ==
                 ["ESP_AES256_GCM16"], 5)
        after = scene.a.sas()
        equal({s["cookie"]: still(s) for s in after if s["policy"] == "p1"}, keep, "SAs of the policy that did not change")
        expect(not [s for s in after if s["policy"] == "p2"], "SAs of the changed policy are still there")
        left = {(s["spi"], s["handle"]) for s in scene.cards["a"].sas()}
        expect(left <= handles, "an SA that stayed was put into the card again")
        check_udp(scene, "a", "10.1.1.1", "10.2.1.1", 7000)
        check_udp(scene, "b", "10.2.1.1", "10.1.1.1", 7001)
        bad = copy.deepcopy(config)
        bad["policy"][0]["action"] = "protekt"
        try:
            scene.a.reload(bad)
            expect(False, "a bad configuration was loaded")
        except Refused as why:
            expect("protekt" in str(why) or "error" in str(why).lower(), f"refusal: {why}")
        equal({s["cookie"] for s in scene.a.sas() if s["policy"] == "p1"}, set(keep), "SAs after a refused reload")
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
    finally:
        scene.close()


def still(row):
    """What a reload must not touch (time goes on, everything else stands)."""
    return {k: v for k, v in row.items() if k not in ("since_s", "left")}


def hand_made_refused(world):
    """Without "testing: yes" nobody sets an SA by hand."""
    scene = Scene(world, "software", rules(), inner=INNER, extra={"testing": False})
    try:
        scene.start()
        try:
            scene.connect("p1")
        except Refused as why:
            expect("testing" in str(why), f"refusal: {why}")
        else:
            expect(False, "sa.add was taken")
    finally:
        scene.close()


GOOD = """testing: yes
card:
  - {name: c0, at: "unix:/run/c0.sock"}
interface:
  - {name: ipsec0, port: c0, standby: "if:eth1", address: [10.0.0.1/24], after-stop: discard}
policy:
  - {name: lan, local: 10.1.0.0/24, remote: 10.2.0.0/24, action: protect, transforms: [ESP_AES128_GCM16/28800], tunnel: t1}
  - {name: web, remote: any, protocol: tcp, remote-port: 80, action: pass}
tunnel:
  - {name: t1, local: 10.0.0.1, remote: 10.0.0.2}
"""

# What is replaced by what, and the lines at which an error must be shown.
BAD = [
    ("action: protect", "action: protekt", [7]),
    ("action: protect, ", "", [7]),
    ("name: lan, ", "", [7]),
    ("name: web", "name: lan", [8]),
    ("tunnel: t1}", "tunnel: t9}", [7]),
    ("10.1.0.0/24", "10.1.0.0/33", [7]),
    ("10.1.0.0/24", "10.1.0.300/24", [7]),
    ("10.1.0.0/24", "fd00::/64", [7]),
    ("ESP_AES128_GCM16/28800", "ESP_DES_MD5/28800", [7]),
    ("ESP_AES128_GCM16/28800", "ESP_AES128_GCM16/soon", [7]),
    ("protocol: tcp", "protocol: tpc", [8]),
    ("remote-port: 80", "remote-port: 70000", [8]),
    ("remote-port: 80", "remote-port: 90-80", [8]),
    ("protocol: tcp, ", "", [8]),
    ("port: c0", "port: c7", [5]),
    ("port: c0, ", "", [5]),
    ("at: \"unix:/run/c0.sock\"", "at: \"usb:1\"", [3]),
    (", at: \"unix:/run/c0.sock\"", "", [3]),
    ("after-stop: discard", "after-stop: explode", [5]),
    ("address: [10.0.0.1/24]", "address: [10.0.0.1/40]", [5]),
    ("address: [10.0.0.1/24]", "adress: [10.0.0.1/24]", [5]),
    ("standby: \"if:eth1\"", "standby: c0", [5]),
    ("testing: yes", "testing: perhaps", [1]),
    ("testing: yes", "testing: yes\ntesting: no", [2]),
    ("remote: 10.0.0.2}", "remote: 2001:db8::2}", [10]),
    ("tunnel:\n  - {", "tunel:\n  - {", [9]),
    ("policy:\n", "policy:\n\t", [7]),
    ("{name: c0, at: \"unix:/run/c0.sock\"}", "&x {name: c0, at: \"unix:/run/c0.sock\"}", [3]),
    ("action: pass}", "action: pass", [8, 9, 10]),
    ("action: protect", "action: protekt, esn: maybe, window: 77", [7]),
    ("testing: yes\n", "testing: yes\ninclude: [nowhere.yaml]\n", [2]),
    ("remote: any, protocol: tcp", "remote: nowhere, protocol: xyz", [8]),
]
SEVERAL = {29: 3, 31: 2}   # how many errors a case must show, where it is more than one


def bad_case(world, number, old, new, lines):
    """sallyportd -n names file, line and remedy of every error."""
    expect(old in GOOD, f"the case replaces nothing: {old!r}")
    path = world.path(f"bad{number}.yaml")
    with open(path, "w") as f:
        f.write(GOOD.replace(old, new, 1))
    done = subprocess.run([world.binary("sallyportd"), "-n", "-c", path], capture_output=True, text=True, timeout=10)
    text = done.stderr + done.stdout
    expect(done.returncode not in (0, -6, -11), f"exit {done.returncode}: {text}")
    found = [int(n) for n in re.findall(rf"{re.escape(path)}:(\d+):\d+: ", text)]
    expect(found and set(found) & set(lines), f"errors at lines {found}, want {lines}: {text}")
    expect(len(found) >= SEVERAL.get(number, 1), f"{len(found)} errors, want {SEVERAL.get(number, 1)}: {text}")
    expect(text.count("remedy:") >= len(found), f"{len(found)} errors, {text.count('remedy:')} remedies: {text}")
    expect("^" in text, f"no caret: {text}")


def good_case(world):
    path = world.path("good.yaml")
    with open(path, "w") as f:
        f.write(GOOD)
    done = subprocess.run([world.binary("sallyportd"), "-n", "-c", path], capture_output=True, text=True, timeout=10)
    equal(done.returncode, 0, f"exit of a good configuration ({done.stderr})")


def run(cases, world, args):
    cases.run("a good configuration passes", good_case, world)
    for number, (old, new, lines) in enumerate(BAD):
        cases.run(f"bad configuration {number}: {new.strip()[:50]!r}", bad_case, world, number, old, new, lines)
    cases.run("rights of the processes", rights, world)
    cases.run("a reload leaves the other SAs as they were", reload_leaves_others, world)
    cases.run("no SA by hand without testing: yes", hand_made_refused, world)
