"""The command line: ``python -m benchmarks [--quick] [--json FILE] [--plot DIR] [SECTION ...]``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from pathlib import Path

from . import _document, _machine, _plots, _summary, _tables
from ._measure import FULL, QUICK, Figure, pin_to_one_core
from ._sections import ON_REQUEST, SECTIONS, section


def main() -> None:
    """Measure the sections that the command line names, all by default, and print the figures."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # no log lines about ended connections
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    machine = _machine.describe(pinned=pin_to_one_core())
    print(", ".join(machine.values()))
    results: dict[str, list[Figure]] = {}
    began = time.perf_counter()
    for name in arguments.sections or SECTIONS:
        module = section(name)
        print(f"\n{name}: {module.TITLE}")
        results[name] = []
        for figure in module.measure(plan):
            results[name].append(figure)
            print(_tables.line(figure), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if arguments.json is not None:
        arguments.json.write_text(_as_json(machine, arguments.quick, results), encoding="utf-8")
    if arguments.update is not None:
        _document.update(arguments.update, _blocks(machine, arguments.quick, results))
    plots = arguments.plot or (arguments.update and arguments.update[0].with_suffix(""))
    if plots:
        _plots.draw(results, plots)


def _arguments() -> argparse.Namespace:
    every = (*SECTIONS, *ON_REQUEST)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what grpc_guard costs.",
        epilog=f"Sections: {', '.join(SECTIONS)}; only where named: {', '.join(ON_REQUEST)}.",
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="default: all")
    parser.add_argument("--quick", action="store_true", help="a minute in place of ten")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw the plots there (SVG)")
    parser.add_argument(
        "--update",
        type=Path,
        nargs="+",
        metavar="PAGE",
        help="replace the tables in these pages of Markdown, and the plots in the folder beside "
        "the first",
    )
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in every:
            parser.error(f"{name!r} is not a section; choose from {', '.join(every)}")
    for page in arguments.update or ():
        if not page.is_file():
            parser.error(f"--update: {page} is no file")
    try:
        for name in arguments.sections or SECTIONS:
            section(name)
        if arguments.plot is not None or arguments.update is not None:
            import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        parser.exit(2, f'{error}; install the extra: pip install --editable ".[bench]"\n')
    return arguments


def _as_json(machine: dict[str, str], quick: bool, results: dict[str, list[Figure]]) -> str:
    report = {
        "machine": machine,
        "quick": quick,
        "sections": {
            name: [
                {**dataclasses.asdict(figure), "certain": figure.is_certain} for figure in figures
            ]
            for name, figures in results.items()
        },
    }
    return json.dumps(report, indent=2) + "\n"


def _blocks(
    machine: dict[str, str], quick: bool, results: dict[str, list[Figure]]
) -> dict[str, str]:
    manner = " A quick run: the intervals are wide." if quick else ""
    blocks = {"machine": f"Measured on: {', '.join(machine.values())}.{manner}"}
    for name, figures in results.items():
        if not figures:
            continue  # this machine lacks a tool; keep the table of another one
        table = "\n".join(_tables.markdown(figures))
        blocks[name] = f"{getattr(section(name), 'INTRO', '')}\n\n{table}"
    costs = _summary.summary(results)
    if costs is not None:
        blocks["costs"] = costs
    return blocks


if __name__ == "__main__":
    main()
