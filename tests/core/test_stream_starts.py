"""The start of a sync stream and its handling, in C, beside those in Python: they do the same."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import queue
import re
import threading
from _thread import get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from inside import (
    AIO,
    SYNC,
    Api,
    Handlers,
    Mode,
    StreamProxy,
    always,
    core_which,
    findings_origins,
    guarding,
    intercepted,
    lifecycle_callbacks,
    lifecycle_channels,
    starts,
    sync_channel,
    sync_handlers,
)
from support import staging
from support.services import Service
from support.staging import in_thread, path

import grpc_guard

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


class ReadingInPython(sync_channel.UnaryStream):
    __slots__ = ()

    __call__ = guarding("__call__", sync_channel.start_unary_stream.__wrapped__)


class WritingInPython(sync_channel.StreamStream):
    __slots__ = ()

    __call__ = guarding("__call__", sync_channel.start_stream_stream.__wrapped__)


CORES = {
    "c": (sync_channel.UnaryStream, sync_channel.StreamStream),
    "py": (ReadingInPython, WritingInPython),
}


def timeless(text: str) -> str:
    """Return `text` without how long ago something was, and without numbers of threads."""
    return re.sub(r"\d+(\.\d+)? (ms|s)\b|Thread-\d+|0x[0-9a-f]+", "…", text)


def named(error: BaseException) -> Any:
    notes = [timeless(note) for note in getattr(error, "__notes__", [])]
    return type(error).__name__, timeless(str(error).partition("\n")[0]), notes


def start(multi_callable: Any, *args: Any, **kwargs: Any) -> Any:
    """Start a stream, and return what is known of it and comes of it; or the error."""
    try:
        call = multi_callable(*args, **kwargs)
    except Exception as error:
        return named(error)
    stream, origin = call._self_stream, call._self_stream.origin
    known = {
        "classes": [kind.__name__ for kind in type(call).__mro__],
        "stream": (stream.rpc, stream.side, stream.api, stream.mode, stream.loop, stream.ended),
        "origin": origin and (origin.kind, origin.name, origin.operation, origin.site),
        "around": origin and (origin.on_loop, origin.test_attempt, type(origin).__name__),
        "channel": stream.channel,
        "listed": stream.channel is not None and stream in stream.channel.streams,
        "read": (type(call._self_read).__name__, type(call._self_read.iterator).__name__),
        "handed": intercepted.handed_here.get() and intercepted.handed_here.get().stream is stream,
    }
    try:
        known["messages"] = list(call)
    except Exception as error:
        known["messages"] = named(error)
    return known | {"over": stream.is_over()}


class Named(threading.Thread):
    """A thread whose name is what its class says, or a failure."""

    def __init__(self, reading: Any, answers: bool) -> None:
        super().__init__()
        self.reading, self.answers = reading, answers
        self.result: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"called {self.answers}"

    @name.setter
    def name(self, name: str) -> None: ...

    def run(self) -> None:
        self.result.put(start(self.reading, b"1"))


class World:
    """A server and a channel, and a way to start streams."""

    def __init__(self, channel: Any, core: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.channel = channel
        self.plain = channel.__wrapped__
        self.core = core
        self.monkeypatch = monkeypatch

    def reading(self, mode: Mode = Mode.RAISE, plain: Any = None, choose: Any = None) -> Any:
        plain = plain or self.plain.unary_stream(path("Numbers"))
        return CORES[self.core][0](plain, path("Numbers"), choose or always(mode))

    def writing(self, mode: Mode = Mode.RAISE, plain: Any = None) -> Any:
        plain = plain or self.plain.stream_stream(path("Echo"))
        return CORES[self.core][1](plain, path("Echo"), always(mode))

    @property
    def life(self) -> Any:
        return lifecycle_channels.life_of(self.reading().__wrapped__)


def numbers(*given: bytes) -> Iterator[bytes]:
    yield from given


def of_every_mode(world: World) -> Any:
    for mode in (Mode.RAISE, Mode.WARN, Mode.SERIALIZE):
        yield start(world.reading(mode), b"2", timeout=staging.PATIENCE)
        yield start(world.writing(mode), iter([b"1", b"2"]), metadata=(("a", "b"),))


def in_mode_off(world: World) -> Any:
    yield issubclass(type(world.reading(Mode.OFF)(b"2")), StreamProxy)
    yield issubclass(type(world.writing(Mode.OFF)(iter([]))), StreamProxy)


def with_a_generator(world: World) -> Any:
    for _ in range(2):  # the class of its proxy is made the first time
        yield start(world.writing(), numbers(b"1", b"2"))


def with_a_generator_of_another_rpc(world: World) -> Any:
    held, generator = threading.Event(), None

    def requests() -> Iterator[bytes]:
        yield b"1"
        staging.wait(held)

    generator = requests()
    call = world.writing()(generator)
    assert next(call) == b"1"
    yield start(world.writing(), generator)
    held.set()
    assert list(call) == []


def with_other_arguments(world: World) -> Any:
    yield start(world.writing(), request_iterator=iter([b"1"]))
    yield start(world.writing())
    yield start(world.writing(), 7)
    yield start(world.reading())
    yield start(world.reading(), b"1", nonsense=1)


def on_a_closed_channel(world: World) -> Any:
    reading, writing = world.reading(), world.writing()
    world.channel.close()
    yield start(reading, b"1")
    yield start(writing, numbers(b"1"))


def below_the_guard_of_the_process(world: World) -> Any:
    with grpc_guard.guarded("warn"):
        yield start(world.reading(), b"1")
        yield start(world.writing(), iter([b"1"]))


def on_an_unknown_channel(world: World) -> Any:
    reading = world.reading()
    world.monkeypatch.delitem(lifecycle_channels._lives, id(reading._channel))
    yield start(reading, b"1")


def of_a_plain_object(world: World) -> Any:
    """As an interceptor may return: it has no channel, and no call of grpcio's."""
    yield start(
        world.reading(plain=lambda *args, **kwargs: iter([args, kwargs])), 1, *range(9), a=1
    )
    yield start(world.writing(plain=lambda requests: iter(list(requests))), numbers(b"1"))
    yield start(world.reading(plain=lambda *args: 1 / 0))
    yield start(world.reading(choose=lambda: 1 / 0))


