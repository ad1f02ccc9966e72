#!/usr/bin/python3
"""Turns the tables of this folder into card_if.h and card_if_names.c.

usage: generate.py --out DIR TABLE.toml...
Checks first: overlaps, sizes, alignment of entries, numbers and names used twice. Any fault ends it
with a line that names the table and the row.
"""
import argparse
import os
import sys
import tomllib

WIDTH = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
FATE = {"sent": "CIF_FATE_SENT", "unsent": "CIF_FATE_UNSENT", "maybe": "CIF_FATE_MAYBE"}


class Fault(Exception):
    pass


def load(paths):
    """All tables as one dict: lists are joined, [const] and [stats] taken as they are."""
    t = {}
    for path in paths:
        with open(path, "rb") as f:
            try:
                doc = tomllib.load(f)
            except tomllib.TOMLDecodeError as e:
                raise Fault(f"{path}: {e}") from e
        for key, value in doc.items():
            if isinstance(value, list):
                t.setdefault(key, []).extend(value)
            elif key in t:
                raise Fault(f"{path}: table [{key}] stands twice")
            else:
                t[key] = value
    return t


def rows_of(t, key):
    return [row for table in t[key] for row in table["rows"]]


# --- checks ---------------------------------------------------------------------------------------


def unique(what, items):
    seen = {}
    for name, value in items:
        if value in seen:
            raise Fault(f"{what}: {name} and {seen[value]} are both {value}")
        seen[value] = name


def field_size(f):
    if f["type"] == "bytes":
        return f["len"]
    return WIDTH[f["type"]] * f.get("n", 1)


def check_record(r):
    at = 0
    for f in r["fields"]:
        where = f"record {r['name']}, field {f['name']}"
        if f["off"] < at:
            raise Fault(f"{where}: offset {f['off']:#x} overlaps the field before, which ends at {at:#x}")
        if f["off"] > at:
            raise Fault(f"{where}: hole from {at:#x} to {f['off']:#x}; name it reserved")
        if f["type"] != "bytes" and f["off"] % WIDTH[f["type"]]:
            raise Fault(f"{where}: {f['type']} at {f['off']:#x} is not aligned")
        if not f.get("reserved") and not f.get("doc") and f["name"] == f["name"].upper():
            raise Fault(f"{where}: lower case, please")
        at = f["off"] + field_size(f)
    if at != r["size"]:
        raise Fault(f"record {r['name']}: fields end at {at}, size says {r['size']}")
    unique(f"record {r['name']}", [(f["off"], f["name"]) for f in r["fields"]])
    phase = [f for f in r["fields"] if f["name"] == "phase"]
    if phase and phase[0]["off"] != r["size"] - 1:
        raise Fault(f"record {r['name']}: the phase octet is not the last")


def check_registers(t):
    regs = t["register"]
    unique("registers", [(r["name"], r["offset"]) for r in regs])
    unique("registers", [(r["offset"], r["name"]) for r in regs])
    for r in regs:
        if r["offset"] % 4 or r["offset"] >= 0x10000:
            raise Fault(f"register {r['name']}: offset {r['offset']:#x}")
        if not r.get("doc"):
            raise Fault(f"register {r['name']}: no doc")
        used = 0
        parts = [(b["name"], 1 << b["bit"]) for b in r.get("bits", [])]
        parts += [(f["name"], ((1 << f["width"]) - 1) << f["lo"]) for f in r.get("fields", [])]
        for name, mask in parts:
            if mask & used or mask > 0xFFFFFFFF:
                raise Fault(f"register {r['name']}: {name} overlaps or does not fit")
            used |= mask


def check_enum(name, rows):
    unique(name, [(r["name"], r["value"]) for r in rows])
    unique(name, [(r["value"], r["name"]) for r in rows])
    for r in rows:
        if not r.get("text"):
            raise Fault(f"{name}: {r['name']} has no text")


