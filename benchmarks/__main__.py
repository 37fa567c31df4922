"""The runner: ``python -m benchmarks [--quick] [--json FILE] [GROUP ...]``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import google.protobuf
import grpc
import wrapt

import grpc_guard

from . import end_to_end, memory, micro, notes, refusals, registry
from ._measure import FULL, QUICK, Figure, pin_to_one_core

GROUPS: dict[str, ModuleType] = {
    "micro": micro,
    "end_to_end": end_to_end,
    "memory": memory,
    "refusals": refusals,
    "notes": notes,
    "registry": registry,
}

_FORMATS: dict[str, Callable[[float], str]] = {
    "ns": "{:.0f} ns".format,
    "us": "{:.3g} us".format,
    "x": "{:.3f} x".format,
    "bytes": "{:.0f} bytes".format,
}


def main() -> None:
    """Measure the groups that the command line names, all by default, and print the tables."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    machine = _machine(pinned=pin_to_one_core())
    print(", ".join(machine.values()))
    results: dict[str, list[Figure]] = {}
    for name in arguments.groups or GROUPS:
        print(f"\n{name}: {GROUPS[name].TITLE}")
        results[name] = []
        for figure in GROUPS[name].measure(plan):
            results[name].append(figure)
            print("\n".join(_lines(figure)), flush=True)
    if arguments.json is not None:
        report = {
            "machine": machine,
            "quick": arguments.quick,
            "groups": {
                name: [dataclasses.asdict(figure) for figure in figures]
                for name, figures in results.items()
            },
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what grpc_guard costs."
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    for name in arguments.groups:
        if name not in GROUPS:
            parser.error(f"{name!r} is not a group; choose from {', '.join(GROUPS)}")
    return arguments


def _machine(*, pinned: str) -> dict[str, str]:
    return {
        "grpc_guard": f"grpc_guard {grpc_guard.__version__}",
        "grpcio": f"grpcio {grpc.__version__}",
        "wrapt": f"wrapt {wrapt.__version__}",
        "protobuf": f"protobuf {google.protobuf.__version__}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": f"{os.cpu_count()} cores",
        "pinned": pinned,
    }


def _lines(figure: Figure) -> Iterator[str]:
    show = _FORMATS.get(figure.unit, lambda value: f"{value:g} {figure.unit}")
    line = f"  {figure.name:<76} {show(figure.value):>10}"
    if figure.bound is not None:
        verdict = "holds" if figure.value <= figure.bound else "EXCEEDED"
        line += f"   bound {figure.bound:g}: {verdict}"
    yield line
    if figure.interval is not None and figure.control is not None:
        yield (
            f"    95 % interval {figure.interval.low:.3f} to {figure.interval.high:.3f}; A/A "
            f"{figure.control.median:.3f} ({figure.control.low:.3f} to {figure.control.high:.3f})"
        )
        if not figure.is_certain:
            yield "    the reference differs from itself: this machine is too restless to tell"


if __name__ == "__main__":
    main()
