"""A start that is interrupted leaves no stream that seems open, and no generator that seems in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from inside import core_fields
from support import storm_starts
from support.interrupts import Interrupt, codes_within, sweep
from support.storm_starts import Handling, Starts

import grpc_guard

PACKAGE = str(Path(grpc_guard.__file__).parent)
BELOW = (
    storm_starts.__file__
)  # what grpcio does, of which the compiled core executes more than its own


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts has a finaliser: an interrupt there is swallowed, and pytest keeps it, and all its frames."""
    monkeypatch.setattr(core_fields, "counting", False)


def interrupt(subject: Starts | Handling, act: Callable[[], Any]) -> None:
    """Interrupt `act` at one instruction of the guard after another."""
    act()
    codes = codes_within(act, PACKAGE) | codes_within(act, BELOW)
    for injection in sweep(codes):
        error = injection.run(act)
        assert error is None or type(error) is Interrupt, repr(error)
        error = None
        subject.look(act)
        assert not subject.left.total(), subject.left


@pytest.mark.parametrize("number", range(8))
def test_interrupt_of_a_sync_start(number: int) -> None:
    """Whichever way a stream starts: its channel does not keep what was interrupted."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        subject = Starts(channel)
        interrupt(subject, subject.acts[number])


@pytest.mark.parametrize("number", range(8))
async def test_interrupt_of_an_aio_start(number: int) -> None:
    """The same in asyncio."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        subject = Starts(channel, asyncio.get_running_loop())
        interrupt(subject, subject.acts[number])


@pytest.mark.parametrize("number", range(4))
def test_interrupt_of_a_sync_handler(number: int) -> None:
    """A handler that is interrupted is not taken to run, and owns nothing."""
    subject = Handling(is_async=False)
    interrupt(subject, subject.acts[number])
