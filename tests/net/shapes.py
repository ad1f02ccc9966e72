"""A card that lacks something: the SA works in software and says what was asked and what is offered."""
import time

from pylib.cases import equal, expect
from .cells import check_udp
from .flow import Flow
from .scene import Scene, complain
from .tables import empty_at_rest, tables_agree
from .world import wait_for

GCM128, GCM256 = "ESP_AES128_GCM16", "ESP_AES256_GCM16"
CBC = "ESP_AES128_CBC_HMAC_SHA2_256"

# shape of a's card, what the SA asks, the code that must be the reason, words of the text.
LACKS = [
    ("gcm128-only", {"suite": GCM256}, ("SUITE", "KEY_LEN"), ["256"]),
    ("gcm128-only", {"suite": CBC}, ("SUITE",), ["CBC"]),
    ("reference", {"suite": CBC}, ("SUITE",), ["CBC"]),
    ("no-esn", {"esn": True}, ("ESN",), ["sequence"]),
    ("no-natt", {"encap": "udp"}, ("NATT",), ["UDP"]),
]
INNER = [("10.1.1.1/32", "10.2.1.1/32")]


def rule(name="p1", n=1, **more):
    return {"name": name, "local": f"10.1.{n}.0/24", "remote": f"10.2.{n}.0/24", "action": "protect",
            "transforms": [more.get("suite", GCM128) + "/28800"], "tunnel": "t4", "encap": more.get("encap", "none"),
            "esn": more.get("esn", False)}


def one_lack(world, shape, asked, codes, words):
    """Side a's card lacks it, so a is in software with the reason; side b's card has it, or not as well."""
    scene = Scene(world, "card", [rule(**asked)], shape={"a": shape}, inner=INNER)
    try:
        scene.start()
        ab, ba = scene.connect("p1", **asked)
        check_udp(scene, "a", "10.1.1.1", "10.2.1.1", 7000)
        check_udp(scene, "b", "10.2.1.1", "10.1.1.1", 7001)
        texts = set()
        for row in (scene.a.sa(ab.spi, "out"), scene.a.sa(ba.spi, "in")):
            reason = row["reason"]
            equal(row["place"], "software", f"place of {row['dir']}")
            expect(reason["code"] in codes, f"reason {reason}")
            expect(all(w.lower() in reason["text"].lower() for w in words), f"{words} not in: {reason['text']}")
            expect("asked" in reason["text"] and "offer" in reason["text"], f"asked and offered not in: {reason['text']}")
            expect(reason["remedy"], "the reason has no remedy")
            texts.add(reason["text"])
        expect(not tables_agree(scene), tables_agree(scene, 0))
        scene.disconnect(ab, ba)
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
        return "; ".join(sorted(texts))
    finally:
        scene.close()


def counted(host, place):
    return sum(s["place"] == place for s in host.sas())


def small_table(world):
    """Four slots, eight SAs a host: four in the card, four with FULL; room made, SAs move in."""
    rules = [rule(f"p{n}", n) for n in range(1, 5)]
    inner = [(f"10.1.{n}.1/32", f"10.2.{n}.1/32") for n in range(1, 5)]
    scene = Scene(world, "card", rules, shape={"a": "small"}, inner=inner)
    try:
        scene.start()
        made = [scene.connect(f"p{n}") for n in range(1, 5)]
        wait_for("four SAs in the card", lambda: counted(scene.a, "card") == 4, 5)
        waiting = [s for s in scene.a.sas() if s["place"] == "software"]
        equal(len(waiting), 4, "SAs in software")
        expect(all(s["reason"]["code"] == "FULL" and "4" in s["reason"]["text"] for s in waiting),
               f"reasons {[s['reason']['text'] for s in waiting]}")
        expect(not tables_agree(scene), tables_agree(scene, 0))
        for n in range(1, 5):
            check_udp(scene, "a", f"10.1.{n}.1", f"10.2.{n}.1", 7000 + n)
        scene.disconnect(*made[0])
        scene.disconnect(*made[1])
        wait_for("the rest in the card", lambda: counted(scene.a, "card") == 4 and counted(scene.a, "software") == 0, 8)
        moved = [s for s in scene.a.sas() if s["moves"]]
        expect(moved, "no SA says that it moved")
        for n in (3, 4):
            check_udp(scene, "b", f"10.2.{n}.1", f"10.1.{n}.1", 7010 + n)
        expect(not tables_agree(scene), tables_agree(scene, 0))
        scene.disconnect(*made[2])
        scene.disconnect(*made[3])
        wait_for("empty tables", lambda: not empty_at_rest(scene), 5)
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
        return f"{len(moved)} moved in when there was room"
    finally:
        scene.close()


def unmapped_page(world, direction):
    """The card cannot reach a page of the host in mid-traffic: reported, and traffic goes on."""
    scene = Scene(world, "standby", [rule()], inner=INNER)
    try:
        scene.start()
        ab, ba = scene.connect("p1")
        scene.wait_place(ab, ba, "card")
        flow = Flow(scene, 20, 1000)
        time.sleep(0.5)
        scene.cards["a"].ctl(f"fault add dma what=fail dir={direction} count=1")
        time.sleep(1.5)
        scene.cards["a"].ctl("fault del all")
        scene.wait_place(ab, ba, "card", 8)
        moment = time.monotonic_ns()
        time.sleep(0.5)
        result = flow.stop()
        for side in "ab":
            sent, received = ([n for n, t in x if t > moment] for x in result[side])
            expect(len(received) >= len(sent) * 0.98 and len(sent) > 300, f"from {side} afterwards: {len(sent)} sent, {len(received)} came")
        words = scene.a.log(400).lower() + " ".join(c["reason"] or "" for c in scene.a.cards()).lower()
        expect("not mapped" in words or "dma" in words, "nothing about the fault in the log or the card's report")
        expect(not tables_agree(scene), tables_agree(scene, 0))
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
    finally:
        scene.close()


def run(cases, world, args):
    for shape, asked, codes, words in LACKS:
        cases.run(f"{shape}: {', '.join(map(str, asked.values()))}", one_lack, world, shape, asked, codes, words)
    for direction in ("read", "write"):
        cases.run(f"a page that the card cannot {direction}", unmapped_page, world, direction)
    cases.run("small: four slots, then room", small_table, world)
