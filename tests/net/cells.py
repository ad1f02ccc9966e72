"""Every kind of SA in the card and in software: ping, serial numbers, TCP with a digest, the oracle."""
from oracle.esp import SUITES
from pylib.cases import equal, expect
from .records import read_log
from .scene import OUTER, Scene, complain

KINDS = ["v4 in v4", "v6 in v6", "v4 in v6", "v6 in v4", "transport v4", "transport v6"]


class Cell:
    """One row: what is inside, what is outside, encapsulation, ESN, suite."""

    def __init__(self, n, kind, encap, esn, suites=4):
        self.n, self.kind, self.encap, self.esn = n, kind, encap, esn
        self.suite = list(SUITES)[(n + n // 4) % suites]
        self.mode = "transport" if kind.startswith("transport") else "tunnel"
        self.inner = 6 if kind[:2] == "v6" or kind.endswith("v6") and self.mode == "transport" else 4
        self.outer = 6 if kind.endswith("v6") else 4
        self.policy = f"p{n}"

    def name(self):
        return f"{self.kind}, {'UDP' if self.encap == 'udp' else 'plain'}, {'ESN' if self.esn else 'no ESN'}, {self.suite[4:]}"

    def ends(self):
        """(address at a, address at b) of the applications."""
        n = self.n
        if self.mode == "transport":
            return (f"10.0.{n}.1", f"10.0.{n}.2") if self.inner == 4 else (f"2001:db8::{n:x}:1", f"2001:db8::{n:x}:2")
        return (f"10.1.{n}.1", f"10.2.{n}.1") if self.inner == 4 else (f"fd01:0:0:{n:x}::1", f"fd02:0:0:{n:x}::1")

    def outer_ends(self):
        i = 0 if self.outer == 4 else 1
        return self.ends() if self.mode == "transport" else (OUTER["a"][i], OUTER["b"][i])

    def rule(self):
        """The policy at host a."""
        a, b = self.ends()
        bits = {4: "/24", 6: "/64"}[self.inner] if self.mode == "tunnel" else ""
        spread = lambda x: (x.rsplit(".", 1)[0] + ".0" if self.inner == 4 else x.rsplit("::", 1)[0] + "::") + bits if bits else x
        p = {"name": self.policy, "local": spread(a), "remote": spread(b), "action": "protect", "transforms": [self.suite + "/28800"],
             "encap": self.encap, "esn": self.esn}
        if self.mode == "tunnel":
            p["tunnel"] = f"t{self.outer}"
        return p


def all_cells(suites=4):
    """24 cells; suites is how many of the suites take turns (the first two are those of the card)."""
    cells = []
    for kind in KINDS:
        for encap in ("none", "udp"):
            for esn in (False, True):
                cells.append(Cell(len(cells) + 1, kind, encap, esn, suites))
    return cells


def pairs(suites=4):
    """A cell of each kind, in which every value of encapsulation, ESN and suite occurs."""
    return [c for i, c in enumerate(all_cells(suites)) if i % 4 == (i // 4 * 3 + i // 8) % 4]


def make_scene(world, kind, cells, seed):
    addresses = {s: [OUTER[s][0] + "/16", OUTER[s][1] + "/64"] for s in "ab"}
    inner = []
    for c in cells:
        ends = c.ends()
        if c.mode == "transport":
            for i, s in enumerate("ab"):
                addresses[s].append(ends[i] + ("/16" if c.inner == 4 else "/64"))
        else:
            inner.append(tuple(e + ("/32" if c.inner == 4 else "/128") for e in ends))
    return Scene(world, kind, [c.rule() for c in cells], addresses=addresses, inner=inner, seed=seed)


def numbers(path):
    return [n for n, _ in read_log(path)]


def check_udp(scene, side, src, dst, port):
    """200 datagrams; each arrives once, in order."""
    sent, received = scene.udp(side, src, dst, 200, port=port)
    expect(numbers(received) == numbers(sent) and len(numbers(sent)) == 200,
           f"UDP from {side}: {len(numbers(sent))} sent, {len(numbers(received))} received")


def run_cell(scene, cell, megabytes):
    """Traffic through one cell, then what both daemons say of it."""
    place = "software" if scene.kind == "software" else "card"
    a, b = cell.ends()
    ab, ba = scene.connect(cell.policy, cell.suite, cell.mode, cell.encap, cell.esn, cell.outer, cell.outer_ends())
    scene.wait_place(ab, ba, place)
    sent, received = scene.a.ns.ping(a, b)
    equal(received, sent, "pings answered")
    check_udp(scene, "a", a, b, 7000)
    check_udp(scene, "b", b, a, 7001)
    figures = scene.tcp("a", a, b, megabytes)
    expect(figures["there"] and figures["back"], f"TCP digests: {figures}")
    check_reports(scene, ab, ba, place)
    scene.disconnect(ab, ba)
    return f"{figures['there_mbit']:.0f} and {figures['back_mbit']:.0f} Mbit/s"


def check_reports(scene, ab, ba, place):
    """Who transformed: the SA's place, and nobody else but for what a card does not do."""
    for n, row in enumerate(scene.wait_place(ab, ba, place)):
        here = scene.expected(row, place, n)
        mine, other = row["packets"][here], row["packets"]["software" if here == "card" else "card"]
        expect(mine > 400, f"{row['dir']} in {here}: {mine} packets there, {other} elsewhere")
        expect(other == 0 or here == "card" and other < mine // 50, f"{row['dir']} in {here}: {other} packets elsewhere of {mine}")
        # In transport mode TCP learns the size by "too big" of ours; a tunnel's routes know it from the start.
        learned = row["drops"].pop("larger than the path", 0) if row["mode"] == "transport" else 0
        expect(learned < 60 and not row["drops"], f"{row['dir']}: larger than the path {learned}, other drops {row['drops']}")


def check_wire(scene):
    """The oracle over the whole wire of a set-up; and every number spent was on it."""
    report = scene.judge()
    expect(report["ok"], complain(report))
    packets = sum(s["packets"] for s in report["sas"])
    expect(packets > 0, "the capture shows no ESP")
    missing = {s["name"]: s["missing"] for s in report["sas"] if s["missing"]}
    expect(not missing, f"numbers that were never on the wire: {missing}")
    return f"{report['frames']} frames, {packets} ESP packets in {len(report['sas'])} SAs, clear: {report['clear']}"


def run(cases, world, args):
    """cells --pairs | --all | --one"""
    if args.one:
        sets = [("card", pairs(2)[:1])]
    elif args.pairs:
        sets = [("card", pairs(2)), ("software", pairs()[::2]), ("mixed", pairs(2)[1::2])]
    else:
        sets = [("card", all_cells(2)), ("software", all_cells()), ("mixed", pairs(2))]
    for kind, cells in [x for x in sets if args.kind in (None, x[0])]:
        scene = cases.run(f"{kind}: start", started, world, kind, cells, args.seed)
        if not scene:
            continue
        for i, cell in enumerate(cells):
            big = not args.pairs and not args.one and i in (0, len(cells) // 2 + 3) and kind != "mixed"
            cases.run(f"{kind}: {cell.name()}{', 100 MB' if big else ''}", run_cell, scene, cell, 100 if big else 10)
        scene.stop()
        cases.run(f"{kind}: the oracle", check_wire, scene)


def started(world, kind, cells, seed):
    scene = make_scene(world, kind, cells, seed)
    scene.start()
    return scene
