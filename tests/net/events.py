"""What can happen to a card, as rows: name, weight, whether packets may be lost, what is done."""
import time
from dataclasses import dataclass
from typing import Callable

from .hosts import SERVING
from .world import NetError, wait_for

# Commands that the daemon gives while it runs; each is refused with every status in turn.
COMMANDS = ("SA_ADD", "SA_FREE", "SA_QUERY", "Q_RESET", "STATS", "PING", "FENCE")
AT_BRING_UP = ("GET_TREE", "EVENT_CONFIG", "PORT_SET", "Q_CREATE", "SA_FLUSH", "SA_QUERY", "PORT_GET", "VECTOR_TEST")
UNSENT = ("SA_GONE", "SA_STOPPED", "SEQ_EXHAUSTED", "SEQ_REUSED", "LIFE_HARD", "PMTU_EXCEEDED", "BAD_OFFLOAD", "BAD_PACKET",
          "POLICY_DISCARD", "POLICY_TRAP", "FLUSHED")


@dataclass
class Event:
    name: str
    weight: int
    may_lose: bool
    action: Callable    # (run, side, happening) → what it did, in words


def fault(run, side, line):
    run.scene.cards[side].ctl("fault add " + line)
    return line


def pause(run, low, high):
    time.sleep(low + run.random.random() * (high - low))


def known(run, side, h, seconds=1.5):
    """Waits until the daemon says that the card is not in service; how long it took."""
    host = run.scene.hosts[side]
    try:
        wait_for("the daemon to notice", lambda: any(s["place"] == "software" for s in host.sas()) or
                 any(c.get("state") not in SERVING for c in host.cards()), seconds, 0.004)
        h.detected = (time.monotonic_ns() - h.begin) / 1e9
    except NetError:
        pass


def die(run, side, h):
    card = run.scene.cards[side]
    h.begin = time.monotonic_ns()
    card.kill()
    known(run, side, h)
    pause(run, 0.1, 0.5)
    card.start()
    h.back = time.monotonic_ns()


def die_by_word(run, side, h):
    card = run.scene.cards[side]
    h.begin = time.monotonic_ns()
    try:
        card.ctl("die")
    except NetError:
        pass  # it may be gone before it has answered
    card.program.wait(5)
    known(run, side, h)
    card.start()
    h.back = time.monotonic_ns()


def stop_datapath(run, side, h):
    ms = run.random.choice((80, 200, 500))
    what = fault(run, side, f"datapath what=stop ms={ms}")
    known(run, side, h, 0.3)
    time.sleep(max(0.0, ms / 1000 - (time.monotonic_ns() - h.begin) / 1e9))
    h.back = time.monotonic_ns()
    return what


def freeze_firmware(run, side, h):
    ms = run.random.choice((40, 150, 400))
    what = fault(run, side, f"firmware what=freeze ms={ms}")
    time.sleep(ms / 1000)
    h.back = time.monotonic_ns()
    return what


def until_reset(run, side, h):
    what = fault(run, side, run.random.choice(("datapath what=stop", "firmware what=freeze")) + " until=reset")
    known(run, side, h, 1.0)
    h.back = time.monotonic_ns()
    return what


def full_table(run, side, h):
    for n in range(3):
        run.fill(n)
    pause(run, 0.05, 0.2)
    run.rekey()
    pause(run, 0.05, 0.2)
    run.unfill()


def next_refusals(run, commands, n):
    """The next n (command, status) of all there are, in the seed's order, one for each command at most."""
    from .fallback import statuses
    key = commands[0]
    if not run.refusals.get(key):
        everything = [(c, s) for c in commands for s in statuses()]
        run.random.shuffle(everything)
        run.refusals[key] = everything
    taken, used = [], set()
    for pair in list(run.refusals[key]):
        if pair[0] not in used and len(taken) < n:
            used.add(pair[0])
            taken.append(pair)
            run.refusals[key].remove(pair)
    run.refused |= set(taken)
    return taken


