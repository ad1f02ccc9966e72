"""Namespaces, wires and programs of one test run, all removed at its end whatever happens.

Works as root, and as the mapped root of a user namespace (see run --user). Every namespace is
named sp-t<pid>-<name>; what a killed run left behind is removed by the next one.
"""
import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NETNS = "/run/netns"
COMPLAINT = r"ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|Assertion .* failed|stack smashing|free\(\): "


class NetError(Exception):
    """Something of the test's own machinery went wrong; the text says what and shows output."""


def sh(*command, check=True, timeout=20):
    """Runs a command and returns its output; an error carries what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode:
        raise NetError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(what, condition, seconds=10.0, step=0.02):
    """Polls until the condition is true and returns its value; NetError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise NetError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(step)


class World:
    """Owns everything that a run makes."""

    def __init__(self, build="build", keep=False):
        self.build = os.path.join(ROOT, build)
        self.prefix = f"sp-t{os.getpid()}-"
        self.dir = tempfile.mkdtemp(prefix="sallyport-")
        os.chmod(self.dir, 0o755)
        self.keep = keep
        self.spaces, self.programs = [], []
        remove_leftovers()
        atexit.register(self.close)
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: sys.exit(130))

    def path(self, name):
        return os.path.join(self.dir, name)

    def binary(self, name):
        """A program, as it was when this run first used it: a build beside the run does not change it."""
        mine, found = self.path("bin-" + name), os.path.join(self.build, "bin", name)
        if not os.path.exists(mine):
            if not os.path.exists(found):
                raise NetError(f"{os.path.relpath(found, ROOT)} is not built")
            shutil.copy(found, mine)
        return mine

    def space(self, name):
        """A network namespace with its loopback up."""
        ns = Space(self, name)
        self.spaces.append(ns)
        return ns

    def wire(self, a, name_a, b, name_b, mtu=1500):
        """A veth pair between two namespaces, up at both ends, without addresses of its own."""
        sh("ip", "link", "add", name_a, "netns", a.full, "type", "veth", "peer", "name", name_b, "netns", b.full)
        for ns, name in ((a, name_a), (b, name_b)):
            ns.sysctl(f"net.ipv6.conf.{name}.disable_ipv6", 1)
            ns.ip("link", "set", name, "mtu", str(mtu), "up")

    def start(self, command, ns=None, log="program.log", **more):
        """Starts a program, inside a namespace or not; its output goes to a file of the run."""
        if ns:
            command = ns.inside(command)
        with open(self.path(log), "ab") as out:
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=more.pop("stdout", None) or out,
                                 stderr=more.pop("stderr", out), cwd=ROOT, **more)
        p.log = self.path(log)
        self.programs.append(p)
        return p

    def complaints(self):
        """What a sanitizer, or a fatal signal's handler, wrote into any log of the run."""
        out = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(self.path(name), errors="replace") as f:
                    out += [f"{name}: {line.strip()[:200]}" for line in f if re.search(COMPLAINT, line)]
        return out

    def close(self):
        """Ends the programs this run started and removes its namespaces and files."""
        for p in reversed(self.programs):
            end(p)
        self.programs = []
        for ns in self.spaces:
            sh("ip", "netns", "del", ns.full, check=False)
        self.spaces = []
        if self.keep:
            print(f"kept: {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Space:
    """One network namespace."""

    def __init__(self, world, name):
        self.name, self.full = name, world.prefix + name
        sh("ip", "netns", "add", self.full)
        self.ip("link", "set", "lo", "up")

    def inside(self, command):
        return ["nsenter", f"--net={NETNS}/{self.full}", *command]

    def run(self, *command, check=True, timeout=20):
        return sh(*self.inside(command), check=check, timeout=timeout)

    def ip(self, *words, check=True):
        return self.run("ip", *words, check=check)

    def json(self, *words):
        """The answer of "ip -j …" as data."""
        return json.loads(self.run("ip", "-j", *words, check=False) or "[]")

    def sysctl(self, name, value):
        path = "/proc/sys/" + name.replace(".", "/")
        self.run("sh", "-c", f"echo {value} > {path}", check=False)

    def ping(self, source, target, count=3, size=56, wait=1.0, interval=0.2):
        """(sent, received) of a ping."""
        out = self.run("ping", "-n", "-c", str(count), "-i", str(interval), "-W", f"{wait:g}", "-s", str(size),
                       "-I", source, target, check=False, timeout=count * (interval + wait) + 10)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
        return (int(found.group(1)), int(found.group(2))) if found else (count, 0)

    def settled(self, device):
        """Waits until no IPv6 address of the device is tentative."""
        def calm():
            rows = self.json("addr", "show", "dev", device)
            addrs = [x for r in rows for x in r.get("addr_info", [])]
            return addrs and not any(x.get("tentative") for x in addrs)
        wait_for(f"the addresses of {device}", calm, 8)


def end(p, seconds=3):
    """Ends a program of ours: in order, then by force."""
    if p.poll() is None:
        p.terminate()
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def remove_leftovers():
    """Removes namespaces of runs whose process is gone."""
    for name in os.listdir(NETNS) if os.path.isdir(NETNS) else []:
        found = re.match(r"sp-t(\d+)-", name)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):
            sh("ip", "netns", "del", name, check=False)


def tail(path, lines=15):
    """The last lines of a log, for an error message."""
    try:
        with open(path, errors="replace") as f:
            return "\n".join(f.read().rstrip().split("\n")[-lines:])
    except OSError:
        return ""


def release(world):
    """Removes a scene's namespaces, so that the next scene can have the names."""
    for ns in world.spaces:
        sh("ip", "netns", "del", ns.full, check=False)
    world.spaces = []
