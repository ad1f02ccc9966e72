"""Datagrams with serial numbers both ways while something happens."""
import subprocess

from .records import read_log

INNER = [("10.1.1.1/32", "10.2.1.1/32")]
A, B = "10.1.1.1", "10.2.1.1"


class Flow:
    """Serial numbers both ways until it is stopped."""

    def __init__(self, scene, seconds, rate=2000):
        self.scene, self.rate, self.files = scene, rate, {}
        self.senders, self.receivers = [], []
        for side, src, dst, port in (("a", A, B, 7000), ("b", B, A, 7001)):
            other = "b" if side == "a" else "a"
            self.files[side] = (scene.world.path(f"flow-{scene.serial}-{side}-s"), scene.world.path(f"flow-{scene.serial}-{side}-r"))
            r = scene.tool(other, "udp-recv", "--src", dst, "--port", str(port), "--log", self.files[side][1], "--linger", "1",
                           stdout=subprocess.PIPE)
            r.stdout.readline()
            self.receivers.append(r)
        for side, src, dst, port in (("a", A, B, 7000), ("b", B, A, 7001)):
            self.senders.append(scene.tool(side, "udp-send", "--src", src, "--dst", dst, "--port", str(port), "--rate", str(rate),
                                           "--count", str(int(seconds * rate)), "--log", self.files[side][0]))

    def stop(self):
        """Ends both directions; {side: (sent, received)} as lists of (serial, time)."""
        for p in self.senders:
            p.terminate()
        for p in self.senders:
            p.wait(20)
        for p in self.receivers:
            p.terminate()
        for p in self.receivers:
            p.wait(20)
        return {side: (read_log(s), read_log(r)) for side, (s, r) in self.files.items()}

    def wait(self):
        for p in self.senders:
            p.wait(600)
        return self.stop()


def silence(arrivals, begin, end, since):
    """The longest silence that began between two moments, in seconds; what was before `since` of it does not count."""
    worst, last = 0, begin
    for t in sorted(t for t in arrivals if t > begin):
        if last <= end:
            worst = max(worst, t - max(last, since))
        last = t
    if last < end:
        worst = max(worst, end - max(last, since))
    return worst / 1e9


def outages(sent, delivered, merge=20_000_000):
    """[first, last] send times of the runs of datagrams that never arrived; runs less than 20 ms apart are one.

    Measured by what was sent, so that a machine too busy to send or to read makes no outage of its own.
    """
    runs = []
    for n, t in sent:
        if n in delivered:
            continue
        if runs and t - runs[-1][1] < merge:
            runs[-1][1] = t
        else:
            runs.append([t, t])
    return runs