def check_status(t):
    rows = rows_of(t, "status")
    check_enum("status", rows)
    classes = {c["value"] for c in rows_of(t, "class")}
    for r in rows:
        if r["value"] >> 12 not in classes:
            raise Fault(f"status {r['name']}: no class {r['value'] >> 12:#x}")
        if not r.get("remedy"):
            raise Fault(f"status {r['name']}: no remedy")
    for key in ("text", "remedy"):
        unique(f"status {key}", [(r["name"], r[key]) for r in rows])
    for r in rows_of(t, "txs"):
        if r.get("fate") not in FATE:
            raise Fault(f"txs {r['name']}: fate {r.get('fate')}")
    check_enum("txs", rows_of(t, "txs"))
    check_enum("rxs", rows_of(t, "rxs"))


def stats_record(t):
    s = t["stats"]
    unique("stats", [(i, c["name"]) for i, c in enumerate(s["counters"])])
    base = sum(field_size(f) for f in s["head"])
    fields = s["head"] + [
        {"name": c["name"].lower(), "off": base + 8 * i, "type": "u64", "doc": c["text"]}
        for i, c in enumerate(s["counters"])]
    return {"name": "stats", "size": base + 8 * len(s["counters"]), "writer": "card",
            "doc": "Result of STATS: head and every counter, named once.", "fields": fields}


def check(t):
    t["record"].append(stats_record(t))
    for r in t["record"]:
        check_record(r)
    unique("records", [(i, r["name"]) for i, r in enumerate(t["record"])])
    check_registers(t)
    for e in t["enum"]:
        check_enum(f"enum {e['name']}", e["rows"])
    for f in t["flags"]:
        unique(f"flags {f['name']}", [(r.get("bit", r.get("mask")), r["name"]) for r in f["rows"]])
    check_status(t)
    props = rows_of(t, "prop")
    unique("tree", [(i, p["node"] + " " + p["name"]) for i, p in enumerate(props)])


# --- the header -------------------------------------------------------------------------------------


class Out:
    def __init__(self):
        self.lines = []
        self.macros = {}

    def put(self, *lines):
        self.lines.extend(lines)

    def claim(self, name, where):
        if name in self.macros:
            raise Fault(f"{name} is made by {where} and by {self.macros[name]}")
        self.macros[name] = where

    def comment(self, text):
        words, line = text.replace("*/", "* /").split(), "/*"
        for w in words:
            if len(line) + 1 + len(w) > 97:
                self.put(line)
                line = " *"
            line += " " + w
        self.put(line + " */")

    def define(self, name, value, doc, where):
        self.claim(name, where)
        doc = (doc or "").replace("*/", "* /")
        line = f"#define {name} {value}"
        if doc and len(line) + len(doc) < 92:
            line += f" /* {doc} */"
        elif doc:
            self.comment(doc)
        self.put(line)


def number(v):
    return f"{v:#x}ull" if v > 0xFFFFFFFF else f"{v:#x}u"


def emit_consts(o, t):
    for name, c in t["const"].items():
        o.define(f"CIF_{name}", number(c["value"]), c["doc"], "const")
    o.put("")
    for r in t["register"]:
        o.define(f"CIF_REG_{r['name']}", f"{r['offset']:#05x}u", r["doc"], "register")
        for b in r.get("bits", []):
            o.define(f"CIF_{r['name']}_{b['name']}", number(1 << b["bit"]), b["doc"], r["name"])
        for f in r.get("fields", []):
            o.define(f"CIF_{r['name']}_{f['name']}_SHIFT", f"{f['lo']}u", f["doc"], r["name"])
            o.define(f"CIF_{r['name']}_{f['name']}_MASK", number(((1 << f["width"]) - 1) << f["lo"]),
                     "", r["name"])
    o.put("")
    for d in t["doorbell"]:
        o.define(f"CIF_DB_{d['name']}", f"{d['offset']:#04x}u", d["doc"], "doorbell")
    for fl in t["flags"]:
        o.put("")
        o.comment(fl["doc"])
        for r in fl["rows"]:
            note = " (not built)" if r.get("built") else ""
            v = r["mask"] if "mask" in r else 1 << r["bit"]
            o.define(f"CIF_{fl['prefix']}_{r['name']}", number(v), r["doc"] + note, fl["name"])


