"""Whatever a program does with an object, the result is that of the plain one: generated tests.

Every kind of guarded object x every special method and operator x the usual operands, and what
the standard library, mocks and the libraries for iterators do with it. What differs stands in
docs/transparency.md, in the table "Differences that the suite knows", and nowhere else.
"""

from __future__ import annotations

import asyncio
import fnmatch
import gc
import queue
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import (
    GenericHandler,
    Mode,
    Stream,
    core_which,
    intercepted,
    sync_calls,
    sync_handlers,
)
from support.comparison import AioWorld, World
from support.gallery import aio_stage, aio_twins, sync_stage, sync_twins
from support.helpers import acts as helpers
from support.helpers import async_acts, rest_of
from support.protocols import acts, consumes, outcome, starts
from support.services import AioService, Service
from support.staging import PATIENCE, path, run, wait, within

import grpc_guard
from grpc_guard import ChannelRegistry, aio

PAGE = Path(__file__).parents[2] / "docs" / "transparency.md"

# Not fewer: a suite that lost its acts would pass as well.
PAIRS_OF_OBJECTS = 75_000
PAIRS_OF_LEASES = 10_000  # of each api


def rows(heading: str) -> list[str]:
    """The rows of the table below `heading`."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return [row for row in section.split("\n## ")[0].splitlines() if row.startswith("| `")]


def patterns(rows: list[str]) -> set[str]:
    """The patterns in the first column of `rows`."""
    return {pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row.split(" | ")[0])}


def listed() -> set[str]:
    """The patterns of the table of known differences, those of the core that runs."""
    known = rows("Differences that the suite knows")
    if core_which.compiled() is not None:
        known = [row for row in known if "(only the core in Python" not in row]
    return patterns(known)


def of_some(rows: list[str]) -> set[str]:
    """The patterns of what differs with some versions or libraries only: the row says so."""
    return patterns([row for row in rows if "(only " in row])


def matches(act: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(act, pattern.replace("[", "[[]"))


def listed_of_some() -> set[str]:
    return of_some(rows("Differences that the suite knows"))


def listed_of_streams() -> set[str]:
    """The patterns of acts that take messages."""
    taking = [name for name, act in acts().items() if consumes(act)]
    idle = [name for name, act in acts().items() if not consumes(act)]
    return {
        pattern
        for pattern in listed() - listed_of_some()
        if any(matches(act, pattern) for act in taking)
        and not any(matches(act, pattern) for act in idle)
    }


class Survey:
    """What was compared, and what was different."""

    def __init__(self) -> None:
        self.pairs = 0
        self.differences: dict[str, list[Any]] = {}

    def compare(self, kind: str, act: str, plain: Any, guarded: Any) -> None:
        self.pairs += 1
        if plain != guarded:
            self.differences.setdefault(act, []).append((kind, plain, guarded))

    def unlisted(self, known: set[str] | None = None) -> dict[str, Any]:
        known = listed() if known is None else known
        return {
            act: seen[0]
            for act, seen in self.differences.items()
            if not any(matches(act, pattern) for pattern in known)
        }

    def gone(self, patterns: set[str]) -> set[str]:
        return {p for p in patterns if not any(matches(act, p) for act in self.differences)}


# Objects: acts that take no message, on every guarded object of live streams


def survey_objects(survey: Survey, objects: dict[str, Any]) -> None:
    survey_twins(survey, {kind: (x.__wrapped__, x) for kind, x in objects.items()})


def survey_twins(survey: Survey, twins: dict[str, tuple[Any, Any]]) -> None:
    idle = {name: act for name, act in acts().items() if not consumes(act)}
    starting = {name for name, act in idle.items() if starts(act)}
    for kind, (plain, guarded) in twins.items():
        for name, act in idle.items():
            if not (name in starting and callable(guarded)):
                survey.compare(kind, name, outcome(act, plain), outcome(act, guarded))


def made_by_hand() -> dict[str, Any]:
    """Guarded objects that gRPC alone holds, or that only an interceptor sees."""

    def stream(side: str = "client") -> Stream:
        return Stream("/test/Protocols", side, "sync", Mode.RAISE)

    def messages() -> Iterator[bytes]:
        yield from (b"0", b"1", b"2")

    handler = grpc.method_handlers_generic_handler("test", {})
    return {
        "requests of a client": sync_calls.guard_requests(messages(), stream()),
        "responses of a handler": sync_handlers.responses_of(messages(), stream("server")),
        "responses of an interceptor": intercepted.responses_of(messages(), stream()),
        "generic handler": GenericHandler(handler, lambda: Mode.RAISE, lambda *_: None),
    }


@pytest.mark.filterwarnings("ignore")  # of what the acts ask for on purpose
def test_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """No act tells a guarded object from its plain twin, but for those that the page lists."""
    survey = Survey()
    survey_objects(survey, made_by_hand())
    with sync_stage() as objects:
        survey_objects(survey, objects)

    async def survey_aio() -> None:
        async with aio_stage() as objects:
            survey_objects(survey, objects)

    run(survey_aio())
    gc.collect()  # grpcio warns of what was asked for and left when it dies: here, where it may
    grpc_guard.clear_findings()  # a double may close a channel twice
    with capsys.disabled():
        sys.stdout.write(f"\n{survey.pairs} pairs of outcomes of objects\n")
    assert survey.unlisted() == {}
    of_objects = listed() - listed_of_streams() - listed_of_some()
    assert survey.gone(of_objects) == set(), "as it is plain: off the page"
    assert survey.pairs > PAIRS_OF_OBJECTS


class NamedAsPlain(Survey):
    """Compares a lease, or what one hands out, with grpcio's own, whose classes have other names."""

    def __init__(self, twins: dict[str, tuple[Any, Any]]) -> None:
        super().__init__()
        self._names = {
            kind: (rf"\b{type(guarded).__name__}\b", type(plain).__name__)
            for kind, (plain, guarded) in twins.items()
        }

    def compare(self, kind: str, act: str, plain: Any, guarded: Any) -> None:
        name, plain_name = self._names[kind]
        super().compare(kind, act, repr(plain), re.sub(name, plain_name, repr(guarded)))