def on_a_channel_of_the_parent(world: World) -> Any:
    world.monkeypatch.setattr(world.life, "generation", -7)
    yield start(world.reading(), b"1")


def on_a_full_channel(world: World) -> Any:
    world.life.next_report_at = 1
    yield start(world.reading(), b"1")
    yield world.life.next_report_at


class Interrupted(deque[Any]):
    """The streams of a channel, where Ctrl-C arrives when one more has come."""

    def append(self, stream: Any) -> None:
        super().append(stream)
        raise KeyboardInterrupt


def interrupted_in_the_table(world: World) -> Any:
    streams = Interrupted()
    world.monkeypatch.setattr(world.life, "streams", streams)
    for multi_callable, request in ((world.reading(), b"1"), (world.writing(), numbers(b"1"))):
        with pytest.raises(KeyboardInterrupt):
            multi_callable(request)
        stream = streams.pop()
        assert stream.is_over()
        yield stream.ended


def in_a_callback(world: World) -> Any:
    world.monkeypatch.setitem(lifecycle_callbacks.running, get_ident(), world.life)
    yield start(world.reading(), b"1")


def on_a_loop(world: World) -> Any:
    async def begin() -> Any:
        asyncio.current_task().set_name("begins")  # type: ignore[union-attr]
        return start(world.reading(), b"1")

    yield asyncio.run(begin())


def on_a_thread(world: World) -> Any:
    yield in_thread(start, world.reading(), b"1", name="begins").result()


def on_a_thread_of_a_class(world: World) -> Any:
    """Which says by itself what it is called, or has no name where threading keeps it."""
    for answer in (True, False):
        thread: Any = Named(world.reading(), answer)
        thread.start()
        yield thread.result.get(timeout=staging.PATIENCE)
        thread.join(staging.PATIENCE)