def emit_enum(o, name, prefix, doc, rows):
    o.put("")
    o.comment(doc)
    o.put(f"enum cif_{name} {{")
    for r in rows:
        o.claim(f"CIF_{prefix}_{r['name']}", f"enum {name}")
        if r.get("built"):
            o.put(f"    CIF_{prefix}_{r['name']} = {r['value']:#x}, /* not built */")
        else:
            o.put(f"    CIF_{prefix}_{r['name']} = {r['value']:#x},")
    o.put("};")


def emit_scalar(o, rec, f):
    up, w = f"CIF_{rec.upper()}_{f['name'].upper()}", WIDTH[f["type"]]
    bits = 8 * w
    arg, at = "", f"{up}_OFF"
    if f.get("n"):
        o.define(f"{up}_N", f"{f['n']}u", "", rec)
        arg, at = ", unsigned i", f"{up}_OFF + {w}u * i"
    get = f"cif_get{bits}(r + {at})" if bits > 8 else f"r[{at}]"
    put = f"cif_put{bits}(r + {at}, v)" if bits > 8 else f"r[{at}] = v"
    c_type = f"uint{bits}_t"
    o.put(f"static inline {c_type} cif_{rec}_{f['name']}(const uint8_t *r{arg})",
          "{", f"    return {get};", "}",
          f"static inline void cif_{rec}_set_{f['name']}(uint8_t *r{arg}, {c_type} v)",
          "{", f"    {put};", "}")


def emit_record(o, r):
    rec = r["name"]
    o.put("")
    o.comment(f"{rec}: {r['doc']} Written by the {r['writer']}.")
    o.define(f"CIF_{rec.upper()}_SIZE", f"{r['size']}u", "", rec)
    for f in r["fields"]:
        up = f"CIF_{rec.upper()}_{f['name'].upper()}"
        o.define(f"{up}_OFF", f"{f['off']:#05x}u", f.get("doc", ""), rec)
        if f["type"] == "bytes":
            o.define(f"{up}_LEN", f"{f['len']}u", "", rec)
            o.put(f"static inline const uint8_t *cif_{rec}_{f['name']}(const uint8_t *r)",
                  "{", f"    return r + {up}_OFF;", "}",
                  f"static inline uint8_t *cif_{rec}_{f['name']}_w(uint8_t *r)",
                  "{", f"    return r + {up}_OFF;", "}")
        else:
            emit_scalar(o, rec, f)
        o.put(f"_Static_assert({up}_OFF + {field_size(f)}u <= CIF_{rec.upper()}_SIZE, \"{rec}\");")
    if r["size"] % 16 and rec != "stats":
        raise Fault(f"record {rec}: size {r['size']} is not a multiple of 16")


PRELUDE = """\
/* Made by firmware-if/generate.py from the tables in firmware-if/. Do not edit. */
#ifndef SALLYPORT_CARD_IF_H
#define SALLYPORT_CARD_IF_H

#include <stdbool.h>
#include <stdint.h>

/* Little-endian loads and stores at any alignment. */
static inline uint16_t cif_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t cif_get32(const uint8_t *p)
{
    return cif_get16(p) | (uint32_t)cif_get16(p + 2) << 16;
}
static inline uint64_t cif_get64(const uint8_t *p)
{
    return cif_get32(p) | (uint64_t)cif_get32(p + 4) << 32;
}
static inline void cif_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void cif_put32(uint8_t *p, uint32_t v)
{
    cif_put16(p, (uint16_t)v);
    cif_put16(p + 2, (uint16_t)(v >> 16));
}
static inline void cif_put64(uint8_t *p, uint64_t v)
{
    cif_put32(p, (uint32_t)v);
    cif_put32(p + 4, (uint32_t)(v >> 32));
}

/* The phase octet of pass n (from 0) over a ring: bit 0 alternates from 1, bits 7:1 count. Never 0. */
static inline uint8_t cif_phase(uint32_t pass)
{
    return (uint8_t)((pass & 0x7f) << 1 | (~pass & 1));
}

/* Field of a register: cif_field(v, CIF_TIMING_READY_MASK, CIF_TIMING_READY_SHIFT). */
static inline uint32_t cif_field(uint32_t v, uint32_t mask, unsigned shift)
{
    return (v & mask) >> shift;
}
"""

