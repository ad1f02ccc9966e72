"""Falling back is total: random events from a seed under 2,000 datagrams a second each way.

Half of the events happen to hosts with a standby port, half to hosts without. After each event the
daemon's tables must equal the cards'; at the end every datagram is accounted for: sent, on the
wire, delivered, or lost for a reason that was counted.
"""
import bisect
import json
import os
import random
import subprocess
import time
import tomllib
from dataclasses import dataclass, field

from pylib.cases import equal, expect, say
from .events import AT_BRING_UP, COMMANDS, EVENTS
from .flow import INNER, Flow, outages
from .oracle_flow import WireLog
from .scene import Scene, complain
from .tables import empty_at_rest, tables_agree
from .world import ROOT, NetError, wait_for

RATE = 2000
APART = 0.15   # seconds of calm between events, so that each loss belongs to one


def rules():
    extra = [{"name": f"fill{n}", "local": f"10.3.{n}.0/24", "remote": f"10.4.{n}.0/24", "action": "protect",
              "transforms": ["ESP_AES128_GCM16/28800"], "tunnel": "t4", "esn": False} for n in range(4)]
    return [{"name": "lan", "local": "10.1.1.0/24", "remote": "10.2.1.0/24", "action": "protect",
             "transforms": ["ESP_AES128_GCM16/28800"], "tunnel": "t4", "esn": True}] + extra


@dataclass
class Happening:
    """One event as it went."""
    number: int
    side: str
    name: str
    detail: str
    begin: int = 0          # ns, CLOCK_MONOTONIC
    back: int = 0           # when the card was there again; 0 where it never went
    end: int = 0
    detected: float = -1    # seconds until the daemon knew
    may_lose: bool = False
    problem: str = ""


@dataclass
class Run:
    """The state of one scene's run: the SAs in use, what SAs that are gone had counted, what happened."""
    scene: Scene
    random: random.Random
    standby: bool
    pair: tuple = ()
    gone: list = field(default_factory=list)
    happenings: list = field(default_factory=list)
    fills: list = field(default_factory=list)
    refusals: dict = field(default_factory=dict)   # (command, status) that are still to be tried
    refused: set = field(default_factory=set)
    figures: list = field(default_factory=list)

    def rekey(self):
        """A new pair under the policy; the old one goes a moment later, as after a negotiation."""
        old = self.pair
        self.pair = self.scene.connect("lan", esn=True)
        time.sleep(0.15)
        self.forget(old)

    def forget(self, pair):
        """Deletes a pair and keeps what it had counted."""
        ab, ba = pair
        rows = self.scene.four(ab, ba)
        self.gone += [(side, row) for side, row in zip("abba", rows) if row]
        self.scene.disconnect(ab, ba, 0.1)

    def rows(self, side):
        """Every SA report of a side, of those that are gone too."""
        return [r for s, r in self.gone if s == side] + self.scene.hosts[side].sas()

    def fill(self, n=0):
        self.fills.append(self.scene.connect(f"fill{n % 4}"))

    def unfill(self):
        for pair in self.fills:
            self.forget(pair)
        self.fills = []


def statuses():
    """Names of every status of the contract that refuses."""
    with open(os.path.join(ROOT, "firmware-if", "status.toml"), "rb") as f:
        table = tomllib.load(f)
    return [r["name"] for r in table["status"][0]["rows"] if r["value"] >> 12]


def one_event(run, number):
    """Lets one random event happen and waits until all is calm; returns what happened."""
    side = run.random.choice("ab")
    event = run.random.choices(EVENTS, [e.weight for e in EVENTS])[0]
    h = Happening(number, side, event.name, "", may_lose=event.may_lose)
    h.begin = time.monotonic_ns()
    try:
        h.detail = event.action(run, side, h) or ""
        calm(run)
    except NetError as why:
        h.problem = str(why)
    h.end = time.monotonic_ns()
    run.happenings.append(h)
    return h


def calm(run):
    """Faults gone, cards in service, tables equal, nothing half in a card."""
    for card in run.scene.cards.values():
        if card.alive():
            card.ctl("fault del all")
    for side, host in run.scene.hosts.items():
        host.wait_ready(8)
    difference = tables_agree(run.scene, 8)
    if difference:
        raise NetError("tables differ: " + difference)


