"""Two hosts, a and b, that share policies; SAs made by hand with keys from a seed; and the oracle."""
import ipaddress
import json
import os
import random
import subprocess
import sys
import time

from oracle import capture, judge
from oracle.esp import SUITES, Sa
from .control import key_memfd
from .hosts import Capture, Card, Host
from .world import NetError, end, release, wait_for

TRAFFIC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "traffic.py")
OUTER = {"a": ("10.0.0.1", "2001:db8::1"), "b": ("10.0.0.2", "2001:db8::2")}


def mirrored(policies):
    """The peer's list: local and remote change sides."""
    turn = {"local": "remote", "remote": "local", "local-port": "remote-port", "remote-port": "local-port"}
    return [{turn.get(k, k): v for k, v in p.items()} for p in policies]


def tunnels(side):
    """t4 and t6: between the hosts' outer addresses."""
    other = "b" if side == "a" else "a"
    return [{"name": f"t{f}", "local": OUTER[side][i], "remote": OUTER[other][i]} for i, f in enumerate((4, 6))]


class Scene:
    """The set-up. kind: "card" (two cards, one link), "software" (two plain interfaces, one wire),
    "mixed" (a card and a plain interface), "standby" (a card and a plain interface at each host, one
    switch)."""

    def __init__(self, world, kind, policies, shape="reference", addresses=None, inner=(), after_stop="discard", seed=1,
                 extra=None):
        self.world, self.kind, self.policies = world, kind, policies
        self.random = random.Random(seed)
        self.sas, self.next_spi = [], 0x1000 + self.random.randrange(1 << 20) * 256
        self.captures, self.cards, self.hosts = [], {}, {}
        self.inner, self.shape, self.serial = inner, shape, 0
        addresses = addresses or {s: [OUTER[s][0] + "/16", OUTER[s][1] + "/64"] for s in "ab"}
        self.addresses = addresses
        self.spaces = {s: world.space(f"{s}{kind[0]}") for s in "ab"}
        getattr(self, "build_" + kind)()
        for side in "ab":
            for pair in inner:
                self.spaces[side].ip("addr", "add", pair["ab".index(side)], "dev", "lo", check=False)
            self.hosts[side] = Host(world, f"{kind}-{side}", self.spaces[side], self.config(side, after_stop, extra or {}))
        self.a, self.b = self.hosts["a"], self.hosts["b"]

    # --- wires ---

    def build_card(self):
        # A card that is started again goes on in its capture; another scene has one of its own.
        self.world.links = getattr(self.world, "links", 0) + 1
        link = self.world.path(f"link{self.world.links}")
        self.link_file = link + ".pcapng"
        self.card_of("a", f"link:{link},pcap={self.link_file}")
        self.card_of("b", f"link:{link}")
        self.ports = {s: {"port": "c0"} for s in "ab"}

    def build_software(self):
        self.world.wire(self.spaces["a"], "eth1", self.spaces["b"], "eth1")
        self.ports = {s: {"port": "if:eth1"} for s in "ab"}

    def build_mixed(self):
        ca = self.world.space("cm")
        self.world.wire(ca, "wire", self.spaces["b"], "eth1")
        self.card_of("a", "if:wire", ca)
        self.ports = {"a": {"port": "c0"}, "b": {"port": "if:eth1"}}

    def build_standby(self):
        self.switch = sw = self.world.space("sw")
        sw.ip("link", "add", "br0", "type", "bridge")
        sw.ip("link", "set", "br0", "up")
        for side in "ab":
            cs = self.world.space("c" + side)
            self.world.wire(cs, "wire", sw, f"card{side}")
            self.world.wire(self.spaces[side], "eth1", sw, f"eth{side}")
            for port in (f"card{side}", f"eth{side}"):
                sw.ip("link", "set", port, "master", "br0")
            self.card_of(side, "if:wire", cs)
        self.ports = {s: {"port": "c0", "standby": "if:eth1"} for s in "ab"}

    def card_of(self, side, port, ns=None):
        shape = self.shape if isinstance(self.shape, str) else self.shape.get(side, "reference")
        self.cards[side] = Card(self.world, f"card-{side}", port, shape, ns)

    def config(self, side, after_stop, extra):
        rules = self.policies if side == "a" else mirrored(self.policies)
        c = {"testing": True, "log": {"level": "informative", "directory": "none"}}
        if side in self.cards:
            c["card"] = [{"name": "c0", "at": "unix:" + self.cards[side].socket}]
        c["interface"] = [{"name": "ipsec0", **self.ports[side], "address": self.addresses[side], "after-stop": after_stop}]
        c["policy"], c["tunnel"] = rules, tunnels(side)
        return {**c, **extra}

    def start(self):
        """Captures, cards, daemons; returns when both sides are ready and addresses are settled."""
        self.start_captures()
        for c in self.cards.values():
            c.start()
        for h in self.hosts.values():
            h.start()
        for side, h in self.hosts.items():
            if any(":" in x for x in self.addresses[side]):
                h.ns.settled("ipsec0")

    def start_captures(self):
        take = lambda ns, port, way: self.captures.append(Capture(self.world, ns, port, f"{self.kind}-{port}", way))
        if self.kind == "software":
            take(self.spaces["a"], "eth1", "inout")
        elif self.kind == "mixed":
            take(self.cards["a"].ns, "wire", "inout")
        elif self.kind == "standby":
            for port in ("carda", "etha", "cardb", "ethb"):
                take(self.switch, port, "in")

    def stop(self):
        for h in self.hosts.values():
            if h.program:
                h.stop()
        for c in self.cards.values():
            if c.program:
                end(c.program)

    def close(self):
        """The end of the scene, judged or not: its programs, captures and namespaces."""
        self.stop()
        for c in self.captures:
            end(c.program)
        release(self.world)

    # --- SAs ---

    def new_sa(self, policy, src, dst, suite, mode, encap, esn):
        """An oracle's Sa with fresh keys and an SPI that no other SA of this scene has."""
        _, encr, integ, salt, _, _, _ = SUITES[suite]
        self.next_spi += 1
        rnd = self.random.randbytes
        return Sa(spi=self.next_spi, src=ipaddress.ip_address(src).packed, dst=ipaddress.ip_address(dst).packed, suite=suite,
                  encr=rnd(encr), integ=rnd(integ), salt=rnd(salt), iv_key=rnd(16), esn=esn, mode=mode, encap=encap,
                  sport=4500 if encap == "udp" else 0, dport=4500 if encap == "udp" else 0, policy=policy,
                  name=f"{policy} {self.next_spi:#x}")

    def add(self, host, direction, sa, **more):
        """sa.add on one host; keys go in a memfd."""
        fd = key_memfd(sa.encr, sa.integ, sa.salt, sa.iv_key)
        params = {"dir": direction, "policy": sa.policy, "spi": sa.spi, "src": str(ipaddress.ip_address(sa.src)),
                  "dst": str(ipaddress.ip_address(sa.dst)), "mode": sa.mode, "encap": sa.encap, "sport": sa.sport,
                  "dport": sa.dport, "suite": sa.suite, "esn": sa.esn, "window": 1024, **more}
        try:
            return host.call("sa.add", params, [fd])
        finally:
            os.close(fd)

    def connect(self, policy, suite="ESP_AES128_GCM16", mode="tunnel", encap="none", esn=False, family=4, ends=None, **more):
        """A pair of SAs between a and b under a policy: inbound first, so that nothing is lost. Returns (ab, ba)."""
        i = 0 if family == 4 else 1
        end_a, end_b = ends or (OUTER["a"][i], OUTER["b"][i])
        ab = self.new_sa(policy, end_a, end_b, suite, mode, encap, esn)
        ba = self.new_sa(policy, end_b, end_a, suite, mode, encap, esn)
        self.sas += [ab, ba]
        self.add(self.b, "in", ab, **more)
        self.add(self.a, "in", ba, **more)
        self.add(self.a, "out", ab, **more)
        self.add(self.b, "out", ba, **more)
        return ab, ba

    def disconnect(self, ab, ba, linger=0.0):
        """Deletes a pair: outbound first; inbound after a while, since packets may be on their way."""
        for host, sa in ((self.a, ab), (self.b, ba)):
            host.call("sa.delete", {"spi": sa.spi, "dir": "out"})
        time.sleep(linger)
        for host, sa in ((self.a, ba), (self.b, ab)):
            host.call("sa.delete", {"spi": sa.spi, "dir": "in"})

    def four(self, ab, ba):
        """The four reports of a pair: a out, b in, b out, a in."""
        return [self.a.sa(ab.spi, "out"), self.b.sa(ab.spi, "in"), self.b.sa(ba.spi, "out"), self.a.sa(ba.spi, "in")]

    def wait_place(self, ab, ba, place, seconds=5):
        """Waits until all four directions that can be in this place are there."""
        def there():
            rows = self.four(ab, ba)
            return all(r and r["place"] == self.expected(r, place, n) for n, r in enumerate(rows)) and rows
        try:
            return wait_for(f"place {place}", there, seconds)
        except NetError:
            rows = [f"{r['dir']} {r['place']}: {r['reason']['text']}" if r else "absent" for r in self.four(ab, ba)]
            raise NetError(f"not in place {place}: " + "; ".join(rows)) from None

    def expected(self, row, place, n):
        side = "abba"[n]
        return "software" if side not in self.cards else place

    # --- traffic ---

    def tool(self, side, *words, stdout=None):
        self.serial += 1
        return self.world.start([sys.executable, TRAFFIC, *words], self.spaces[side], f"tool-{self.serial}.log",
                                stdout=stdout, **({"text": True} if stdout else {}))

    def udp(self, side, src, dst, count=200, rate=2000, port=7000, size=100, first=1):
        """Serial numbers one way; returns (log of sent, log of received, sent count)."""
        other = "b" if side == "a" else "a"
        sent, received = self.world.path(f"sent-{self.serial}"), self.world.path(f"received-{self.serial}")
        r = self.tool(other, "udp-recv", "--src", dst, "--port", str(port), "--log", received, stdout=subprocess.PIPE)
        r.stdout.readline()
        s = self.tool(side, "udp-send", "--src", src, "--dst", dst, "--port", str(port), "--count", str(count),
                      "--rate", str(rate), "--size", str(size), "--first", str(first), "--log", sent, stdout=subprocess.PIPE)
        s.wait(count / rate + 20)
        r.terminate()
        r.wait(10)
        return sent, received

    def tcp(self, side, src, dst, megabytes, port=7100, wait=60):
        """N MB each way over one connection; returns the figures of the client."""
        other = "b" if side == "a" else "a"
        server = self.tool(other, "tcp-serve", "--src", dst, "--port", str(port), stdout=subprocess.PIPE)
        server.stdout.readline()
        try:
            client = self.tool(side, "tcp-get", "--src", src, "--dst", dst, "--port", str(port), "--count",
                               str(megabytes * 1_000_000), "--wait", str(wait), stdout=subprocess.PIPE)
            out, _ = client.communicate(timeout=wait * 2 + megabytes)
            if client.returncode:
                raise NetError(f"TCP of {megabytes} MB: {out.strip()} {open(client.log).read().strip()[-200:]}")
            return json.loads(out)
        finally:
            end(server, 1)

    # --- the oracle ---

    def policies_for_oracle(self):
        """Both hosts' lists, with their networks."""
        hosts = []
        for side in "ab":
            rules = [oracle_rule(p) for p in self.hosts[side].config["policy"]]
            nets = [x.split("/")[0] for x in self.addresses[side]] + [pair["ab".index(side)].split("/")[0] for pair in self.inner]
            hosts.append(judge.host_from({"name": side, "nets": nets, "policies": rules}))
        return hosts

    def frames(self):
        """Everything that was on the wire so far, in order."""
        files = [c.stop() for c in self.captures]
        if self.kind == "card":
            files = [self.link_file]
        return capture.merge(files) if len(files) > 1 else capture.read(files[0])

    def judge(self, on_inner=None, until=None):
        """Stops the captures and judges all they hold."""
        o = judge.Oracle(self.sas, self.policies_for_oracle(), on_inner)
        for frame in self.frames():
            if until and frame.time > until:
                break
            o.feed(frame)
        return o.report()


PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}


def port_span(value):
    """A configuration's port as (low, high)."""
    if value in (None, "any"):
        return 0, 65535
    low, _, high = str(value).partition("-")
    return int(low), int(high or low)


def oracle_rule(p):
    """A policy of the configuration as the oracle reads it."""
    return {"name": p["name"], "local": p.get("local", "any"), "remote": p.get("remote", "any"), "action": p["action"],
            "proto": PROTOCOLS.get(p.get("protocol"), 0), "local_port": port_span(p.get("local-port")),
            "remote_port": port_span(p.get("remote-port"))}


def complain(report):
    """The oracle's violations in one line, for a failed case."""
    return f"{report['counts']}: " + "; ".join(f"frame {v['frame']}: {v['text']}" for v in report["violations"][:5])
