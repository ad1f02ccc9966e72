"""The oracle: what may be on a wire between hosts that run Sallyport, and what must never be.

It is given the SAs with their keys, and each host's ordered policies; every frame of a capture is
judged. It holds for each SA: no number twice, the first is 1, numbers rise in the order of the
wire, the IV is the contract's function of the number, the ICV is right, pad and headers are as
they must be; and that nothing in clear left that policy protects or discards.
"""
import ipaddress
from dataclasses import dataclass, field

from . import packet as pk
from .esp import BadIcv, Sa

ETH_IP4, ETH_ARP, ETH_IP6, ETH_EAPOL, ETH_LLDP = 0x0800, 0x0806, 0x86dd, 0x888e, 0x88cc
ND, MLD = range(133, 138), (130, 131, 132, 143)
KEEP = 20   # violations of one kind that are kept in words


@dataclass
class Policy:
    """One rule of a host's list. Ports of 0 to 65535 mean any; proto 0 is any."""
    name: str
    local: tuple    # (low, high) addresses as octets, or () for any
    remote: tuple
    action: str     # pass, discard, protect
    proto: int = 0
    local_port: tuple = (0, 65535)
    remote_port: tuple = (0, 65535)

    def matches(self, local, remote, proto, lport, rport):
        return (_inside(local, self.local) and _inside(remote, self.remote)
                and self.proto in (0, proto)
                and self.local_port[0] <= lport <= self.local_port[1]
                and self.remote_port[0] <= rport <= self.remote_port[1])


def _inside(address, span):
    return not span or (len(address) == len(span[0]) and span[0] <= address <= span[1])


def span(text):
    """"10.1.0.0/24", "10.0.0.1" or "any" as a span for Policy."""
    if text in ("any", "", None):
        return ()
    n = ipaddress.ip_network(text, strict=False)
    return n.network_address.packed, n.broadcast_address.packed


@dataclass
class Host:
    """A host on the wire: its own networks (inner ones too) and its policies in order."""
    name: str
    nets: list
    policies: list
    macs: set = field(default_factory=set)

    def is_mine(self, address):
        return any(_inside(address, n) for n in self.nets)

    def action(self, local, remote, proto, lport, rport):
        for p in self.policies:
            if p.matches(local, remote, proto, lport, rport):
                return p.action, p.name
        return "discard", "no policy"


