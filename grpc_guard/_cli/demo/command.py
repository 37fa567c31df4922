"""``grpc-guard demo``: plays every scenario twice, side by side, and shows one report in full."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TextIO

from ..._catalogue.modes import ModeName
from ..._catalogue.version import __version__
from .played import Played
from .scenarios import SCENARIOS, Scenario, complaints, play
from .screen import Screen

_REPORT_STYLES = {4: ("dim",), 6: ("cyan",)}  # by indentation: where, and the line of code
Play = Callable[[Scenario, ModeName], Played]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``demo`` takes, which is nothing, and how it exits."""
    parser.epilog = (
        "Exits with 0 if everything went as expected, else with 1. What is expected is the outcome "
        "with the guard; the harm without it depends on luck and on the version of grpcio."
    )


def main(arguments: argparse.Namespace) -> int:
    """Play the demo on stdout; return 0 if everything went as expected, 1 if not."""
    return show(sys.stdout)


def show(stream: TextIO, scenarios: Sequence[Scenario] = SCENARIOS, play: Play = play) -> int:
    """Play `scenarios` and show them on `stream`; return the exit status."""
    screen = Screen(stream)
    _title(screen)
    reports: list[tuple[Scenario, str]] = []
    wrong: list[str] = []
    players = ThreadPoolExecutor(2)
    try:
        halves = [
            (
                scenario,
                players.submit(play, scenario, "off"),
                players.submit(play, scenario, "raise"),
            )
            for scenario in scenarios
        ]
        for scenario, first, second in halves:
            without, guarded = first.result(), second.result()
            bad = complaints(scenario, without, guarded)
            _row(screen, scenario, without, guarded, as_said=not bad)
            wrong += bad
            if guarded.report:
                reports.append((scenario, guarded.report))
    finally:
        players.shutdown(cancel_futures=True)  # an interrupted demo plays nothing more
    if reports:
        _report(screen, *reports[0])
    for complaint in wrong:
        screen.line(f"Not as expected. {complaint}.", "red")
    if not wrong:
        screen.line("Everything went as expected.", "bold", "green")
        screen.line("To guard a program of your own:  channel = grpc_guard.wrap(channel)", "dim")
    return 1 if wrong else 0


def _title(screen: Screen) -> None:
    screen.line("grpc-guard demo", "bold")
    screen.line(
        "At any time, gRPC allows one read and one write on a stream, and grpcio does not check it."
    )
    screen.line("Here are programs on a real server, each played without the guard and with it.")
    screen.line(
        f"grpc_guard {__version__}, grpcio {version('grpcio')}, protobuf {version('protobuf')}, "
        f"Python {platform.python_version()}",
        "dim",
    )
    screen.line()
    heads = ("SCENARIO", "WITHOUT THE GUARD", "WITH THE GUARD")
    screen.row(*([(head, ("bold",))] for head in heads))
    screen.rule()


def _row(
    screen: Screen, scenario: Scenario, without: Played, guarded: Played, *, as_said: bool
) -> None:
    if without.harmed:
        sign, colour = "✗", "red"
    else:
        sign, colour = ("·", "yellow") if scenario.breaks else ("✓", "green")
    screen.row(
        [(scenario.title, ("bold",)), (scenario.about, ("dim",))],
        [(f"{sign} {without.text}", (colour,))],
        [(f"✓ {guarded.text}", ("green",)) if as_said else (f"✗ {guarded.text}", ("red",))],
    )
    screen.rule()


def _report(screen: Screen, scenario: Scenario, report: str) -> None:
    screen.line()
    screen.line(f"What the program was told in '{scenario.title}', word for word:", "bold")
    screen.line()
    first, *rest = report.split("\n")
    screen.paragraph(f"ConcurrencyError: {first}", "red")
    for line in rest:
        screen.paragraph(line, *_REPORT_STYLES.get(len(line) - len(line.lstrip()), ()))
    screen.line()