def on_a_thread_without_a_name(world: World) -> Any:
    """As one that threading does not know, of a library in C."""
    reading, results = world.reading(), queue.SimpleQueue[Any]()

    def begin() -> None:
        threading._active.pop(get_ident(), None)  # type: ignore[attr-defined]  # of an earlier one
        results.put((get_ident(), reading(b"1")))

    start_new_thread(begin, ())
    ident, call = results.get(timeout=staging.PATIENCE)
    origin = call._self_stream.origin
    yield origin.kind, origin.name == f"thread {ident}", list(call)


def below_an_interceptor(world: World) -> Any:
    for requests in (None, numbers(b"1")):
        handed = intercepted.Handed("/a.B/Other", requests, None)
        context = contextvars.copy_context()
        context.run(intercepted.handed_here.set, handed)
        yield context.run(start, world.writing(), iter([b"1"]))
        yield handed.requests


def where_bookkeeping_fails(world: World) -> Any:
    world.monkeypatch.setattr(starts, "note_origin", None)
    yield start(world.reading(), b"1")


STARTS = [
    of_every_mode,
    in_mode_off,
    with_a_generator,
    with_a_generator_of_another_rpc,
    with_other_arguments,
    on_a_closed_channel,
    below_the_guard_of_the_process,
    on_an_unknown_channel,
    of_a_plain_object,
    on_a_channel_of_the_parent,
    on_a_full_channel,
    interrupted_in_the_table,
    in_a_callback,
    on_a_loop,
    on_a_thread,
    on_a_thread_of_a_class,
    on_a_thread_without_a_name,
    below_an_interceptor,
    where_bookkeeping_fails,
]


def said(finding: grpc_guard.Finding) -> Any:
    return finding.rule.name, finding.rpc, timeless(finding.message), finding.remedy


