"""The host's side of the interface: acquire, sizes of paths, DAD, SLAAC, a DHCP client."""
import os
import sys
import threading

from pylib.cases import equal, expect
from .control import Control
from .hosts import Host
from .records import read_log
from .scene import OUTER, Scene, complain
from .world import end, release, wait_for

INNER = [("10.1.1.1/32", "10.2.1.1/32"), ("fd01::1/128", "fd02::1/128")]


def rules():
    more = {"action": "protect", "transforms": ["ESP_AES128_GCM16/28800"], "esn": False}
    return [{"name": "four", "local": "10.1.1.0/24", "remote": "10.2.1.0/24", "tunnel": "t4", **more},
            {"name": "six", "local": "fd01::/64", "remote": "fd02::/64", "tunnel": "t6", **more}]


def acquire(world, kind):
    """Datagrams to a policy without an SA: one event, and each datagram arrives when the SA stands."""
    scene = Scene(world, kind, rules(), inner=INNER)
    try:
        scene.start()
        watch = Control(os.path.join(scene.a.rundir, "control.sock"))
        watch.call("acquire.subscribe")
        result = {}

        def send():
            result["logs"] = scene.udp("a", "10.1.1.1", "10.2.1.1", count=5, rate=100)
        sender = threading.Thread(target=send)
        sender.start()
        event = watch.event(5)
        equal((event.get("topic"), event.get("policy"), event.get("peer")), ("acquire", "four", OUTER["b"][0]), "the event")
        scene.connect("four")
        sender.join(30)
        sent, received = (read_log(x) for x in result["logs"])
        equal([n for n, _ in received], [n for n, _ in sent], "datagrams that arrived, in order")
        equal(scene.a.counters()["acquires"], 1, "acquires")
        scene.stop()
        report = scene.judge()
        expect(report["ok"], complain(report))
        return f"{len(sent)} held datagrams arrived in order"
    finally:
        scene.close()


def narrow_path(world, family):
    """a and b with 1,500 each, and 1,300 between two routers in the middle: TCP learns it."""
    spaces = {n: world.space(n) for n in ("an", "r1", "r2", "bn")}
    world.wire(spaces["an"], "eth1", spaces["r1"], "west")
    world.wire(spaces["r1"], "east", spaces["r2"], "west", mtu=1300)
    world.wire(spaces["r2"], "east", spaces["bn"], "eth1")
    ends = {"a": ("10.8.0.1", "2001:db8:8::1"), "b": ("10.9.0.1", "2001:db8:9::1")}
    routers(spaces)
    hosts = {}
    try:
        for side, other in (("a", "b"), ("b", "a")):
            ns = spaces[side + "n"]
            lo = INNER[0 if family == 4 else 1]["ab".index(side)]
            ns.ip("addr", "add", lo, "dev", "lo")
            hosts[side] = Host(world, "path-" + side, ns, path_config(side, other, ends))
            hosts[side].start()
            ns.settled("ipsec0")
        scene = joined(world, hosts, spaces)
        name = "four" if family == 4 else "six"
        i = 0 if family == 4 else 1
        scene.connect(name, family=family, ends=(ends["a"][i], ends["b"][i]))
        src, dst = (INNER[i][k].split("/")[0] for k in (0, 1))
        figures = scene.tcp("a", src, dst, 10, wait=40)
        expect(figures["there"] and figures["back"], f"digests {figures}")
        rows = [s for s in hosts["a"].sas() if s["dir"] == "out"]
        expect(rows[0]["pmtu"] == 1300, f"the SA's path MTU is {rows[0]['pmtu']}")
        return f"{figures['there_mbit']:.0f} and {figures['back_mbit']:.0f} Mbit/s, path MTU {rows[0]['pmtu']}"
    finally:
        for h in hosts.values():
            if h.program:
                h.stop()
        release(world)