def check_leases(twins: dict[str, tuple[Any, Any]]) -> None:
    survey = NamedAsPlain(twins)
    survey_twins(survey, twins)
    # The class itself, which is not a proxy here, differs in more than a proxy does.
    of_classes = {pattern for pattern in listed() if pattern.startswith("hasattr(type)")}
    known = patterns(rows("Leases"))
    assert survey.unlisted(known | of_classes) == {}
    assert survey.gone(known - of_some(rows("Leases"))) == set(), "as it is plain: off the page"
    assert survey.pairs > PAIRS_OF_LEASES


@pytest.mark.filterwarnings("ignore")
def test_leases() -> None:
    """A lease and its multi-callables are as a channel and its own, but for what the page lists."""
    with sync_twins() as twins:
        check_leases(twins)
    grpc_guard.clear_findings()


@pytest.mark.filterwarnings("ignore")
async def test_aio_leases() -> None:
    """The same for asyncio."""
    async with aio_twins() as twins:
        check_leases(twins)
    grpc_guard.clear_findings()


# Streams: acts that take messages, each on a new stream with three of them


class Streams:
    """Makes streams of the sync api, in a plain or a guarded world."""

    def __init__(self, way: str | None, stack: ExitStack) -> None:
        self._is_plain = way is None
        world = World(way, stack)
        service = Service().methods()
        service["Lend"] = grpc.stream_stream_rpc_method_handler(self._lend)
        address = world.serve(service)
        self._channel = world.connect(address)
        self._single = world.connect(address, single_threaded=True)
        self._leased = self._channel
        if not self._is_plain:
            self._leased = stack.enter_context(ChannelRegistry()).get(address)
        self._lent: queue.Queue[Any] = queue.Queue()
        self._taken_back = threading.Event()

    def _lend(self, requests: Any, context: Any) -> Iterator[bytes]:
        self._lent.put(requests)
        wait(self._taken_back)
        yield from ()

    @contextmanager
    def open(self, kind: str) -> Iterator[Any]:
        messages = [b"0", b"1", b"2"]
        channel = self._channel
        if kind == "call unary_stream":
            yield channel.unary_stream(path("Numbers"))(b"3")
        elif kind == "call stream_stream":
            yield channel.stream_stream(path("Echo"))(iter(messages))
        elif kind == "call single-threaded":
            yield self._single.unary_stream(path("Numbers"))(b"3")
        elif kind == "call of a lease":
            yield self._leased.unary_stream(path("Numbers"))(b"3")
        elif kind == "future":
            # Over: iterating over one that is not may end the thread of grpcio's channel,
            # guarded or not (KeyError of an operation that was due twice), and waits for ever.
            future = channel.stream_unary(path("Count")).future(iter(messages))
            future.result(timeout=PATIENCE)
            yield future
        elif kind == "requests of a handler":
            self._taken_back.clear()
            call = channel.stream_stream(path("Lend"))(iter(messages))
            try:
                yield self._lent.get(timeout=PATIENCE)
            finally:
                self._taken_back.set()
                list(call)
        else:
            guarded = made_by_hand()[kind]
            yield guarded.__wrapped__ if self._is_plain else guarded

    def play(self, kind: str, act: Callable[[Any], Any]) -> Any:
        """Return the outcome of `act` on a new stream, and what is left of its messages."""
        with self.open(kind) as stream:
            return outcome(act, stream), rest_of(stream)


