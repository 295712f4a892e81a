"""From samples to a table and JSON: medians with their range, and the ratio round by round."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from django.conf import settings
from django.db import connection
from django_redis import get_redis_connection

from benchmarks.workload import Options, Sample, Workload

PARTS = ("web", "workers", "postgres", "redis", "load")
PACKAGES = ("Django", "djangorestframework", "granian", "psycopg", "redis", "celery")

Samples = Mapping[str, Sequence[Sample]]


def environment(folder: Path, options: Options, *, web: bool) -> dict[str, Any]:
    """What a figure means nothing without."""
    with connection.cursor() as cursor:
        shown = {}
        for name in ("server_version", "fsync", "synchronous_commit"):
            cursor.execute(f"SHOW {name}")
            shown[name] = cursor.fetchone()[0]
    return {
        "cpus": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "postgres": shown.pop("server_version"),
        **shown,
        "redis": get_redis_connection("default").info("server")["redis_version"],
        "fdatasync_ms": round(_fdatasync(folder) * 1000, 2),
        "packages": {name: version(name) for name in PACKAGES},
        "middleware": len(settings.MIDDLEWARE),
        "web": web,
        "options": vars(options),
    }


def summary_of_all(workload: Workload, measured: Mapping[float, Samples], *, scaled: bool) -> dict[str, Any]:
    """With scales: what was found at each, and how the cost of one operation grows from first to last."""
    found = {amount: summary(workload, samples) for amount, samples in measured.items()}
    if not scaled:
        (only,) = found.values()
        return only
    first, *_, last = found.values() if len(found) > 1 else [*found.values()] * 2
    return {
        "workload": workload.name,
        "what": workload.what,
        "target_rate": workload.target_rate,
        "scales": [{"scale": scale} | of_scale for scale, of_scale in found.items()],
        "growth": {
            name: {
                "seconds": side["per_second"]["median"] / last["sides"][name]["per_second"]["median"],
                "cpu": sum(last["sides"][name]["cpu_us"].values()) / (sum(side["cpu_us"].values()) or 1),
            }
            for name, side in first["sides"].items()
        },
    }


def summary(workload: Workload, samples: Samples) -> dict[str, Any]:
    """The first side is the feature, the second its baseline."""
    feature, baseline = list(samples.values())[:2]
    rates = [ours.rate / theirs.rate for ours, theirs in zip(feature, baseline, strict=True)]
    return {
        "workload": workload.name,
        "what": workload.what,
        "target": workload.target,
        "sides": {name: _side(rounds) for name, rounds in samples.items()},
        "ratio": _spread(rates),
        "ratio_by_cpu": _spread([theirs.work / ours.work for ours, theirs in zip(feature, baseline, strict=True)])
        if all(sample.work for sample in (*feature, *baseline))
        else None,
        "load_share": max(
            sample.cpu.get("load", 0) / sample.seconds for rounds in samples.values() for sample in rounds
        ),
    }


def environment_text(found: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    options = found["options"]
    return (
        f"{found['cpus']} CPUs, load average {' '.join(map(str, found['load_average']))}; Python {found['python']}, "
        f"PostgreSQL {found['postgres']}, Redis {found['redis']}\n{packages}\n"
        f"fsync {found['fsync']}, synchronous_commit {found['synchronous_commit']}, one fdatasync of 8 kB takes "
        f"{found['fdatasync_ms']} ms; {found['middleware']} middlewares\n"
        + (
            f"granian {options['workers']} workers x {options['threads']} threads; {options['connections']} connections; "
            f"{options['rounds']} rounds of {options['seconds']:g} s a side, in turn"
            if found["web"]
            else f"{options['workers']} processes; {options['rounds']} rounds, sides in turn"
        )
    )


def summary_text(found: Mapping[str, Any]) -> str:
    """The table of one workload: a row for each side, at each scale where it has any."""
    tables = found.get("scales", [found])
    sides = [side for table in tables for side in table["sides"].values()]
    parts = [part for part in PARTS if any(part in side["cpu_us"] for side in sides)]
    notes = list(sides[0]["notes"])
    head = f"{'':20} {'per second':>22} {'p50 ms':>8} {'p99 ms':>8}   CPU µs each:" + "".join(f"{p:>10}" for p in parts)
    lines = [f"{found['workload']}: {found['what']}", head + "".join(f"{note:>14}" for note in notes)]
    for table in tables:
        scale = f", {table['scale']:,}" if "scale" in table else ""
        lines += [_row(f"{name}{scale}", side, parts, notes) for name, side in table["sides"].items()]
        lines.append(f"ratio {_ratio(table['ratio'])}{_verdict(table)}")
        if by_cpu := table["ratio_by_cpu"]:
            lines.append(f"ratio of CPU used ({', '.join(part for part in parts if part != 'load')}): {_ratio(by_cpu)}")
        if "load" in parts:
            lines.append(f"the load generator used at most {table['load_share']:.0%} of one core")
    return "\n".join([*lines, *_end_of_scales(found)])


def _row(name: str, side: Mapping[str, Any], parts: Sequence[str], notes: Sequence[str]) -> str:
    used = "".join(f"{side['cpu_us'].get(part, float('nan')):>10.0f}" for part in parts)
    rate = side["per_second"]
    spread = f"{rate['median']:.0f} [{rate['min']:.0f}–{rate['max']:.0f}]"
    more = "".join(f"{side['notes'].get(note, float('nan')):>14.1f}" for note in notes)
    return f"{name:20} {spread:>22} {side['p50_ms']:>8.2f} {side['p99_ms']:>8.2f}   {'':12}{used}{more}"


def _end_of_scales(found: Mapping[str, Any]) -> list[str]:
    if "scales" not in found:
        return []
    first, last = found["scales"][0]["scale"], found["scales"][-1]["scale"]
    return [
        *_rate_verdict(found),
        *(
            f"{name}: one at {last:,} takes {grown['seconds']:.2f} of the time of one at {first:,},"
            f" and {grown['cpu']:.2f} of its CPU"
            for name, grown in found["growth"].items()
        ),
    ]


def _rate_verdict(found: Mapping[str, Any]) -> list[str]:
    if found["target_rate"] is None:
        return []
    feature = next(iter(found["growth"]))
    slowest = min(table["sides"][feature]["per_second"]["median"] for table in found["scales"])
    reached = "reached" if slowest >= found["target_rate"] else "NOT reached"
    return [f"wanted at every size: {found['target_rate']:.0f} a second: {reached}"]


def _verdict(found: Mapping[str, Any]) -> str:
    if found["target"] is None:
        return ""
    reached = found["ratio"]["median"] >= found["target"]
    return f", wanted {found['target']}: {'reached' if reached else 'NOT reached'}"


def _ratio(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} [{spread['min']:.2f}–{spread['max']:.2f}]"


def _side(rounds: Sequence[Sample]) -> dict[str, Any]:
    return {
        "per_second": _spread([sample.rate for sample in rounds]),
        "p50_ms": median(sample.p50 for sample in rounds) * 1000,
        "p99_ms": median(sample.p99 for sample in rounds) * 1000,
        "cpu_us": {
            part: median(sample.cpu[part] / sample.operations for sample in rounds) * 1e6
            for part in PARTS
            if all(part in sample.cpu for sample in rounds)
        },
        "notes": {note: median(sample.notes[note] for sample in rounds) for note in rounds[0].notes},
        "operations": sum(sample.operations for sample in rounds),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _fdatasync(folder: Path) -> float:
    """What the disk under the database takes for a commit; microseconds mean that it is memory or that it lies."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(50):
            start = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return median(times)