def refuse_command(run, side, h):
    """Each of some commands is refused once or more; a rekey and more make the daemon give them."""
    taken = next_refusals(run, COMMANDS, 3)
    for command, status in taken:
        fault(run, side, f"cmd={command} status={status} count={run.random.choice((1, 1, 4))}")
    run.rekey()
    if "Q_RESET" in dict(taken):
        fault(run, side, "datapath what=stop ms=60")
        h.may_lose = True
        h.back = time.monotonic_ns() + 60_000_000
    pause(run, 0.1, 0.2)
    return ", ".join(" ".join(t) for t in taken)


def refuse_at_bring_up(run, side, h):
    """The same while a card that was frozen is brought up again."""
    taken = next_refusals(run, AT_BRING_UP, 3)
    for command, status in taken:
        fault(run, side, f"cmd={command} status={status} count=1")
    fault(run, side, "firmware what=freeze until=reset")
    pause(run, 0.3, 0.5)
    h.back = time.monotonic_ns()
    return ", ".join(" ".join(t) for t in taken)


def slow_command(run, side, h):
    what = fault(run, side, f"cmd={run.random.choice(COMMANDS)} what=delay ms={run.random.choice((5, 30, 120))} count=2")
    run.rekey()
    return what


def completions(run, side, h):
    queue, kind = run.random.choice(("tx", "rx", "admin")), run.random.choice(("drop", "delay", "double"))
    ms = f" ms={run.random.choice((1, 10, 80))}" if kind == "delay" else ""
    what = fault(run, side, f"completion what={kind} queue={queue} count={run.random.choice((1, 3, 20))}{ms}")
    h.may_lose = True  # a completion that cannot be true costs the ring, and what is in it is counted
    if queue == "admin":
        run.rekey()
    pause(run, 0.1, 0.25)
    h.back = time.monotonic_ns()
    return what


def raw(run, side, h):
    what = fault(run, side, f"rx what=raw count={run.random.choice((1, 20, 400))}")
    pause(run, 0.1, 0.3)
    return what


def refuse_packets(run, side, h):
    """The card refuses PROTECT under the SA in use, unsent: each packet goes out in software, none is lost."""
    row = run.scene.hosts[side].sa(run.pair["ab".index(side)].spi, "out")
    if row["place"] != "card":
        return "the SA is in software"
    what = fault(run, side, f"tx what=refuse status={run.random.choice(UNSENT)} handle={row['handle']} "
                            f"count={run.random.choice((1, 20, 200))}")
    pause(run, 0.1, 0.3)
    return what


def dma(run, side, h):
    what = fault(run, side, f"dma what=fail dir={run.random.choice(('read', 'write'))} count={run.random.choice((1, 3))}")
    pause(run, 0.2, 0.4)
    h.back = time.monotonic_ns()
    return what


def interrupts(run, side, h):
    what = fault(run, side, f"irq what=drop count={run.random.choice((1, 10, 50))}")
    pause(run, 0.1, 0.3)
    return what


def link(run, side, h):
    ms = run.random.choice((30, 150))
    what = fault(run, side, f"link what=down port=0 ms={ms}")
    time.sleep(ms / 1000)
    h.back = time.monotonic_ns()
    return what


def rekey(run, side, h):
    run.rekey()


EVENTS = [
    Event("card killed and restarted", 4, True, die),
    Event("card dies by its own word", 1, True, die_by_word),
    Event("data path stopped", 3, True, stop_datapath),
    Event("firmware frozen", 2, True, freeze_firmware),
    Event("stopped until reset", 2, True, until_reset),
    Event("table filled and freed", 2, False, full_table),
    Event("command refused", 5, False, refuse_command),
    Event("command refused at bring-up", 4, True, refuse_at_bring_up),
    Event("command slow", 1, False, slow_command),
    Event("completions lost, late, doubled", 4, True, completions),
    Event("handed up raw", 2, False, raw),
    Event("packets refused unsent", 2, False, refuse_packets),
    Event("DMA fails", 1, True, dma),
    Event("interrupts lost", 1, False, interrupts),
    Event("link down", 1, True, link),
    Event("rekey", 1, False, rekey),
]