NAMES_DECL = """
/* Names and texts. All return static strings, never NULL; an unknown number gives "UNKNOWN" or a
 * sentence that says so. An unknown status of a known class gives the class's text. */
const char *cif_status_name(unsigned status);
const char *cif_status_text(unsigned status);
const char *cif_status_remedy(unsigned status);
const char *cif_class_name(unsigned cls);
const char *cif_class_text(unsigned cls);
static inline unsigned cif_status_class(unsigned status)
{
    return status >> 12 & 0xf;
}
uint16_t cif_status_at(unsigned i); /* i-th status of the table, i < CIF_STATUS_COUNT */

enum cif_fate { CIF_FATE_SENT, CIF_FATE_UNSENT, CIF_FATE_MAYBE };
const char *cif_txs_name(unsigned txs);
const char *cif_txs_text(unsigned txs);
enum cif_fate cif_txs_fate(unsigned txs); /* unknown: CIF_FATE_MAYBE */
const char *cif_rxs_name(unsigned rxs);
const char *cif_rxs_text(unsigned rxs);

/* Admin commands: time-out class (unknown: firmware) and whether this contract version serves it. */
enum cif_timeout { CIF_TIMEOUT_FAST, CIF_TIMEOUT_TABLE, CIF_TIMEOUT_FIRMWARE };
enum cif_timeout cif_op_timeout(unsigned op);
bool cif_op_built(unsigned op);

const char *cif_stat_name(unsigned i); /* i < CIF_STAT_COUNT */
const char *cif_stat_text(unsigned i);
bool cif_stat_is_drop(unsigned i);

/* The capability tree's properties. A `*` in node stands for any child. */
enum cif_tree_type {
    CIF_TREE_U32,
    CIF_TREE_U64,
    CIF_TREE_U32S,
    CIF_TREE_BOOL,
    CIF_TREE_STRING,
    CIF_TREE_STRINGS,
    CIF_TREE_BYTES,
};
struct cif_tree_prop {
    const char *node;
    const char *name;
    enum cif_tree_type type;
    const char *absent; /* what its absence means */
};
const struct cif_tree_prop *cif_tree_prop_at(unsigned i); /* i < CIF_TREE_PROP_COUNT */
"""


def header(t):
    o = Out()
    o.put(PRELUDE)
    emit_consts(o, t)
    for e in t["enum"]:
        emit_enum(o, e["name"], e["prefix"], e["doc"], e["rows"])
    emit_enum(o, "class", "CLASS", "Status class: status >> 12.", rows_of(t, "class"))
    emit_enum(o, "st", "ST", "Admin status: class << 12 | code.", rows_of(t, "status"))
    emit_enum(o, "txs", "TXS", "txc.status.", rows_of(t, "txs"))
    emit_enum(o, "rxs", "RXS", "rxc.status.", rows_of(t, "rxs"))
    counters = [{"name": c["name"], "value": i} for i, c in enumerate(t["stats"]["counters"])]
    emit_enum(o, "stat", "STAT", "Counters of the stats record, by index.", counters)
    o.put("")
    o.define("CIF_STATUS_COUNT", f"{len(rows_of(t, 'status'))}u", "", "status")
    o.define("CIF_STAT_COUNT", f"{len(counters)}u", "", "stats")
    o.define("CIF_TREE_PROP_COUNT", f"{len(rows_of(t, 'prop'))}u", "", "tree")
    for r in t["record"]:
        emit_record(o, r)
    head = sum(field_size(f) for f in t["stats"]["head"])
    o.put("static inline uint64_t cif_stats_counter(const uint8_t *r, unsigned i)", "{",
          f"    return cif_get64(r + {head}u + 8u * i);", "}",
          "static inline void cif_stats_set_counter(uint8_t *r, unsigned i, uint64_t v)", "{",
          f"    cif_put64(r + {head}u + 8u * i, v);", "}")
    o.put(NAMES_DECL)
    for e in t["enum"]:
        n = e.get("names", e["name"])
        o.put(f"const char *cif_{n}_name(unsigned v);", f"const char *cif_{n}_text(unsigned v);")
    o.put("", "#endif")
    return "\n".join(o.lines) + "\n"