def scene_run(cases, world, name, events, seed, standby, refusals):
    """One scene: start, traffic, events, end, account."""
    scene = Scene(world, "standby", rules(), inner=INNER, seed=seed, shape="small", extra={})
    if not standby:
        for h in scene.hosts.values():
            del h.config["interface"][0]["standby"]
            h.ns.ip("link", "set", "eth1", "down")  # or the host's own stack would answer ARP there
    run = Run(scene, random.Random(seed), standby, refusals=refusals)
    try:
        if not cases.run(f"{name}: start", begin, run):
            return None
        seconds = events * 6 + 60
        flow = Flow(scene, seconds, RATE)
        time.sleep(0.5)
        good = 0
        for n in range(1, events + 1):
            time.sleep(APART)
            h = one_event(run, n)
            good += not h.problem
            if h.problem or n <= 20 or n % 50 == 0:
                say(f"        event {n:4} at {h.side}: {h.name} {h.detail}: {(h.end - h.begin) / 1e9:.2f} s"
                    + (f"  PROBLEM: {h.problem}" if h.problem else ""))
        time.sleep(0.5)
        result = flow.stop()
        cases.run(f"{name}: {events} events end calm", equal, good, events, "events that ended with equal tables")
        account(cases, name, run, result)
        cases.run(f"{name}: nothing left in use", at_rest, run)
        return run
    finally:
        scene.close()


def begin(run):
    run.scene.start()
    run.pair = run.scene.connect("lan", esn=True)
    run.scene.wait_place(*run.pair, "card")


def at_rest(run):
    run.unfill()
    run.forget(run.pair)
    try:
        wait_for("everything empty", lambda: not empty_at_rest(run.scene), 5)
    except NetError:
        expect(False, empty_at_rest(run.scene))


# --- the accounts ---

def account(cases, name, run, result):
    """Oracle, delivery, losses and times."""
    log = WireLog()
    counters = {s: run.scene.hosts[s].counters() for s in "ab"}
    for s in "ab":  # what the kernel could not put into the TAP's queue never reached the daemon
        link = run.scene.hosts[s].ns.run("ip", "-j", "-s", "link", "show", "ipsec0")
        counters[s]["drops"]["kernel: queue of the TAP"] = json.loads(link)[0]["stats64"]["tx"]["dropped"]
    rows = {s: run.rows(s) for s in "ab"}
    for sa in run.scene.sas[2:]:
        sa.first = None  # a number may be lost in a card before the first packet that the wire shows
    report = run.scene.judge(log.on_inner)
    with open(run.scene.world.path(f"account-{'standby' if run.standby else 'alone'}.json"), "w") as f:
        json.dump({"counters": counters, "sas": rows, "happenings": [h.__dict__ for h in run.happenings], "wire": log.wire,
                   "report": report}, f, indent=1)
    cases.run(f"{name}: the oracle", lambda: expect(report["ok"], complain(report)) or f"{report['frames']} frames")
    for side in "ab":
        cases.run(f"{name}: from {side}: nothing twice", nothing_twice, log, side, result)
        cases.run(f"{name}: from {side}: every loss has its reason", losses, run, log, side, result, counters, rows)
        cases.run(f"{name}: from {side}: back in time", times, run, side, result)


def nothing_twice(log, side, result):
    delivered = [n for n, _ in result[side][1]]
    equal(len(delivered) - len(set(delivered)), 0, "datagrams delivered twice")
    equal(log.twice[side], 0, "datagrams on the wire twice")
    stray = set(delivered) - set(log.wire[side])
    equal(len(stray), 0, "datagrams delivered that were never on the wire")
    return f"{len(delivered)} delivered"


def losses(run, log, side, result, counters, rows):
    """sent = on the wire + lost before it; on the wire = delivered + lost behind it."""
    other = "b" if side == "a" else "a"
    sent, delivered = [n for n, _ in result[side][0]], {n for n, _ in result[side][1]}
    wire, at = log.wire[side], dict(result[side][0])
    before, behind = [n for n in sent if n not in wire], [n for n in wire if n not in delivered]
    out_drops = total_drops(rows[side], "out", counters[side], OUT_DROPS)
    in_drops = total_drops(rows[other], "in", counters[other], IN_DROPS)
    unserved = [n for n in behind if in_window(run, wire[n])]
    figures = (f"sent {len(sent)}, on the wire {len(wire)}, delivered {len(delivered)}; before the wire {len(before)}, counted {out_drops}; "
               f"behind the wire {len(behind)}, of these while the port was unserved {len(unserved)}, counted {in_drops}")
    run.figures.append(f"from {side}: {figures}")
    expect(len(before) <= sum(out_drops.values()), f"{len(before)} never reached the wire, fewer were counted as dropped; {figures}")
    calm = [n for n in before if not in_window(run, at[n])]
    expect(not calm, f"{len(calm)} lost before the wire while nothing happened (first {calm[:3]}); {figures}")
    expect(len(behind) - len(unserved) <= sum(in_drops.values()),
           f"{len(behind) - len(unserved)} lost behind the wire while nothing happened; {figures}")
    return figures


