"""The boundary: what the guard does wrong stays inside, and what is the program's comes out."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    CONCURRENT_READ,
    AioDirection,
    Api,
    Ledger,
    Mode,
    NeverClosed,
    Side,
    Stream,
    Subject,
    Watch,
    blocking,
    boundary,
    cancellations,
    core_fields,
    cpython_door,
    grpcio_door,
    ledger,
    lifecycle_channels,
    lifecycle_churn,
    lifecycle_handlers,
    lifecycle_leaks,
    limits,
    note_origin,
    probe,
    proxies_unary,
    starts,
    warn,
)
from support.interrupts import by_signal, by_thread, code_of, codes_within, sweep

import grpc_guard
from grpc_guard import ConcurrencyError, Finding, guarded

PACKAGE = str(Path(grpc_guard.__file__).parent)
Act = Callable[[], object]


class Limit(Exception):  # no error: the program's own
    """A time limit of a class of the program's own, as Celery's SoftTimeLimitExceeded."""


class Mishap(ValueError, TypeError, RuntimeError, IndexError, KeyError, ArithmeticError):
    """Derived from each class that the guard itself might raise or expect."""


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A direction that counts has a finaliser, in which CPython swallows what arrives."""
    monkeypatch.setattr(core_fields, "counting", False)


# The rule


def caught(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value  # type: ignore[no-any-return]


def raising(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        AttributeError,
        FileNotFoundError,
        KeyError,
        MemoryError,
        RecursionError,
        TypeError,
        UnicodeError,
    ],
)
def test_mistake(error: type[Exception]) -> None:
    """Mistakes and failures of the system are the guard's own."""
    assert boundary.is_own(caught(functools.partial(raising, error)))


@pytest.mark.parametrize("error", [Exception, TimeoutError, EOFError, Limit, Mishap, grpc.RpcError])
def test_error_of_another_kind(error: type[Exception]) -> None:
    """Time limits, and the classes of programs and libraries, are not."""
    assert not boundary.is_own(caught(functools.partial(raising, error)))


def test_error_of_the_guards_own_class() -> None:
    """An error of one of the guard's own classes counts as its own."""
    assert boundary.is_own(type("Broken", (Exception,), {"__module__": "grpc_guard._a.b"})())
    assert ConcurrencyError.__module__.partition(".")[0] == "grpc_guard"
    assert not boundary.is_own(type("Own", (Exception,), {"__module__": "grpc_guards"})())


def handler(number: int, frame: object) -> None:
    raise ValueError("time is up")


def handler_by_arguments(*arguments: object) -> None:
    helper()


def helper() -> None:
    raise ValueError("time is up")


class Handler:
    def __call__(self, number: int, frame: object) -> None:
        handler(number, None)


@pytest.fixture
def alarm() -> Iterator[Callable[[Any], None]]:
    """Yield a function that sets the handler of SIGALRM."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)  # type: ignore[misc,return-value]
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "handling",
    [handler, handler_by_arguments, Handler(), functools.partial(lambda _, *given: helper(), 1)],
    ids=["function", "arguments", "object", "partial"],
)
def test_mistake_of_a_signal_handler(handling: Any, alarm: Any) -> None:
    """An exception that a signal handler raises comes out, whatever its class."""
    alarm(handling)

    def work() -> None:
        signal.raise_signal(signal.SIGALRM)
        for _ in range(1000):
            pass

    error = caught(work)
    assert not boundary.is_own(error)
    assert boundary.is_injected(error)


def test_mistake_of_the_programs_code_that_the_guard_called() -> None:
    """A function of the program that is no signal handler makes mistakes as the guard does."""

    def read(path: str, frame: object) -> None:
        raise ValueError

    error = caught(lambda: read("", sys._getframe(1)))
    assert boundary.is_own(error)
    assert not boundary.is_injected(error)


def test_mistake_of_a_function_of_the_guard_that_is_given_a_frame() -> None:
    """A function of the guard that holds its caller's frame, to look at it, is no signal handler."""
    code = "import sys\ndef look(frame): raise ValueError\ndef act(): look(sys._getframe())"
    names = {"__name__": "grpc_guard._a.b"}
    exec(code, names)
    assert boundary.is_own(caught(names["act"]))  # type: ignore[arg-type]
    names["__name__"] = "program"
    assert not boundary.is_own(caught(names["act"]))  # type: ignore[arg-type]