@pytest.mark.parametrize("scenario", STARTS)
def test_starts(
    scenario: Callable[[World], Iterator[Any]], found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Both cores start the same stream, note the same, and report the same in the same words."""
    outcomes = []
    with staging.sync_server(Service().methods()) as address:
        for core in CORES:
            with staging.sync_channel(address) as channel, pytest.MonkeyPatch.context() as patch:
                world = World(channel, core, patch)
                told = list(scenario(world))
                channels = [one.pop("channel", None) for one in told if type(one) is dict]
                known = [channel and channel.target == address for channel in channels]
            logged = [record.getMessage().partition(" ")[0] for record in caplog.records]
            caplog.clear()
            outcomes.append((told, known, [said(finding) for finding in found()], len(logged)))
    assert outcomes[0] == outcomes[1]


# Origins


def test_origin_that_is_asked_for_while_it_is_made() -> None:
    """Making it may run the collector, and what that runs may ask for it, too: all get the same."""
    with (
        staging.sync_server(Service().methods()) as address,
        staging.sync_channel(address) as channel,
        pytest.MonkeyPatch.context() as patch,
    ):
        world = World(channel, "c" if compiled else "py", patch)
        for more in range(-4, 5):
            call, seen, usual = world.reading()(b""), [], gc.get_threshold()
            gc.collect()

            def ask(*_: object, call: Any = call, seen: list[Any] = seen) -> None:
                seen.append(call._self_stream.origin)

            gc.callbacks.append(ask)
            held = [World(channel, "py", patch) for _ in range(20)]  # that many are counted
            gc.set_threshold(gc.get_count()[0] + more)
            try:
                seen.append(call._self_stream.origin)
            finally:
                gc.set_threshold(*usual)
                gc.callbacks.remove(ask)
            assert {id(origin) for origin in seen} == {id(call._self_stream.origin)}
            call.cancel()
            held.clear()


def called_by_library(note: Any) -> Any:
    names: dict[str, Any] = {"__name__": "generated", "note": note}
    code = compile("origin = note('x')", "/usr/lib/site-packages/a.py", "exec")
    exec(code, names)
    return names["origin"]


def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who, where and what around: the same in C, and what is not usual comes from Python."""
    ways = {"c": compiled.note_origin, "py": findings_origins.note_origin}

    def noted(note: Any) -> Any:
        return called_by_library(note), note("y")

    def known(origin: Any) -> Any:
        names = ("kind", "name", "on_loop", "operation", "site", "test_attempt")
        assert 0 <= origin.age < staging.PATIENCE
        return [origin.place[0], *(getattr(origin, name) for name in names)]

    seen = [[known(one) for one in noted(note)] for note in ways.values()]
    assert seen[0] == seen[1]
    monkeypatch.setattr(findings_origins.ledger, "test_attempt", "again")
    seen = [[known(one) for one in noted(note)] for note in ways.values()]
    assert seen[0] == seen[1]
    assert {one[-1] for one in seen[0]} == {"again"}


# Handlers


class OfPool(Handlers):
    """Records of handlers that log who enters."""

    log: list[Any]

    def enter(self, stream: Any, context: Any = None) -> None:
        self.log.append((stream.rpc, stream.side, stream.api, stream.mode, context))
        self.stream = stream

    def enter_unary(self, rpc: str, context: Any = None) -> Any:
        self.log.append((rpc, context))
        self.entry = super().enter_unary(rpc)
        return self.entry


CONTEXT = SimpleNamespace(is_active=lambda: True, peer=lambda: "somebody")
SHAPES = [(requests, responses) for requests in (False, True) for responses in (False, True)]


def handle(
    core: str,
    shape: tuple[bool, bool],
    mode: Mode,
    plain: Any,
    *args: Any,
    api: Api = SYNC,
    **kwargs: Any,
) -> Any:
    """Handle an RPC, and return what is known of it and comes of it."""
    records = OfPool(None)
    records.log = []
    with pytest.MonkeyPatch.context() as patch:
        if core == "py":
            patch.setattr(sync_handlers, "_compiled", None)
        choose = always(mode)
        replace = sync_handlers.replacing("/a/b", choose, *shape, handlers=records, api=api)
        behavior = sync_handlers.guarded_behavior(plain, choose, replace)
    known: dict[str, Any] = {"flags": behavior.__code__.co_flags & inspect.CO_GENERATOR}
    try:
        result = behavior(*args, **kwargs)
        stream = getattr(records, "stream", None)
        known["type"] = type(result).__name__
        if stream is not None:
            directions = (stream.read, stream.write)
            known["stream"] = (stream.ended, stream.is_over(), *map(type, directions))
        known["result"] = list(result) if hasattr(result, "__next__") else result
    except Exception as error:
        known["result"] = named(error)
    stream = getattr(records, "stream", None)
    known["ended"] = stream.ended if stream is not None else None
    known["entry"] = records.entry.ended if hasattr(records, "entry") else None
    return known | {"log": records.log}


def echo(request: Any, context: Any) -> Any:
    seen = list(request) if hasattr(request, "__next__") else request
    yield type(request).__name__, type(context).__name__, context.peer(), seen


def reply(request: Any, context: Any) -> Any:
    seen = list(request) if hasattr(request, "__next__") else request
    return [type(request).__name__, type(context).__name__, context.peer(), seen]


def fail(request: Any, context: Any) -> Any:
    raise KeyError(type(request).__name__)


def send(request: Any, context: Any, sender: Callable[[Any], None]) -> None:
    sender(type(context).__name__)
    sender(None)


class Servicer:
    def echo(self, request: Any, context: Any) -> Any:
        return iter([(type(self).__name__, type(request).__name__, context.peer())])


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.SERIALIZE, Mode.OFF])
@pytest.mark.parametrize("shape", SHAPES)
def test_handlers(shape: tuple[bool, bool], mode: Mode, found: Any) -> None:
    """Both cores give a handler the same, take the same from it, and note the same of it."""
    sent: list[Any] = []

    def handled(core: str, plain: Any, *args: Any, **kwargs: Any) -> Any:
        return handle(core, shape, mode, plain, *args, **kwargs), [*map(said, found())]

    for plain in (echo, reply, fail, Servicer().echo):
        for request in (b"1", [b"1"], "iterator"):
            outcomes = [handled(core, plain, given(request), CONTEXT) for core in CORES]
            assert outcomes[0] == outcomes[1]
    for arguments, names in [
        ((b"1", CONTEXT), {"context": 1}),
        ((b"1", CONTEXT, sent.append), {}),
        ((b"1",), {"context": CONTEXT}),
        ((), {}),
    ]:
        plain = send if len(arguments) > 2 else reply
        outcomes = [handled(core, plain, *arguments, **names) for core in CORES]
        assert outcomes[0] == outcomes[1]
    assert sent[:2] == sent[2:]