OUT_DROPS = ("no wire", "no transmit buffer", "lost in the card", "held for an SA that did not come", "no next hop", "kernel: queue of the TAP")
IN_DROPS = ("no SA with this SPI", "the host's queue is full", "malformed packet", "arrived in clear where policy protects")


def total_drops(rows, direction, counters, texts):
    """Drops by text: those of the SAs of a direction and those of the interface."""
    out = {}
    for r in rows:
        if r["dir"] == direction:
            for text, n in r["drops"].items():
                out[text] = out.get(text, 0) + n
    for text in texts:
        n = counters["drops"].get(text, 0)
        if n:
            out["interface: " + text] = n
    return out


def in_window(run, moment):
    """Was an event under way that may lose packets? (The wire's times are made monotonic by WireLog.)"""
    return any(h.may_lose and h.begin - 60_000_000 <= moment <= h.end + 200_000_000 for h in run.happenings)


def times(run, side, result):
    """Traffic is back within 200 ms of the event (standby), or of the card's return (none).

    The simulation holds that limit on its clock. Here cores are shared: what took longer is named, with
    the time for which this machine kept even the senders from running, and ten times the limit is a
    failure whatever the machine did.
    """
    runs = outages(result[side][0], {n for n, _ in result[side][1]})
    clocks = [[t for _, t in result[s][0]] for s in "ab"]
    named, failed, worst = [], [], 0.0
    for h in run.happenings:
        since = h.back if h.back and not run.standby else h.begin
        for a, b in runs:
            if not h.begin - 60_000_000 <= a <= h.end + 50_000_000:
                continue
            back = (b - max(a, since)) / 1e6
            worst = max(worst, back)
            if back > 200:
                stood = max(stalls(c, a - 50_000_000, b + 50_000_000) for c in clocks)
                words = f"event {h.number} {h.name} {h.detail} at {h.side}: {back:.0f} ms, of which the machine stood still {stood:.0f}"
                (failed if back > 10 * 200 else named).append(words)
    detected = [h.detected * 1000 for h in run.happenings if h.detected >= 0]
    figures = f"longest outage {worst:.0f} ms; detection {max(detected, default=0):.0f} ms at most"
    if named:
        figures += f"; longer than 200 ms: {'; '.join(named)}"
    run.figures.append(f"from {side}: {figures}")
    expect(not failed, f"{figures}; late: {'; '.join(failed[:6])} ({len(failed)})")
    return figures


def stalls(clock, begin, end):
    """Milliseconds between two moments in which a sender that is due every half millisecond did not run."""
    i, j = bisect.bisect_left(clock, begin), bisect.bisect_right(clock, end)
    steps = [y - x for x, y in zip(clock[max(i - 1, 0):j], clock[max(i, 1):j + 1])]
    return sum(x for x in steps if x > 5_000_000) / 1e6


def evidence(cases, runs, args):
    """Keeps the figures of a long run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    path = os.path.join(ROOT, "docs", "evidence", "fallback.md")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as f:
        f.write(f"\n## {time.strftime('%Y-%m-%d')}, commit {commit}\n\nCommand: `tests/net/run fallback --events {args.events} "
                f"--seed {args.seed} --evidence`: {cases.passed} cases passed, {cases.failed} failed.\n\n")
        for name, run in runs:
            kinds = {}
            for h in run.happenings if run else ():
                kinds[h.name] = kinds.get(h.name, 0) + 1
            f.write(f"- {name}: " + ", ".join(f"{k} {n}" for k, n in sorted(kinds.items())) + "\n")
            if run:
                f.write(f"- {name}: (command, status) refused: {len(run.refused)} different\n")
                f.write("".join(f"- {name}: {line}\n" for line in run.figures))


def run(cases, world, args):
    first = args.events // 2
    runs, refusals = [], {}
    for name, events, seed, standby in (("with standby", args.events - first, args.seed, True),
                                        ("without standby", first, args.seed + 1000, False)):
        if args.kind and args.kind not in name:
            continue
        runs.append((name, scene_run(cases, world, name, events, seed, standby, refusals)))
    tried = set().union(*(r.refused for _, r in runs if r))
    say(f"        refused so far: {len(tried)} of {len(statuses()) * len(set(COMMANDS) | set(AT_BRING_UP))} pairs of command and status")
    if args.evidence:
        evidence(cases, runs, args)
