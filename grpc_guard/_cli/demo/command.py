"""``grpc-guard demo``: plays every scenario twice, side by side, and shows one report in full."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from typing import Any, TextIO

from ..._catalogue.modes import ModeName
from ..._catalogue.version import __version__
from ..._reports.blocks import EMPTY, of_finding
from ..._reports.document import finding_from_dict
from ..._reports.layout import Block, Columns, Span, Text
from ..console import add_color, complain
from .played import Played
from .scenarios import SCENARIOS, Halves, Scenario, complaints
from .screen import Screen

_INTERRUPTED = 130  # the exit status for a command that Ctrl-C has ended
_LOOK = 1.0  # seconds between two looks at what is being played
_WAYS_IN = (  # how, and what that is for
    ("grpc-guard run app.py", "a program as it is"),
    ("pytest --grpc-guard", "the tests of a project"),
    ("grpc_guard.wrap(channel)", "one channel, server or call; grpc_guard.enable() takes all"),
)
Play = Callable[[Scenario, ModeName], Played]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``demo`` takes, and how it exits."""
    add_color(parser)
    parser.epilog = (
        "Exits with 0 if everything went as expected, else with 1. What is expected is the outcome "
        "with the guard; the harm without it depends on luck and on the version of grpcio."
    )


def main(arguments: argparse.Namespace) -> int:
    """Play the demo on stdout; return 0 if all went as expected, 1 if not, 130 after Ctrl-C."""
    try:
        return show(sys.stdout, color=arguments.color)
    except KeyboardInterrupt:
        complain("grpc-guard demo: interrupted")
        return _INTERRUPTED


def show(
    stream: TextIO,
    scenarios: Sequence[Scenario] = SCENARIOS,
    play: Play | None = None,
    color: str | None = None,
) -> int:
    """Play `scenarios` and show them on `stream`; return the exit status."""
    screen = Screen(stream, color)
    _title(screen)
    refusals: list[tuple[Scenario, dict[str, Any]]] = []
    wrong: list[str] = []
    players, processes = ThreadPoolExecutor(2), Halves()
    play = play or processes.play
    try:
        halves = [
            (
                scenario,
                players.submit(play, scenario, "off"),
                players.submit(play, scenario, "raise"),
            )
            for scenario in scenarios
        ]
        for number, (scenario, *both) in enumerate(halves, 1):
            _await(screen, f"{number} of {len(halves)}", scenario, both)
            without, guarded = (half.result() for half in both)
            bad = complaints(scenario, without, guarded)
            _row(screen, scenario, without, guarded, as_said=not bad)
            wrong += bad
            if guarded.refusal:
                refusals.append((scenario, guarded.refusal))
    except KeyboardInterrupt:
        screen.stop_playing()
        players.shutdown(wait=False, cancel_futures=True)
        processes.end()
        raise
    finally:
        players.shutdown(cancel_futures=True)  # an interrupted demo plays nothing more
    if refusals:
        _report(screen, *refusals[0])
    for complaint in wrong:
        screen.line(f"Not as expected. {complaint}.", "red")
    if not wrong:
        screen.line("Everything went as expected.", "bold green")
        screen.show(EMPTY, *_ways_in())
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
    screen.heads()


def _await(
    screen: Screen, number: str, scenario: Scenario, halves: Sequence[Future[Played]]
) -> None:
    """Wait for both `halves` of `scenario`, and show meanwhile how long that has taken."""
    begun, is_over = time.monotonic(), False
    while not is_over:
        lasted = time.monotonic() - begun
        screen.playing(f"playing {number} for {lasted:.0f} s: {scenario.title}, {scenario.about}")
        done, others = wait(halves, timeout=_LOOK, return_when=FIRST_EXCEPTION)
        is_over = not others or any(half.exception() for half in done)


def _row(
    screen: Screen, scenario: Scenario, without: Played, guarded: Played, *, as_said: bool
) -> None:
    if without.harmed:
        sign, colour = "✗", "red"
    else:
        sign, colour = ("·", "yellow") if scenario.breaks else ("✓", "green")
    screen.row(
        (
            Text((Span(scenario.title, "bold"),), hang=0),
            Text((Span(scenario.about, "dim"),), hang=0),
        ),
        (Text((Span(f"{sign} {without.text}", colour),)),),
        (_verdict(guarded, as_said=as_said),),
    )


def _verdict(guarded: Played, *, as_said: bool) -> Text:
    sign, colour = ("✓", "green") if as_said else ("✗", "red")
    return Text((Span(f"{sign} {guarded.text}", colour),))


def _report(screen: Screen, scenario: Scenario, refusal: dict[str, Any]) -> None:
    screen.line()
    screen.line(f"What the ConcurrencyError in '{scenario.title}' says:", "bold")
    screen.show(EMPTY, *of_finding(finding_from_dict(refusal)), EMPTY)


def _ways_in() -> Iterator[Block]:
    """Yield the ways in which readers can guard their own programs."""
    yield Text((Span("To guard a program of your own:", "bold"),))
    width = max(len(way) for way, _ in _WAYS_IN) + 4
    for way, what in _WAYS_IN:
        yield Columns(
            ((Text((Span(way, "cyan"),), indent=2),), (Text((Span(what),), hang=0),)), (width, 64)
        )
