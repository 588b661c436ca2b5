"""Runs one program and reads what it found."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

from rows import PEERS


class Failed(Exception):
    pass


class Late(Exception):
    """The budget ended first: the program runs again in the next call."""


def run(a, command, path=None, pin=True):
    """JSON of a program: what it writes to `path`, or prints."""
    if pin and a.core is not None:
        command = ["taskset", "-c", str(a.core), *command]
    limit = min(a.limit, a.left())
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        if limit < a.limit:
            raise Late from None
        raise Failed(f"no answer in {limit:.0f} s") from None
    except OSError as e:
        sys.exit(f"compare: {e}; build ours first (cargo build --release)")
    if r.returncode:
        text = r.stderr.strip().splitlines() or [f"exit {r.returncode}"]
        raise Failed(text[-1][:160])
    if path:
        with open(path) as f:
            return json.load(f)
    return json.loads(r.stdout[r.stdout.index("{"):])


def limits(a, row):
    if row["kind"] != "ops":
        return []
    return ["--iters", str(a.ops_iters), "--row-seconds", str(a.row_seconds)]


def ours(a, row, threads=1):
    kind = "step" if row["kind"] == "scaling" else row["kind"]
    on = ["--threads", str(threads)] if a.device == "cpu" else []
    flags = shlex.split(row["flags"]) + shlex.split(row.get("ours", ""))
    return [a.ours, "bench", kind, *flags, *limits(a, row), "--device", a.device, *on, "--json"]


def burn(a, row, configuration):
    how = shlex.split(configuration)
    return [a.burn, row["kind"], *shlex.split(row["flags"]), *limits(a, row), *how]


def peer(a, row, configuration, path):
    how = shlex.split(configuration)
    device, on = a.device, ["--threads", "1"]
    if a.device == "cuda":
        on = []
    elif a.device == "emulated":
        device, how = "cpu", [f for f in how if f != "--cuda-graph"]
    flags = shlex.split(row["flags"]) + shlex.split(row.get("peer", ""))
    return [a.python, os.path.join(PEERS, f"{row['kind']}.py"), *flags, *limits(a, row), *how,
            "--device", device, *on, "--json", path]


def rates(a, threads, path):
    on = ["--device", "cuda"] if a.device == "cuda" else ["--device", "cpu", "--quick", "--iters", "9"]
    threads = [] if threads is None else ["--threads", str(threads)]
    return [a.python, os.path.join(PEERS, "rates.py"), *on, *threads, "--json", path]


def command(a, row, who, path="OUT.json"):
    if row["kind"] == "rates":
        return rates(a, None, path)
    if who == "ours":
        return ours(a, row)
    if who.startswith("burn"):
        return burn(a, row, row["configurations"][who])
    return peer(a, row, row["configurations"][who], path)


def take(a, row, who):
    """What a program of a row found, and where."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "peer.json")
        printed = row["kind"] != "rates" and (who == "ours" or who.startswith("burn"))
        return run(a, command(a, row, who, path), None if printed else path)


def take_rates(a, threads):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "rates.json")
        return run(a, rates(a, threads, path), path, pin=False)["result"]


def seen(found):
    """Times of forward + backward by what was timed, [clock, processor time] in ms, their spread, and MiB: on a device the
    most in use, otherwise above an idle process."""
    result = found.get("result", found)
    got = {}
    if "rows" in result:
        def both(r):
            cpu = r["cpu_ms"][1] if r["cpu_ms"] else None
            return [r["fwd_bwd_ms"], cpu]
        ms = {f"{r['op']} {'x'.join(map(str, r['shape']))}": both(r) for r in result["rows"]}
    else:
        tasks = result["ms"].values()
        clocks = [k for k in ("step", "step_cpu") if all(k in t for t in tasks)]
        times = [statistics.mean(statistics.median(t[k]["samples"]) for t in tasks) for k in clocks]
        ms = {"step": (times + [None])[:2]}
        got["range"] = [statistics.mean(f(t["step"]["samples"]) for t in tasks) for f in (min, max)]
        if all("host" in t for t in tasks):
            got["host_ms"] = statistics.mean(t["host"]["median"] for t in tasks)
    if result.get("device"):
        got["device"] = result["device"]
    m = result["memory"]
    mib = m.get("device_peak_allocated_mib", m["host_peak_rss_mib"] - m["host_idle_rss_mib"])
    return {"ms": ms, "mib": mib, **got}