# --- the names --------------------------------------------------------------------------------------


def quote(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


NAMES_HEAD = """\
/* Made by firmware-if/generate.py from the tables in firmware-if/. Do not edit. */
#include "firmware-if/card_if.h"

#include <stddef.h>

struct row {
    unsigned value;
    const char *name;
    const char *text;
    const char *extra;
    unsigned attr;
};

static const struct row *find(const struct row *rows, size_t n, unsigned value)
{
    for (size_t i = 0; i < n; i++) {
        if (rows[i].value == value)
            return &rows[i];
    }
    return NULL;
}
#define FIND(table, v) find(table, sizeof table / sizeof table[0], v)
"""

NAMES_TAIL = """
const char *cif_class_name(unsigned cls)
{
    const struct row *r = FIND(class_rows, cls);
    return r ? r->name : "UNKNOWN";
}
const char *cif_class_text(unsigned cls)
{
    const struct row *r = FIND(class_rows, cls);
    return r ? r->text : "a class of status this driver does not know";
}
const char *cif_status_name(unsigned status)
{
    const struct row *r = FIND(status_rows, status);
    return r ? r->name : "UNKNOWN";
}
const char *cif_status_text(unsigned status)
{
    const struct row *r = FIND(status_rows, status);
    return r ? r->text : cif_class_text(cif_status_class(status));
}
const char *cif_status_remedy(unsigned status)
{
    const struct row *r = FIND(status_rows, status);
    return r ? r->extra : "Update the driver: the card returned a status it does not know.";
}
uint16_t cif_status_at(unsigned i)
{
    return i < CIF_STATUS_COUNT ? (uint16_t)status_rows[i].value : 0xffff;
}
enum cif_fate cif_txs_fate(unsigned txs)
{
    const struct row *r = FIND(txs_rows, txs);
    return r ? (enum cif_fate)r->attr : CIF_FATE_MAYBE;
}
enum cif_timeout cif_op_timeout(unsigned op)
{
    const struct row *r = FIND(op_rows, op);
    return r ? (enum cif_timeout)(r->attr & 3) : CIF_TIMEOUT_FIRMWARE;
}
bool cif_op_built(unsigned op)
{
    const struct row *r = FIND(op_rows, op);
    return r && !(r->attr & 4);
}
const char *cif_stat_name(unsigned i)
{
    return i < CIF_STAT_COUNT ? stat_rows[i].name : "UNKNOWN";
}
const char *cif_stat_text(unsigned i)
{
    return i < CIF_STAT_COUNT ? stat_rows[i].text : "a counter this driver does not know";
}
bool cif_stat_is_drop(unsigned i)
{
    return i < CIF_STAT_COUNT && stat_rows[i].attr;
}
const struct cif_tree_prop *cif_tree_prop_at(unsigned i)
{
    return i < CIF_TREE_PROP_COUNT ? &tree_props[i] : NULL;
}
"""


def table(o, name, rows, attr=lambda r: "0"):
    o.put("", f"static const struct row {name}_rows[] = {{")
    for r in rows:
        extra = quote(r["remedy"]) if "remedy" in r else "NULL"
        o.put(f"    {{{r['value']:#x}, {quote(r['name'])}, {quote(r['text'])}, {extra}, {attr(r)}}},")
    o.put("};")


def lookups(o, fn, tab):
    for what in ("name", "text"):
        other = '"UNKNOWN"' if what == "name" else '"a value this driver does not know"'
        o.put(f"const char *cif_{fn}_{what}(unsigned v)", "{",
              f"    const struct row *r = FIND({tab}_rows, v);",
              f"    return r ? r->{what} : {other};", "}")


def names(t):
    o = Out()
    o.put(NAMES_HEAD)
    order = ["fast", "table", "firmware"]
    for e in t["enum"]:
        is_op = e["name"] == "op"
        table(o, e["name"], e["rows"], (lambda r: str(
            order.index(r["timeout"]) | (4 if r.get("built") else 0))) if is_op else lambda r: "0")
        lookups(o, e.get("names", e["name"]), e["name"])
    table(o, "class", rows_of(t, "class"))
    table(o, "status", rows_of(t, "status"))
    table(o, "txs", rows_of(t, "txs"), lambda r: FATE[r["fate"]])
    lookups(o, "txs", "txs")
    table(o, "rxs", rows_of(t, "rxs"))
    lookups(o, "rxs", "rxs")
    table(o, "stat", [dict(c, value=i) for i, c in enumerate(t["stats"]["counters"])],
          lambda r: "1" if r.get("drop") else "0")
    o.put("", "static const struct cif_tree_prop tree_props[] = {")
    for p in rows_of(t, "prop"):
        o.put(f"    {{{quote(p['node'])}, {quote(p['name'])}, CIF_TREE_{p['type'].upper()}, "
              f"{quote(p['absent'])}}},")
    o.put("};", NAMES_TAIL)
    return "\n".join(o.lines)


def layout(t):
    """One line for each number of the contract: what the golden file keeps."""
    lines = [f"const {n} {c['value']:#x}" for n, c in t["const"].items()]
    for r in t["register"]:
        lines.append(f"register {r['name']} {r['offset']:#05x}")
        lines += [f"register {r['name']}.{b['name']} bit {b['bit']}" for b in r.get("bits", [])]
        lines += [f"register {r['name']}.{f['name']} bits {f['lo']}+{f['width']}"
                  for f in r.get("fields", [])]
    lines += [f"doorbell {d['name']} {d['offset']:#04x}" for d in t["doorbell"]]
    for fl in t["flags"]:
        lines += [f"flag {fl['name']}.{r['name']} {r.get('mask', 1 << r.get('bit', 0)):#x}"
                  for r in fl["rows"]]
    for e in t["enum"]:
        lines += [f"enum {e['name']}.{r['name']} {r['value']:#x}" for r in e["rows"]]
    for key in ("class", "status", "txs", "rxs"):
        lines += [f"{key} {r['name']} {r['value']:#x}" + (f" {r['fate']}" if "fate" in r else "")
                  for r in rows_of(t, key)]
    for r in t["record"]:
        lines.append(f"record {r['name']} size {r['size']}")
        lines += [f"record {r['name']}.{f['name']} {f['off']:#05x} {f['type']} {field_size(f)}"
                  for f in r["fields"]]
    return "\n".join(lines) + "\n"


def write(path, text):
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(text)
    os.rename(path + ".new", path)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", help="folder for card_if.h and card_if_names.c")
    p.add_argument("--layout", help="also (or only) write the layout list to this file")
    p.add_argument("tables", nargs="+")
    a = p.parse_args()
    try:
        t = load(sorted(a.tables))
        check(t)
        if a.out:
            write(os.path.join(a.out, "card_if.h"), header(t))
            write(os.path.join(a.out, "card_if_names.c"), names(t))
        if a.layout:
            write(a.layout, layout(t))
    except Fault as e:
        print(f"generate.py: {e}", file=sys.stderr)
        return 1
    except KeyError as e:
        print(f"generate.py: a row lacks {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