class Oracle:
    """feed() every frame in the order of the wire, then read report().

    on_inner(time, sa, number, inner) is called for each opened packet: inner is an IP packet in
    tunnel mode, and the upper protocol's octets in transport mode.
    """

    def __init__(self, sas, hosts=(), on_inner=None, icv_every=1, ike_ports=(500, 4500)):
        self.sas, self.hosts, self.on_inner = {}, list(hosts), on_inner
        self.icv_every, self.ike_ports = icv_every, ike_ports
        self.macs = set().union(*(h.macs for h in hosts)) if hosts else set()
        self.frames = self.unknown = 0
        self.clear = {}
        self.violations, self.counts = [], {}
        self.fragments = pk.Reassembly()
        for sa in sas:
            self.add_sa(sa)

    def add_sa(self, sa):
        key = (sa.encr, sa.salt)
        if any((s.encr, s.salt) == key for s in self.sas.values()):
            self.wrong("shared-key", 0, f"two SAs have the key of SPI {sa.spi:#x}")
        self.sas[(sa.spi, sa.dst)] = sa

    def wrong(self, kind, index, text):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= KEEP:
            self.violations.append({"kind": kind, "frame": index, "text": text})

    def note(self, what):
        self.clear[what] = self.clear.get(what, 0) + 1

    def feed(self, frame):
        """Judges one frame (capture.Frame)."""
        self.frames += 1
        try:
            _, source, kind, rest = pk.ethernet(frame.data)
            if self.macs and source not in self.macs:
                self.note("from others")
                return
            if not frame.whole:
                self.wrong("truncated", frame.index, "the capture cut this frame")
                return
            if kind in (ETH_IP4, ETH_IP6):
                self.packet(frame, pk.ip(rest))
            elif kind in (ETH_ARP, ETH_EAPOL, ETH_LLDP):
                self.note({ETH_ARP: "ARP", ETH_EAPOL: "EAPOL", ETH_LLDP: "LLDP"}[kind])
            else:
                self.wrong("clear", frame.index, f"EtherType {kind:#06x}")
        except pk.Malformed as why:
            self.wrong("malformed", frame.index, str(why))

    def packet(self, frame, p):
        if p.offset or p.more:
            p = self.fragments.add(p)
            if p is None:
                self.note("fragments")
                return
        if p.proto == pk.ESP:
            self.esp(frame, p, p.payload, None)
        elif p.proto == pk.UDP:
            sport, dport, check, data = pk.udp(p.payload)
            self.udp(frame, p, sport, dport, check, data)
        else:
            self.in_clear(frame, p)

    def udp(self, frame, p, sport, dport, check, data):
        natt = self.ike_ports[-1]
        if natt not in (sport, dport) and not self.spi_of(data, p.dst):
            if sport in self.ike_ports or dport in self.ike_ports:
                self.note("IKE")
            else:
                self.in_clear(frame, p)
        elif data == b"\xff":
            self.note("NAT keep-alive")
        elif data[:4] == b"\0\0\0\0":
            self.note("IKE")
        else:
            if p.version == 6 and check == 0:
                self.wrong("udp-checksum", frame.index, "UDP checksum 0 over IPv6")
            if check and not pk.upper_checksum_ok(p):
                self.wrong("udp-checksum", frame.index, "the outer UDP checksum is wrong")
            self.esp(frame, p, data, (sport, dport))

    def spi_of(self, data, dst):
        """Does this UDP payload start with an SPI that is encapsulated on a port of its own?"""
        sa = self.sas.get((int.from_bytes(data[:4], "big"), dst))
        return sa is not None and sa.encap == "udp"

    # --- ESP ---

    def esp(self, frame, p, data, ports):
        sa = self.sas.get((int.from_bytes(data[:4], "big"), p.dst))
        if sa is None:
            self.unknown += 1
            self.wrong("unknown-sa", frame.index, f"ESP with SPI 0x{data[:4].hex()} that no SA has")
            return
        if len(data) < 8 + sa.iv_len + sa.icv_len:
            self.wrong("malformed", frame.index, f"ESP of {len(data)} octets")
            return
        self.outer(frame, p, sa, ports)
        number = sa.number(int.from_bytes(data[4:8], "big"))
        self.numbers(frame, sa, number)
        if data[8:8 + sa.iv_len] != sa.iv(number):
            self.wrong("iv", frame.index, f"{sa.name}: number {number} has IV {data[8:8 + sa.iv_len].hex()}")
        if sa.packets % self.icv_every == 0:
            self.inside(frame, p, sa, number, data)

    def numbers(self, frame, sa, number):
        if not sa.packets:
            sa.seen_first = number
            if sa.first is not None and number != sa.first:
                self.wrong("first", frame.index, f"{sa.name}: the first number is {number}, not {sa.first}")
        if number == 0:
            self.wrong("first", frame.index, f"{sa.name}: number 0")
        if any(a <= number <= b for a, b in reversed(sa.runs)):
            self.wrong("repeat", frame.index, f"{sa.name}: number {number} a second time")
        elif number < sa.last:
            self.wrong("order", frame.index, f"{sa.name}: number {number} after {sa.last}")
        if sa.runs and number == sa.runs[-1][1] + 1:
            sa.runs[-1][1] = number
        else:
            sa.runs.append([number, number])
        sa.packets += 1
        sa.last = max(sa.last, number)

    def outer(self, frame, p, sa, ports):
        if not p.header_ok:
            self.wrong("outer-checksum", frame.index, f"{sa.name}: IPv4 header checksum")
        if (ports is not None) != (sa.encap == "udp"):
            self.wrong("encapsulation", frame.index, f"{sa.name}: {'UDP' if ports else 'plain'}, the SA says {sa.encap}")
        elif ports and ports != (sa.sport or 4500, sa.dport or 4500):
            self.wrong("encapsulation", frame.index, f"{sa.name}: ports {ports}")
        if p.src != sa.src:
            self.wrong("outer-source", frame.index, f"{sa.name}: from {ipaddress.ip_address(p.src)}")

    def inside(self, frame, p, sa, number, data):
        try:
            clear = sa.open(data, number)
        except BadIcv:
            self.wrong("icv", frame.index, f"{sa.name}: the ICV of number {number} is wrong")
            return
        sa.icv_checked += 1
        pad, next_header = clear[-2], clear[-1]
        if pad + 2 > len(clear) or clear[-2 - pad:-2] != bytes(range(1, pad + 1)):
            self.wrong("pad", frame.index, f"{sa.name}: pad of number {number}")
            return
        inner = clear[:len(clear) - 2 - pad]
        sa.octets += len(inner)
        if next_header == pk.NONE:
            self.note("dummy packets")
            return
        self.inner(frame, p, sa, next_header, inner)
        if self.on_inner:
            self.on_inner(frame.time, sa, number, inner)

    def inner(self, frame, p, sa, next_header, inner):
        if sa.mode == "tunnel":
            if next_header not in (pk.IPIP, pk.IPV6):
                self.wrong("mode", frame.index, f"{sa.name}: next header {next_header} in tunnel mode")
                return
            q = pk.ip(inner)
            if not q.header_ok:
                self.wrong("inner-checksum", frame.index, f"{sa.name}: inner IPv4 header checksum")
        else:
            q = pk.Ip(p.version, p.src, p.dst, next_header, inner, 0, 0, 0, False, 0, False, True, next_header)
        if not pk.upper_checksum_ok(q):
            self.wrong("inner-checksum", frame.index, f"{sa.name}: checksum inside (protocol {q.proto})")
        self.selectors(frame, sa, q)

    def selectors(self, frame, sa, q):
        for h in self.hosts:
            named = [x for x in h.policies if x.name == sa.policy]
            if not named or not h.is_mine(q.src):
                continue
            lport, rport = ports_of(q)
            action, name = h.action(q.src, q.dst, q.proto, lport, rport)
            if (action, name) != ("protect", sa.policy):
                self.wrong("selector", frame.index, f"{sa.name}: a packet of {name} ({action}) under policy {sa.policy}")

    # --- everything that is not ESP ---

    def in_clear(self, frame, p):
        what = self.bypass(p)
        if what:
            self.note(what)
            return
        lport, rport = ports_of(p)
        concerned = False
        for h in self.hosts:
            if h.is_mine(p.src):
                verdict = h.action(p.src, p.dst, p.proto, lport, rport)
            elif h.is_mine(p.dst) and not self.macs:
                verdict = h.action(p.dst, p.src, p.proto, rport, lport)
            else:
                continue
            concerned = True
            if verdict[0] != "pass":
                self.wrong("clear", frame.index, f"{describe(p)} in clear; {h.name} has {verdict[0]} ({verdict[1]})")
                return
        if not concerned:
            self.wrong("clear", frame.index, f"{describe(p)} in clear, of nobody")
            return
        self.note("passed by policy")

    def bypass(self, p):
        """The built-in bypass that lets this packet leave in clear, or None."""
        if p.proto == pk.IGMP:
            return "IGMP"
        if p.proto == pk.ICMP6 and p.payload and p.payload[0] in ND:
            return "ND"
        if p.proto == pk.ICMP6 and p.payload and p.payload[0] in MLD:
            return "MLD"
        if p.proto in (pk.ICMP, pk.ICMP6) and self.about_esp(p):
            return "ICMP about ESP"
        if p.proto == pk.UDP:
            sport, dport, _, _ = pk.udp(p.payload)
            if {sport, dport} <= {67, 68} and p.version == 4:
                return "DHCP"
            if {sport, dport} & {546, 547} and p.version == 6:
                return "DHCP"
        return None

    def about_esp(self, p):
        """Is it an ICMP error that quotes a packet under one of the SAs?"""
        if len(p.payload) < 8 or p.payload[0] not in ((3, 4, 11, 12) if p.proto == pk.ICMP else (1, 2, 3, 4)):
            return False
        quoted = p.payload[8:]
        for sa in self.sas.values():
            if sa.spi.to_bytes(4, "big") in quoted[20:64]:
                return True
        return False

    def report(self):
        """Figures and violations, fit for JSON."""
        rows = [{"spi": f"{s.spi:#010x}", "name": s.name, "packets": s.packets, "octets": s.octets, "first": s.seen_first,
                 "last": s.last, "missing": s.missing(), "icv_checked": s.icv_checked} for s in self.sas.values()]
        return {"ok": not self.counts, "frames": self.frames, "violations": self.violations, "counts": self.counts,
                "icv": "each" if self.icv_every == 1 else f"one in {self.icv_every}", "clear": self.clear, "sas": rows}