@pytest.mark.parametrize("shape", SHAPES)
def test_handlers_of_the_pool(shape: tuple[bool, bool]) -> None:
    """Nobody follows the context of a handler in the thread pool of an aio server, in either core."""
    outcomes = [
        handle(core, shape, Mode.RAISE, reply, given(b"1"), CONTEXT, api=AIO) for core in CORES
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["log"][0][-1] is None


def given(request: Any) -> Any:
    return iter([b"1", b"2"]) if request == "iterator" else request


def test_a_generator_that_two_handlers_return(found: Any) -> None:
    """Both cores refuse it to the second, as long as the first RPC lives."""
    outcomes = []
    for core in CORES:
        shared = numbers(b"1")
        first = handle(core, (False, True), Mode.RAISE, lambda *_: [shared], b"", CONTEXT)
        assert first["result"] == [shared]
        kept: list[Any] = []

        def respond(request: Any, context: Any, shared: Any = shared, kept: Any = kept) -> Any:
            kept.append(context._self_stream)  # the RPC lives as long as its stream
            return shared

        with pytest.MonkeyPatch.context() as patch:
            if core == "py":
                patch.setattr(sync_handlers, "_compiled", None)
            behavior = sync_handlers.guard_behavior(
                respond, "/a/b", always(Mode.RAISE), False, True, handlers=Handlers(None)
            )
        alive = behavior(b"", CONTEXT)
        outcomes.append((staging.outcome(behavior, b"", CONTEXT), [said(one) for one in found()]))
        assert list(alive) == [b"1"]
    assert [named(error) for error, _ in outcomes[:1]] == [
        named(error) for error, _ in outcomes[1:]
    ]
    assert outcomes[0][1] == outcomes[1][1] != []


# What it is told


def test_what_it_is_told() -> None:
    """tell() refuses what it does not know, and so do the types whose arguments are wrong."""
    for told, error in [
        (7, TypeError),
        ({7: 7}, TypeError),
        ({"kinds": 7}, TypeError),
        ({"nonsense": 7}, NameError),
    ]:
        with pytest.raises(error):
            compiled.tell(told)
    for make in (
        lambda: compiled.Method(reply),
        lambda: compiled.Method(reply, name="itself"),
        lambda: compiled.Handling(reply, reply, 0),
        lambda: compiled.Handling(7, *[reply] * 2, 0, *[reply] * 4, 1, 1, 1),
    ):
        with pytest.raises(TypeError):
            make()
    with pytest.raises(ValueError, match="nonsense"):
        compiled.Method(reply, "nonsense")
    with pytest.raises(ValueError, match="first"):
        compiled.Handling(*[reply] * 2, 2, *[reply] * 5, 1, 1, 1)


def test_what_a_method_says_of_itself() -> None:
    """Its name, text and signature are those of the function; it leaves what is not usual to that."""
    method = compiled.Method(reply, "itself")
    assert (method.__name__, repr(method)) == ("reply", repr(reply))
    assert inspect.signature(method) == inspect.signature(reply)
    assert type(method).__get__(method, None, Servicer) is method
    assert method(b"1", CONTEXT) == reply(b"1", CONTEXT)
    kept = staging.outcome(method, b"1")
    assert type(kept) is TypeError
