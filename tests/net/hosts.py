"""Daemons and cards: started, asked, killed; and the set-ups in which two hosts meet."""
import json
import os
import re
import signal
import subprocess
import sys
import time

from .control import Control
from .world import ROOT, NetError, end, tail, wait_for

SERVING = ("running", "serving", "in service")   # what the daemon calls a card that works
SNIFF = os.path.join(ROOT, "tests", "net", "sniff.py")
SHAPES = os.path.join(ROOT, "hwsim", "cards")


def yaml_value(v):
    """A value in YAML's flow style; strings are quoted where they could be read as something else."""
    if isinstance(v, bool):
        return "yes" if v else "no"
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, v)) + "]"
    if isinstance(v, dict):
        return "{" + ", ".join(f"{k}: {yaml_value(x)}" for k, x in v.items() if x is not None) + "}"
    text = str(v)
    return text if re.fullmatch(r"[A-Za-z0-9_./-]+", text) else json.dumps(text)


def yaml_file(config):
    """A configuration as a person would lay it out: one record a line."""
    out = []
    for key, value in config.items():
        if isinstance(value, list):
            out.append(f"{key}:")
            out += ["  - " + yaml_value(v) for v in value]
        else:
            out.append(f"{key}: {yaml_value(value)}")
    return "\n".join(out) + "\n"


class Card:
    """hwsim: a card with one port."""

    def __init__(self, world, name, port, shape="reference", ns=None):
        self.world, self.name, self.port, self.shape, self.ns = world, name, port, shape, ns
        self.socket = world.path(f"{name}.sock")
        self.program = None

    def start(self):
        """Starts the program; the socket exists when this returns. A capture of an earlier life goes on."""
        command = [self.world.binary("hwsim"), "-c", os.path.join(SHAPES, self.shape + ".dts"), "-s", self.socket, "-p", "0=" + self.port]
        for leftover in (self.socket, self.socket + ".ctl"):
            if os.path.exists(leftover):
                os.unlink(leftover)
        self.program = self.world.start(command, self.ns, f"{self.name}.log")
        wait_for(f"{self.name}'s socket", self.listening, 10)

    def listening(self):
        if self.program.poll() is not None:
            raise NetError(f"hwsim {self.name} ended with {self.program.returncode}: {tail(self.program.log)}")
        return os.path.exists(self.socket) and os.path.exists(self.socket + ".ctl")

    def kill(self):
        """Sudden death, as of a card that is pulled."""
        self.program.kill()
        self.program.wait()

    def alive(self):
        return self.program is not None and self.program.poll() is None

    def ctl(self, line):
        """One line of the control language; the answer as data."""
        done = subprocess.run([self.world.binary("hwsim"), "-ctl", self.socket, line], capture_output=True, text=True, timeout=10)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            raise NetError(f"hwsim -ctl '{line}': {done.stdout.strip()} {done.stderr.strip()}") from None
        if not answer.get("ok", True):
            raise NetError(f"hwsim -ctl '{line}': {answer.get('error')}")
        return answer

    def sas(self):
        return self.ctl("dump sa").get("sa", [])


class Host:
    """sallyportd in a namespace."""

    def __init__(self, world, name, ns, config):
        self.world, self.name, self.ns, self.config = world, name, ns, config
        self.file, self.rundir = world.path(f"{name}.yaml"), world.path(f"run-{name}")
        self.program, self.link, self.pids = None, None, {}

    def write_config(self):
        with open(self.file, "w") as f:
            f.write(yaml_file(self.config))

    def start(self):
        """Starts the daemon and waits until it answers and its interfaces stand."""
        self.write_config()
        os.makedirs(self.rundir, exist_ok=True)
        command = [self.world.binary("sallyportd"), "-f", "-c", self.file, "-r", self.rundir]
        self.program = self.world.start(command, self.ns, f"{self.name}.log")
        self.connect()
        for i in self.config["interface"]:
            wait_for(f"{i['name']} in {self.name}", lambda n=i["name"]: self.ns.json("link", "show", "dev", n), 10)
        self.wait_ready()

    def alive_or_say(self):
        if self.program.poll() is not None:
            raise NetError(f"sallyportd of {self.name} ended with {self.program.returncode}: {tail(self.program.log)}")

    def connect(self, seconds=10):
        """Opens the control socket and waits until the data process answers through it."""
        def answers():
            self.alive_or_say()
            try:
                self.link = Control(os.path.join(self.rundir, "control.sock"))
                return self.link.call("sa.list") is not None
            except (OSError, NetError):
                return False
        try:
            wait_for(f"the control socket of {self.name}", answers, seconds)
        except NetError as why:
            raise NetError(f"{why}: {tail(self.program.log)}") from None

    def call(self, method, params=None, fds=()):
        return self.link.call(method, params, fds)

    def wait_ready(self, seconds=10):
        """Every card in service and every interface with a port."""
        wait_for(f"cards and ports of {self.name}", self.ready, seconds)

    def ready(self):
        self.alive_or_say()
        cards = self.cards()
        return all(c["state"] in SERVING for c in cards) and \
            all(i.get("port") not in ("", "none", None) for i in self.call("counters")["interfaces"])

    def sas(self):
        return self.call("sa.list")["sas"]

    def sa(self, spi, direction):
        """The report of one SA, or None."""
        return next((s for s in self.sas() if s["spi"] == spi and s["dir"] == direction), None)

    def cards(self):
        return self.call("card.list")["cards"]

    def counters(self, interface=0):
        return self.call("counters")["interfaces"][interface]

    def reload(self, config=None):
        before, self.config = self.config, config or self.config
        self.write_config()
        try:
            return self.call("reload")
        except NetError:
            self.config = before   # it stays in force
            raise

    def children(self):
        """{process: pid} of the daemon's children, as it reports them; the last answer once it is gone."""
        if self.program.poll() is None:
            rows = self.call("status")["processes"]
            self.pids = {r["name"]: r["pid"] for r in rows if r["pid"] and r["name"] != "parent"}
        return self.pids

    def kill_child(self, title):
        pid = self.children().get(title)
        if not pid:
            raise NetError(f"{self.name} has no process {title}: {self.children()}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self):
        end(self.program, 8)
        return self.program.returncode

    def log(self, lines=15):
        return tail(self.program.log, lines)


class Capture:
    """sniff.py on an interface; several give one wire when each takes only what enters there."""

    def __init__(self, world, ns, interface, name, direction="inout"):
        self.file = world.path(f"{name}.pcap")
        log = f"{name}.sniff.log"
        if os.path.exists(world.path(log)):
            os.unlink(world.path(log))
        self.program = world.start([sys.executable, SNIFF, interface, self.file, direction], ns, log)
        wait_for(f"the capture of {interface}", lambda: "listening" in tail(self.program.log), 5)

    def stop(self):
        """Ends it and returns the file; a frame that the kernel did not keep is an error of the test."""
        if self.program.poll() is None:
            time.sleep(0.1)
            self.program.terminate()
            self.program.wait(20)
        lost = re.search(r"(\d+) frames kept, (\d+) lost", tail(self.program.log))
        if not lost or int(lost.group(2)):
            raise NetError(f"the capture is not whole: {tail(self.program.log)}")
        return self.file
