"""The scenarios, their texts, and whether they went as expected."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

from ..._catalogue.modes import ModeName
from .played import Played

_TIMEOUT = 20.0  # seconds; a half that is not over by then hangs

# Where the package is: this very package plays a half, even if the working directory has
# another one.
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """A program to be played without the guard and with it.

    ``module`` plays it; ``breaks`` tells whether it breaks the contract.
    """

    module: str
    title: str
    about: str
    breaks: bool = True


SCENARIOS = (
    Scenario(
        "false_end",
        "False end of stream",
        "asyncio server: two tasks of a handler read one stream",
    ),
    Scenario(
        "two_writes",
        "RPC killed by two writes",
        "asyncio client: two tasks write to one call",
    ),
    Scenario(
        "outage",
        "Server outage",
        "sync server: two threads of a handler read one stream",
    ),
    Scenario(
        "full_duplex",
        "Legal full-duplex chat",
        "asyncio client: one task reads while another writes",
        breaks=False,
    ),
)


class Halves:
    """Plays halves of scenarios, each in a separate process, until it is ended."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    def play(self, scenario: Scenario, mode: ModeName) -> Played:
        """Play one half to its end; a process that hangs or dies is harm too."""
        command = [sys.executable, "-m", f"{__package__}.play", scenario.module, mode]
        nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
        with subprocess.Popen(command, cwd=_HOME, stdin=nothing, stdout=pipe, stderr=pipe) as child:
            self._children.add(child)
            if self._is_over:  # it began just when the others were ended
                child.kill()
            try:
                printed, told = child.communicate(timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()
                text = f"the whole program hangs: it was ended after {_TIMEOUT:g} s"
                return Played(text, harmed=True)
            finally:
                self._children.discard(child)
        if child.returncode != 0:
            *_, last = ["", *told.decode(errors="replace").splitlines()]
            text = f"the whole program dies (status {child.returncode}): {last}"
            return Played(text, harmed=True)
        return Played(**json.loads(printed))

    def end(self) -> None:
        """End what is being played, and what begins from now on: the demo was interrupted."""
        self._is_over = True
        for child in tuple(self._children):
            child.kill()


def complaints(scenario: Scenario, without: Played, guarded: Played) -> list[str]:
    """Return what did not go as expected, [] if all did.

    Expected with the guard: if a program breaks the contract, the one call too many is refused
    and nothing else is harmed; if it keeps the contract, it does the same as without the guard
    and nothing is found. The harm that grpcio does without the guard is shown but not
    expected: it depends on luck and on the version of grpcio.
    """
    wrong = []
    if guarded.harmed:
        wrong.append("with the guard something was lost")
    if scenario.breaks and not (guarded.refusal and guarded.findings):
        wrong.append("with the guard nothing was refused")
    if not scenario.breaks and (guarded.refusal or guarded.findings):
        wrong.append("the guard found something in a correct program")
    if not scenario.breaks and without.text != guarded.text:
        wrong.append("with the guard a correct program does something else")
    return [f"{scenario.title}: {what}" for what in wrong]
