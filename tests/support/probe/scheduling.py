"""How the parties of a program in the corpus pass the time: for real, or as they are told.

A program of the corpus waits by its stage alone. On a RealStage it does so for real, with some
jitter: that is for statistics. On a VirtualStage time goes on only when every party waits, and
then to the one that is next: at any moment one party runs, in the same order each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import threading
import time
from collections.abc import Awaitable, Callable

PATIENCE = 20.0  # seconds


class Stage:
    """Runs the parties of a program to their end; what they raise is no news here."""

    clock = staticmethod(time.monotonic)

    def pause(self, seconds: float) -> None:
        raise NotImplementedError

    async def pause_async(self, seconds: float) -> None:
        raise NotImplementedError

    def begin(self, parties: int) -> None:
        """Take note that so many parties start now."""

    def end(self) -> None:
        """Take note that a party has ended."""

    def run(self, *parties: Callable[[], object]) -> None:
        """Run each party in a thread of its own."""
        self.begin(len(parties))
        threads = [
            threading.Thread(target=self._party, args=(party, number / 1e6))
            for number, party in enumerate(parties)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a party hangs"

    def _party(self, party: Callable[[], object], start: float) -> None:
        try:
            self.pause(start)
            with contextlib.suppress(Exception):
                party()
        finally:
            self.end()

    async def run_async(self, *parties: Callable[[], Awaitable[object]]) -> None:
        """Run each party in a task of its own."""
        self.begin(len(parties))
        tasks = [
            asyncio.create_task(self._party_async(party, number / 1e6))
            for number, party in enumerate(parties)
        ]
        done, pending = await asyncio.wait(tasks, timeout=PATIENCE)
        for task in pending:
            task.cancel()
        assert not pending, "a party hangs"
        for task in done:
            task.result()

    async def _party_async(self, party: Callable[[], Awaitable[object]], start: float) -> None:
        try:
            await self.pause_async(start)
            with contextlib.suppress(Exception):
                await party()
        finally:
            self.end()


class RealStage(Stage):
    """Real time; each pause is up to a tenth shorter or longer than the program says."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def _about(self, seconds: float) -> float:
        return seconds * self._chance.uniform(0.9, 1.1)

    def pause(self, seconds: float) -> None:
        time.sleep(self._about(seconds))

    async def pause_async(self, seconds: float) -> None:
        await asyncio.sleep(self._about(seconds))


class VirtualStage(Stage):
    """Time of its own: it goes on when all parties wait, to the first that has waited enough."""

    def __init__(self) -> None:
        self._now = 0.0
        self._running = 0
        self._numbers = itertools.count()
        self._asleep: list[tuple[float, int, Callable[[], object]]] = []
        self._mutex = threading.Lock()

    def clock(self) -> float:  # type: ignore[override]
        return self._now

    def begin(self, parties: int) -> None:
        with self._mutex:
            self._running += parties

    def end(self) -> None:
        with self._mutex:
            self._running -= 1
            self._go_on()

    def _sleep(self, seconds: float, wake: Callable[[], object]) -> None:
        with self._mutex:
            entry = (self._now + seconds, next(self._numbers), wake)
            heapq.heappush(self._asleep, entry)
            self._running -= 1
            self._go_on()

    def _go_on(self) -> None:
        if self._running == 0 and self._asleep:
            self._now, _, wake = heapq.heappop(self._asleep)
            self._running = 1
            wake()

    def pause(self, seconds: float) -> None:
        woken = threading.Event()
        self._sleep(seconds, woken.set)
        assert woken.wait(PATIENCE), "time stands still: a party waits for something else"

    async def pause_async(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleep(seconds, lambda: woken.done() or woken.set_result(None))
        await woken
