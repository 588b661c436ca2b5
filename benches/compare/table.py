"""Which bars hold, from what the programs found."""

import math
import shlex
import statistics

from roofline import DEFAULTS, TBS, step_floor_ms
from rows import CLASSES

HEAD = ["what", "against", "ours ms", "peer ms", "configuration", "ratio", "rounds", "bar", "holds"]


def median_of(rounds, key, clock):
    return statistics.median(r["ms"][key][clock] for r in rounds)


def ratios(found, key, of, clock):
    """(fastest configuration of the class, ratio of medians, ratio of each round)."""
    us = found["rounds"].get("ours")
    peers = {c: r for c, r in found["rounds"].items()
             if c != "ours" and of(c) and key in r[0]["ms"]}
    if not peers or not us:
        return None
    best = min(peers, key=lambda c: median_of(peers[c], key, clock))
    each = [p["ms"][key][clock] / o["ms"][key][clock] for p, o in zip(peers[best], us)]
    return best, median_of(peers[best], key, clock) / median_of(us, key, clock), each


def holds(value, least):
    return "" if least is None else ("yes" if value >= least else "NO")


def bar_of(least, aim):
    return "" if least is None else f">= {least} ({aim})"


def lines(name, row, found, clock):
    """Rows of the table."""
    out = []
    keys = list(found["rounds"].get("ours", [{"ms": {}}])[0]["ms"])
    for cls, least, aim in row["bars"]:
        got = {k: r for k in keys if (r := ratios(found, k, CLASSES[cls], clock))}
        for k, (best, ratio, each) in got.items():
            mine = median_of(found["rounds"]["ours"], k, clock)
            single = not row["geomean"]
            out.append([name if k == "step" or len(keys) == 1 else k, cls, f"{mine:.3g}",
                        f"{ratio * mine:.3g}", best, f"{ratio:.2f}x",
                        f"{min(each):.2f} to {max(each):.2f}",
                        bar_of(least, aim) if single else "", holds(ratio, least) if single else ""])
        if row["geomean"] and got:
            mean = math.exp(statistics.mean(math.log(r[1]) for r in got.values()))
            out.append([f"{name}, geometric mean", cls, "", "", "", f"{mean:.2f}x", "",
                        bar_of(least, aim), holds(mean, least)])
    if keys and row["memory"]:
        out += memory(name, row, found, keys[0], clock)
    return out


def memory(name, row, found, key, clock):
    cls, most = row["memory"]
    best = ratios(found, key, CLASSES[cls], clock)
    if not best:
        return []
    mib = [statistics.median(r["mib"] for r in found["rounds"][w]) for w in ("ours", best[0])]
    share = mib[0] / mib[1]
    return [[f"{name}, memory, MiB", cls, f"{mib[0]:.0f}", f"{mib[1]:.0f}", best[0], f"{share:.2f}x", "",
             "" if most is None else f"<= {most:.2f}", "" if most is None else holds(-share, -most)]]


def copy_tbs(book):
    """The copy rate of the run, TB/s; without it that of an H200."""
    found = book["rows"].get("rates", {}).get("result")
    return max(found["copy_gbs"].values()) / 1e3 if found else TBS


def problem(row):
    """Mode, then batch, height, width, channels, cells and k of a step."""
    words = shlex.split(row["flags"])
    given = dict(zip(words, words[1:]))
    mode = given["--mode"]
    names = ("--batch", "--height", "--width", "--channels", "--cells", "--partial-k")
    return mode, [int(given.get(n, d)) for n, d in zip(names, (*DEFAULTS[mode], 4))]


def facts(name, row, found, book):
    """What a step on a device is held to besides the peer: its floor, launches, time of the host."""
    us = found["rounds"].get("ours")
    if not us or "device" not in us[0]:
        return []
    out = []

    def add(what, value, most, aim, digits, unit=""):
        bar = "" if most is None else f"<= {most} ({aim})"
        out.append([f"{name}, {what}", "", f"{value:.{digits}f}{unit}", "", "", "", "", bar,
                    "" if most is None else holds(-value, -most)])

    size, least, aim = row["floor"]
    mode, sides = problem(row)
    tbs = copy_tbs(book)
    floor = step_floor_ms(mode, size, *sides, tbs=tbs)
    share = floor / median_of(us, "step", 0)
    out.append([f"{name}, share of its floor", f"{tbs:.2f} TB/s", "", f"{floor:.3g}", "floor",
                f"{share:.2f}", "", bar_of(least, aim), holds(share, least)])
    device = [r["device"] for r in us]
    add("launches a step", statistics.median(d["launches"] for d in device),
        *(row["launches"] or (None, None)), 0)
    add("ms of the host a step", statistics.median(r["host_ms"] for r in us),
        *(row["host"] or (None, None)), 3)
    if reason := next((d["reason"] for d in device if d["reason"]), None):
        out.append([f"{name}, phases replayed", "", f"{device[0]['replays']:.1f} of 2", "", reason, "", "",
                    "2", "NO"])
    return out


def scaling_lines(name, found):
    speed = {w: statistics.median(r[f"{w} 1"] / r[f"{w} 2"] for r in found["rounds"])
             for w in ("step", "copy", "sgemm")}
    least = 0.9 * min(speed["copy"], speed["sgemm"])
    return [[name, "speed of 2", f"{speed['step']:.2f}x",
             f"copy {speed['copy']:.2f}x, sgemm {speed['sgemm']:.2f}x", "", "", "",
             f">= {least:.2f}x", holds(speed["step"], least)]]


def table(book, rows, clock, markdown):
    all_lines = []
    for name, row in rows.items():
        if not (found := book["rows"].get(name)) or row["kind"] == "rates":
            continue
        if row["kind"] == "scaling":
            all_lines += scaling_lines(name, found)
            continue
        all_lines += lines(name, row, found, clock)
        if "floor" in row:
            all_lines += facts(name, row, found, book)
        all_lines += [[name, "failed", "", "", who, why, "", "", ""]
                      for who, why in found["failed"].items()]
    if markdown:
        return "\n".join("| " + " | ".join(r) + " |" for r in [HEAD, ["---"] * len(HEAD), *all_lines])
    wide = [max(len(r[i]) for r in [HEAD, *all_lines]) for i in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(n) for c, n in zip(r, wide)).rstrip()
                     for r in [HEAD, *all_lines])