def test_own_error_of_the_programs_code_that_the_guard_called() -> None:
    """An error that the called code raises is not injected; one that arises in the guard is."""
    assert not boundary.is_injected(caught(functools.partial(raising, Limit)))
    for error, injected in ((Limit, True), (TimeoutError, True), (ValueError, False)):
        assert boundary.is_injected(arising_in_guard(error)) is injected
    assert not boundary.is_injected(Limit())  # it was never raised


def arising_in_guard(error: type[Exception]) -> Exception:
    """Return an `error` that a frame of the guard raised."""
    code = compile("raise error", "guard", "exec")
    return caught(lambda: exec(code, {"__name__": "grpc_guard._a.b", "error": error}))


def test_overlooked(caplog: pytest.LogCaptureFixture) -> None:
    """The guard's own errors are logged with their traceback; the program's are left alone."""
    assert boundary.overlooked(caught(functools.partial(raising, KeyError)), "lost %s", "it")
    assert not boundary.overlooked(caught(functools.partial(raising, Limit)), "lost")
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno) == ("lost it", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


class Unprintable:
    """A key of the program that cannot be shown."""

    def __repr__(self) -> str:
        raise Limit


def test_overlooking_an_error_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the program runs in there, not the repr() of a key."""
    logged: list[str] = []
    monkeypatch.setattr(boundary.logger, "error", lambda message, **_: logged.append(message))
    assert boundary.overlooked(KeyError(Unprintable()), "lost")
    assert logged == ["lost"]


def test_a_thread_that_the_end_of_the_interpreter_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is logged when a program ends and the guard can no longer start a thread."""
    refused = RuntimeError("can't create new thread at interpreter shutdown")
    assert boundary.overlooked(refused, "something goes unnoticed")
    assert caplog.records == []


def test_never_disturbs(caplog: pytest.LogCaptureFixture) -> None:
    """A protected function swallows the guard's own errors, and lets out those of the program."""
    protected = boundary.never_disturbs("it goes unnoticed")(raising)
    protected(KeyError)
    assert caplog.messages == ["it goes unnoticed"]
    for error in (Limit, TimeoutError, KeyboardInterrupt):
        with pytest.raises(error):
            protected(error)
    assert protected.__name__ == "raising"


# What the program called, and what arrives meanwhile


class Wayward:
    """A call of an interceptor's own kind."""

    def __init__(self, act: Callable[..., object]) -> None:
        self.time_remaining = act


def test_deadline_of_a_call_that_raises() -> None:
    """A call that raises when asked for its deadline allows no delay."""
    assert limits.time_left([Wayward(functools.partial(raising, Limit))]) == 0


def test_deadline_during_which_a_signal_arrives(alarm: Any) -> None:
    """What a signal handler raises meanwhile comes out."""
    alarm(handler)
    with pytest.raises(ValueError, match="time is up"):
        limits.time_left([Wayward(lambda: signal.raise_signal(signal.SIGALRM))])


@pytest.mark.parametrize("error", [Limit, NotImplementedError, TypeError, TimeoutError])
def test_a_question_that_is_refused(error: type[Exception]) -> None:
    """A call or context of the program's own kind need not answer the guard."""
    assert boundary.asked(Wayward(functools.partial(raising, error)), "time_remaining") is None
    assert boundary.asked(object(), "time_remaining") is None
    strange: Any = type("Strange", (), {"__getattr__": lambda self, name: raising(error)})()
    assert boundary.attribute_of(strange, "_state") is None
    assert boundary.attribute_of(object(), "_state") is None
    assert boundary.attribute_of(SimpleNamespace(_state=1), "_state") == 1
    assert limits.time_left([strange]) == 0
    assert boundary.asked(Wayward(lambda *given: given), "time_remaining", 1, 2) == (1, 2)


def test_a_question_during_which_a_signal_arrives(alarm: Any) -> None:
    """What a signal handler raises meanwhile comes out."""
    alarm(handler)
    with pytest.raises(ValueError, match="time is up"):
        boundary.asked(Wayward(lambda: signal.raise_signal(signal.SIGALRM)), "time_remaining")


def test_reporter_during_which_a_signal_arrives(alarm: Any) -> None:
    """What a reporter raises is swallowed, and what a signal handler raises in it comes out."""
    alarm(handler)
    book = Ledger()
    book.add_sink(lambda finding: raising(Limit))
    book.record(a_finding())
    book.add_sink(lambda finding: signal.raise_signal(signal.SIGALRM))
    with pytest.raises(ValueError, match="time is up"):
        book.record(a_finding())


def a_finding() -> Finding:
    before = len(ledger.findings())
    a_warning()
    finding = ledger.findings()[before]
    ledger.clear()
    return finding


def a_warning() -> None:
    maker = note_origin("insecure_channel").owner()
    subject = Subject("127.0.0.1:1", Side.CLIENT, Api.SYNC)
    warn(NeverClosed(maker, 0), subject, caller=maker)


# Each place of the bookkeeping, interrupted before each of its instructions


def start() -> Iterator[Act]:
    with grpc.insecure_channel("127.0.0.1:1") as channel, guarded():
        multi_callable = channel.unary_stream("/a/b")

        def act() -> None:
            starts.starting(Stream("/a/b", "client", "sync", Mode.RAISE), multi_callable)

        yield act


def make() -> Iterator[Act]:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        core = channel._channel

        def act() -> None:
            lifecycle_channels._lives.pop(id(core), None)
            lifecycle_channels.made(channel, "sync", "insecure_channel", "here", "key")

        yield act
        lifecycle_channels._lives.pop(id(core), None)


def close() -> Iterator[Act]:
    with guarded(), grpc.insecure_channel("127.0.0.1:1") as channel:
        life = lifecycle_channels.life_of(channel.unary_stream("/a/b"))
        assert life is not None

        def act() -> None:
            life.closing = None
            lifecycle_channels.closing(channel)

        yield act


def refuse() -> Iterator[Act]:
    with guarded():
        channel = grpc.insecure_channel("127.0.0.1:1")
        life = lifecycle_channels.life_of(channel.unary_stream("/a/b"))
        multi_callable = channel.unary_unary("/a/b")
        channel.close()

        def act() -> None:
            starts.failed_to_start(life, "/a/b", ValueError())
            proxies_unary.refused(multi_callable, "/a/b", ValueError())
            proxies_unary._look_back(multi_callable, "/a/b")

        yield act


def warn_of_it() -> Iterator[Act]:
    yield a_warning


def look() -> Iterator[Act]:
    with grpc.insecure_channel("127.0.0.1:1"):
        yield functools.partial(lifecycle_leaks.look, lambda origin: False)


def watch_a_server() -> Iterator[Act]:
    handlers = lifecycle_handlers.Handlers(None)
    kept: list[object] = []  # what arrives while threading forgets one, CPython swallows

    def act() -> None:
        kept.append(handlers._watcher)
        handlers._watcher = None
        handlers._watch()
        if handlers._watcher is not None:
            handlers._watcher.cancel()
        handlers._look()

    yield act


def visit() -> Iterator[Act]:
    with guarded(probe=True):
        stream = Stream("/a/b", "client", "sync", Mode.RAISE)
        watch = probe.prober().watch(stream, None)

        def act() -> None:
            watch._track.current = watch._track.last = None
            watch._prober.mutex.acquire(False)
            watch._prober.mutex.release()
            watch._arrive(sys._getframe())
            watch.collided(sys._getframe())

        yield act


def block() -> Iterator[Act]:
    stream = Stream("/a/b", "client", "sync", Mode.RAISE)
    yield functools.partial(blocking._tell, stream, 1.0)


def cancel() -> Iterator[Act]:
    loop = asyncio.get_running_loop()
    stream = Stream("/a/b", "server", "aio", Mode.RAISE, loop)

    def act() -> None:
        direction = AioDirection(stream, CONCURRENT_READ)
        cancellations.after_cancel(stream, "read", asyncio.CancelledError())
        cancellations.before_await(direction)

    yield act


STEP = 4  # instructions between two injections; where each RPC passes it is 1
PLACES = [start, make, close, refuse, warn_of_it, look, watch_a_server, visit, block, cancel]


def by_handler(error: type[Exception]) -> Callable[[], Any]:
    def handle(number: int, frame: object) -> None:
        raise error("time is up")

    signal.signal(signal.SIGALRM, handle)
    return functools.partial(by_signal, signal.SIGALRM)


INJECTED: dict[str, tuple[type[Exception], Callable[[], Callable[[], Any]]]] = {
    "own class, by another thread": (Limit, lambda: functools.partial(by_thread, Limit)),
    "TimeoutError, by another thread": (
        TimeoutError,
        lambda: functools.partial(by_thread, TimeoutError),
    ),
    "own class, by a signal handler": (Limit, lambda: by_handler(Limit)),
    "derived from a mistake, by a signal handler": (Mishap, lambda: by_handler(Mishap)),
    "TimeoutError, by a signal handler": (TimeoutError, lambda: by_handler(TimeoutError)),
    "a mistake, by a signal handler": (ValueError, lambda: by_handler(ValueError)),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGALRM here")
@pytest.mark.parametrize("kind", INJECTED)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_injected_exception_comes_out(
    place: Callable[[], Iterator[Act]], kind: str, alarm: Any, found: Any
) -> None:
    """An exception that arrives before any instruction of the bookkeeping reaches the program."""
    error, make_trigger = INJECTED[kind]
    trigger = make_trigger()
    vanished = []
    acts = place()
    for act in acts:
        act()  # what is worked out once is no part of it
        codes = codes_within(act, PACKAGE)
        for number, injection in enumerate(sweep(codes, 1 if place is start else STEP, trigger)):
            came = injection.run(act)
            if injection.fired and type(came) is not error:
                vanished.append((number, came))
        assert vanished == []
    found()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGALRM here")
def test_exception_that_arrives_while_a_variable_is_looked_for(alarm: Any) -> None:
    """A signal handler's KeyError is not taken for that of a variable which is missing."""

    def look() -> object:
        return cpython_door.variables_of(sys._getframe()).get("missing")

    codes = code_of(look, cpython_door.variables_of)
    for injection in sweep(codes, trigger=by_handler(Mishap)):
        came = injection.run(look)
        assert not injection.fired or type(came) is Mishap


def test_variables_are_looked_for_in_one_way() -> None:
    """No file asks a frame itself for a variable that may be missing: see variables_of()."""
    asking = [
        path
        for path in Path(PACKAGE).rglob("*.py")
        if "f_locals.get" in path.read_text(encoding="utf-8")
    ]
    assert asking == []


# Each place once more, by a call: what is injected above no measure of coverage sees


def limit(*_: object, **__: object) -> Any:
    raise Limit


def mishap(*_: object, **__: object) -> Any:
    raise Mishap


class Mapping:
    __getitem__ = limit


def _note(place: Callable[[], Iterator[Act]]) -> None:
    for act in place():
        act()


def _direction() -> AioDirection:
    return AioDirection(
        Stream("/a/b", "server", "aio", Mode.RAISE, asyncio.get_running_loop()), CONCURRENT_READ
    )


def _after_use() -> None:
    cancellations._after_use(_direction(), sys._getframe())


def _watch(name: str) -> None:
    with guarded(probe=True):
        watch = probe.prober().watch(Stream("/a/b", "client", "sync", Mode.RAISE), None)
        getattr(watch, name)(sys._getframe())


SILENT = SimpleNamespace()

BY_CALL: dict[str, tuple[Act, object, str, object]] = {
    "start": (functools.partial(_note, start), starts, "note_origin", limit),
    "refuse": (
        functools.partial(_note, refuse),
        lifecycle_channels.ChannelLife,
        "is_closed",
        limit,
    ),
    "make": (functools.partial(_note, make), lifecycle_channels, "anchor_and_core", limit),
    "close": (
        functools.partial(_note, close),
        lifecycle_channels.ChannelLife,
        "sorted_out",
        limit,
    ),
    "warn": (a_warning, ledger, "record", limit),
    "cancel": (functools.partial(_note, cancel), cancellations, "tells_of_the_end", limit),
    "use": (_after_use, cancellations, "_cancellations", Mapping()),
    "arrive": (functools.partial(_watch, "_arrive"), Watch, "_find_place", limit),
    "churn": (
        functools.partial(lifecycle_churn._number_of, SILENT),
        lifecycle_churn,
        "_numbers",
        SimpleNamespace(setdefault=mishap),
    ),
    "collide": (functools.partial(_watch, "collided"), Watch, "_find_place", limit),
    "origin": (functools.partial(note_origin, "start"), sys, "_getframe", mishap),
    "closed": (
        functools.partial(grpcio_door.is_core_closed, SimpleNamespace(channel=SILENT)),
        SILENT,
        "check_connectivity_state",
        mishap,
    ),
}


@pytest.mark.parametrize("place", BY_CALL)
async def test_exception_of_the_program_comes_out(
    place: str, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """An exception of the program comes out, wherever in the bookkeeping it arose."""
    act, owner, name, instead = BY_CALL[place]
    monkeypatch.setattr(owner, name, instead, raising=False)
    with pytest.raises((Limit, Mishap)):
        act()
    monkeypatch.undo()
    found()