def routers(spaces):
    """Addresses and routes of the two routers in the middle."""
    rows = [("r1", "west", "10.8.0.254/24", "2001:db8:8::fe/64"), ("r1", "east", "10.7.0.1/24", "2001:db8:7::1/64"),
            ("r2", "west", "10.7.0.2/24", "2001:db8:7::2/64"), ("r2", "east", "10.9.0.254/24", "2001:db8:9::fe/64")]
    for r, dev, four, six in rows:
        ns = spaces[r]
        ns.sysctl(f"net.ipv6.conf.{dev}.disable_ipv6", 0)
        ns.ip("addr", "add", four, "dev", dev)
        ns.ip("addr", "add", six, "dev", dev, "nodad")
    for r in ("r1", "r2"):
        spaces[r].sysctl("net.ipv4.ip_forward", 1)
        spaces[r].sysctl("net.ipv6.conf.all.forwarding", 1)
    for ns, net, via in (("r1", "10.9.0.0/24", "10.7.0.2"), ("r1", "2001:db8:9::/64", "2001:db8:7::2"),
                         ("r2", "10.8.0.0/24", "10.7.0.1"), ("r2", "2001:db8:8::/64", "2001:db8:7::1")):
        spaces[ns].ip("route", "add", net, "via", via)


def path_config(side, other, ends):
    gateway = {"a": ["10.8.0.254", "2001:db8:8::fe"], "b": ["10.9.0.254", "2001:db8:9::fe"]}[side]
    policies = rules()
    if side == "b":
        from .scene import mirrored
        policies = mirrored(policies)
    return {"testing": True, "log": {"level": "informative", "directory": "none"},
            "interface": [{"name": "ipsec0", "port": "if:eth1", "address": [ends[side][0] + "/24", ends[side][1] + "/64"],
                           "gateway": gateway}],
            "policy": policies,
            "tunnel": [{"name": f"t{f}", "local": ends[side][i], "remote": ends[other][i]} for i, f in enumerate((4, 6))]}


def joined(world, hosts, spaces):
    """A scene's tools over hosts that were made by hand."""
    import random
    scene = Scene.__new__(Scene)
    scene.world, scene.kind, scene.random, scene.serial = world, "path", random.Random(5), 0
    scene.sas, scene.next_spi, scene.captures, scene.cards = [], 0x5000, [], {}
    scene.hosts, scene.a, scene.b = hosts, hosts["a"], hosts["b"]
    scene.spaces = {"a": spaces["an"], "b": spaces["bn"]}
    return scene


# --- address configuration under a configuration that discards everything ---

def alone(world, kind, address=()):
    """One daemon without a policy, and a plain namespace at the other end of its wire."""
    host_ns, peer = world.space("d" + kind[0]), world.space("p" + kind[0])
    config = {"testing": True, "log": {"level": "informative", "directory": "none"}}
    cards = []
    if kind == "card":
        from .hosts import Card
        cs = world.space("k")
        world.wire(cs, "wire", peer, "eth1")
        card = Card(world, "card-d", "if:wire", ns=cs)
        card.start()
        cards.append(card)
        config["card"] = [{"name": "c0", "at": "unix:" + card.socket}]
    else:
        world.wire(host_ns, "wire", peer, "eth1")
    peer.sysctl("net.ipv6.conf.eth1.disable_ipv6", 0)
    interface = {"name": "ipsec0", "port": "c0" if kind == "card" else "if:wire"}
    if address:
        interface["address"] = list(address)
    config["interface"] = [interface]
    host = Host(world, "alone-" + kind, host_ns, config)
    return host, peer, cards


def undo(world, host, cards):
    if host.program:
        host.stop()
    for c in cards:
        end(c.program)
    release(world)


def duplicate_address(world, kind):
    """The peer has the address already: the kernel must learn it through ipsec0."""
    host, peer, cards = alone(world, kind, ["2001:db8::1/64", "2001:db8::77/64"])
    try:
        peer.ip("addr", "add", "2001:db8::77/64", "dev", "eth1", "nodad")
        host.start()

        def found():
            rows = [x for r in host.ns.json("addr", "show", "dev", "ipsec0") for x in r["addr_info"]]
            state = {x["local"]: x for x in rows}
            return state if not any(x.get("tentative") and not x.get("dadfailed") for x in rows) and "2001:db8::1" in state else None
        state = wait_for("DAD", found, 8)
        expect("2001:db8::77" not in state or state["2001:db8::77"].get("dadfailed"), "the address in use was not noticed")
        expect(not state["2001:db8::1"].get("dadfailed"), "a free address failed DAD")
    finally:
        undo(world, host, cards)