def ports_of(p):
    """Ports as a policy sees them; ICMP's type and code stand in the first."""
    if p.proto in (pk.TCP, pk.UDP) and len(p.payload) >= 4 and not p.offset:
        return p.payload[0] << 8 | p.payload[1], p.payload[2] << 8 | p.payload[3]
    if p.proto in (pk.ICMP, pk.ICMP6) and len(p.payload) >= 2:
        return p.payload[0] << 8 | p.payload[1], 0
    return 0, 0


def describe(p):
    lport, rport = ports_of(p)
    return f"{ipaddress.ip_address(p.src)}:{lport} to {ipaddress.ip_address(p.dst)}:{rport} protocol {p.proto}"


def sa_from(row):
    """An Sa from its JSON form (keys in hex, addresses as text)."""
    keep = {k: v for k, v in row.items() if k in Sa.__dataclass_fields__ and k not in ("packets", "octets", "runs", "last")}
    for k in ("encr", "integ", "salt", "iv_key"):
        keep[k] = bytes.fromhex(row.get(k, ""))
    for k in ("src", "dst"):
        keep[k] = ipaddress.ip_address(row[k]).packed
    keep.setdefault("name", f"{row['spi']:#x}")
    return Sa(**keep)


def host_from(row):
    """A Host from its JSON form."""
    rules = [Policy(p["name"], span(p.get("local", "any")), span(p.get("remote", "any")), p["action"], p.get("proto", 0),
                    tuple(p.get("local_port", (0, 65535))), tuple(p.get("remote_port", (0, 65535)))) for p in row["policies"]]
    return Host(row["name"], [span(n) for n in row["nets"]], rules,
                {bytes.fromhex(m.replace(":", "")) for m in row.get("macs", [])})
