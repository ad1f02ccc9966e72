"""What the daemon says of its cards, held against what the cards say of themselves."""
from .hosts import SERVING
from .world import NetError, wait_for


def daemon_rows(host):
    """{(cookie, direction, spi, handle)} of the SAs that the daemon says are in the card."""
    return {(int(s["cookie"], 16), s["dir"], s["spi"], s["handle"]) for s in host.sas() if s["place"] == "card"}


def card_rows(card):
    """The same from the card's own dump; a slot that is not active is shown by its state."""
    rows = set()
    for s in card.sas():
        cookie = s["cookie"] if isinstance(s["cookie"], int) else int(s["cookie"], 16)
        state = s.get("state", "ACTIVE").upper()
        rows.add((cookie, s["dir"], s["spi"], s["handle"]) if state == "ACTIVE" else (cookie, s["dir"], s["spi"], state))
    return rows


def quiet(host):
    """Is no command to a card under way?"""
    return host.call("sa.list").get("quiet", True)


def false_reasons(host, card):
    """SAs whose reason does not fit their place, or says of the card what is not so."""
    out, running, free = [], any(c["state"] in SERVING for c in host.cards()), card.ctl("dump sa")["free"]
    for s in host.sas():
        code, what = s["reason"]["code"], f"{s['dir']} {s['spi']:#x} in {s['place']}: {s['reason']['text']}"
        if (code == "IN_CARD") != (s["place"] == "card") or code == "NEW":
            out.append(what)
        elif code == "CARD_DOWN" and running:
            out.append(what + " (it runs)")
        elif code == "FULL" and free and "free 0" in s["reason"]["text"]:  # our own count, not a word of the card
            out.append(what + f" ({free} slots are free)")
        elif not s["reason"]["remedy"]:
            out.append(what + " (no remedy)")
    return out


def tables_agree(scene, seconds=5):
    """Waits until each daemon's report, reasons included, equals its card's dump; says what differs where it never does."""
    def difference():
        out = []
        for side, card in scene.cards.items():
            host = scene.hosts[side]
            if not card.alive():
                if daemon_rows(host):
                    out.append(f"{side}: the card is dead and the daemon has {len(daemon_rows(host))} SAs in it")
                continue
            ours, theirs = daemon_rows(host), card_rows(card)
            if ours != theirs or not quiet(host):
                out.append(f"{side}: only the daemon says {sorted(ours - theirs)}, only the card {sorted(theirs - ours)}")
            else:
                out += [f"{side}: {x}" for x in false_reasons(host, card)]
        return out
    try:
        wait_for("equal tables", lambda: not difference(), seconds, 0.05)
    except NetError:
        return "; ".join(difference())
    return ""


def empty_at_rest(scene):
    """What is still in use when no SA is left; empty text when nothing is."""
    out = []
    for side, host in scene.hosts.items():
        if host.sas():
            out.append(f"{side}: {len(host.sas())} SAs")
        for c in host.cards():
            left = {k: c[k] for k in ("handles", "commands_pending", "tx_in_flight", "buffers_in_use", "sas_out", "sas_in") if c.get(k)}
            if left:
                out.append(f"{side}: card {c['name']}: {left}")
        n = host.counters()
        if n.get("held_now") or n.get("fragments_now"):
            out.append(f"{side}: held {n['held_now']}, fragments {n['fragments_now']}")
        card = scene.cards.get(side)
        if card and card.alive() and card.sas():
            out.append(f"{side}: the card still has {len(card.sas())} SAs")
    return "; ".join(out)