RA_SENDER = """
import socket, struct, sys, time
from scapy.all import Ether, IPv6, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, sendp, get_if_hwaddr
mac = get_if_hwaddr('eth1')
ra = (Ether(src=mac, dst='33:33:00:00:00:01') / IPv6(src=sys.argv[1], dst='ff02::1', hlim=255) / ICMPv6ND_RA(routerlifetime=600)
      / ICMPv6NDOptSrcLLAddr(lladdr=mac) / ICMPv6NDOptPrefixInfo(prefix='2001:db8:5::', prefixlen=64, L=1, A=1,
      validlifetime=600, preferredlifetime=600))
for _ in range(40):
    sendp(ra, iface='eth1', verbose=0)
    time.sleep(0.25)
"""


def slaac(world, kind):
    """A router advertises a prefix: ipsec0 takes an address and a default route from it."""
    host, peer, cards = alone(world, kind)
    sender = None
    try:
        host.start()
        for key in ("accept_ra", "autoconf"):
            host.ns.sysctl(f"net.ipv6.conf.ipsec0.{key}", 2 if key == "accept_ra" else 1)
        link_local = wait_for("the router's own address", lambda: next(
            (x["local"] for r in peer.json("addr", "show", "dev", "eth1") for x in r["addr_info"]
             if x["local"].startswith("fe80") and not x.get("tentative")), None), 5)
        sender = world.start(["/usr/bin/python3", "-c", RA_SENDER, link_local], peer, "ra.log")

        def taken():
            return [x["local"] for r in host.ns.json("addr", "show", "dev", "ipsec0") for x in r["addr_info"]
                    if x["local"].startswith("2001:db8:5:") and not x.get("tentative")]
        address = wait_for("an address by SLAAC", taken, 10)[0]
        expect("default" in host.ns.ip("-6", "route"), "no default route")
        return address
    finally:
        if sender:
            end(sender, 1)
        undo(world, host, cards)


# A veth hands over datagrams whose checksum nobody has computed; a DHCP client reads frames and refuses these.
WHOLE_CHECKSUMS = """
import ctypes, fcntl, socket, struct
value = ctypes.create_string_buffer(struct.pack('=II', 0x17, 0))    # ETHTOOL_STXCSUM: off
fcntl.ioctl(socket.socket(), 0x8946, struct.pack('=16sQ', b'eth1', ctypes.addressof(value)) + bytes(8))
"""


def dhcp(world, kind):
    """A DHCPv4 client on ipsec0 gets its lease from a server on the wire."""
    host, peer, cards = alone(world, kind)
    server = None
    try:
        peer.run(sys.executable, "-c", WHOLE_CHECKSUMS)
        peer.ip("addr", "add", "10.77.0.1/24", "dev", "eth1")
        server = world.start(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth1", "--bind-interfaces",
                              "--dhcp-range=10.77.0.50,10.77.0.60,255.255.255.0,1h", "--user=root", "--group=root",
                              f"--dhcp-leasefile={world.path('leases')}", "--pid-file=", "--no-resolv", "--log-facility=-", "--log-dhcp"], peer, "dnsmasq.log")
        host.start()
        out = host.ns.run("sh", "-c", 'exec "$@" 2>&1', "sh", "busybox", "udhcpc", "-i", "ipsec0", "-f", "-q", "-n", "-t", "8", "-T", "1", "-s", "/bin/true", check=False,
                          timeout=20)
        with open(world.path("leases")) as f:
            lease = f.read()
        expect("10.77.0." in lease, f"no lease: {out} {server.poll()} {open(server.log).read()[-300:]}")
        return lease.split()[2]
    finally:
        if server:
            end(server, 1)
        undo(world, host, cards)


def run(cases, world, args):
    for kind in ("card", "software"):
        cases.run(f"the packet that causes an acquire is delivered ({kind})", acquire, world, kind)
    for family in (4, 6):
        cases.run(f"10 MB of TCP over a path of 1,300 octets, IPv{family}", narrow_path, world, family)
    for kind in ("card", "software"):
        cases.run(f"DAD on ipsec0 ({kind})", duplicate_address, world, kind)
        cases.run(f"SLAAC on ipsec0 ({kind})", slaac, world, kind)
        cases.run(f"DHCPv4 on ipsec0 ({kind})", dhcp, world, kind)