KINDS = (
    *("call unary_stream", "call stream_stream", "call single-threaded", "call of a lease"),
    *("future", "requests of a handler", "requests of a client", "responses of a handler"),
    "responses of an interceptor",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_streams(kind: str) -> None:
    """What takes messages takes the same from a guarded stream, and leaves the same in it."""
    survey = Survey()
    taking = {name: act for name, act in acts().items() if consumes(act)}
    if kind in ("call unary_stream", "requests of a handler"):
        taking |= helpers()
    with ExitStack() as stack:
        plain, guarded = Streams(None, stack), Streams("raise", stack)
        for name, act in taking.items():
            survey.compare(kind, name, plain.play(kind, act), guarded.play(kind, act))
    assert survey.unlisted() == {}
    assert survey.gone(listed_of_streams()) == set(), "as it is plain: off the page"
    assert grpc_guard.findings() == ()
    assert survey.pairs > 100


AIO_KINDS = (
    *("call unary_stream", "call stream_stream", "call of a lease"),
    *("messages", "requests of a handler"),
)


@asynccontextmanager
async def aio_streams(way: str | None) -> AsyncIterator[Callable[[str], Any]]:
    """Yield what opens a stream of three messages in a plain or a guarded world."""
    lent: asyncio.Queue[Any] = asyncio.Queue()
    taken_back: asyncio.Queue[None] = asyncio.Queue()

    async def lend(requests: Any, context: Any) -> AsyncIterator[bytes]:
        lent.put_nowait(requests)
        await taken_back.get()
        yield b""

    async with AsyncExitStack() as stack:
        service = AioService().methods()
        service["Lend"] = grpc.stream_stream_rpc_method_handler(lend)
        world = AioWorld(way, stack)
        address = await world.serve(service)
        channel = leased = await world.connect(address)
        if way is not None:
            leased = (await stack.enter_async_context(aio.ChannelRegistry())).get(address)

        @asynccontextmanager
        async def open_stream(kind: str) -> AsyncIterator[Any]:
            messages = [b"0", b"1", b"2"]
            if kind == "call stream_stream":
                call = channel.stream_stream(path("Echo"))(messages)
                yield call
                call.cancel()
            elif kind == "requests of a handler":
                call = channel.stream_stream(path("Lend"))(messages)
                yield await within(lent.get())
                taken_back.put_nowait(None)
                await call.read()
            else:
                numbers = (leased if kind == "call of a lease" else channel).unary_stream
                call = numbers(path("Numbers"))(b"3")
                yield call if kind.startswith("call") else call.__aiter__()
                call.cancel()

        yield open_stream


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", AIO_KINDS)
async def test_aio_streams(kind: str) -> None:
    """The helpers for async iterators do with a guarded stream what they do with a plain one."""
    survey = Survey()
    async with aio_streams(None) as plain, aio_streams("raise") as guarded:
        for name, act in async_acts().items():
            seen = []
            for open_stream in (plain, guarded):
                async with open_stream(kind) as stream:
                    seen.append(await within(act(stream)))
            survey.compare(kind, name, *seen)
    assert survey.unlisted() == {}
    assert grpc_guard.findings() == ()
