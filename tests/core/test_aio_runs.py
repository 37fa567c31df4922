"""The runs of asyncio handlers in C beside those in Python: they do the same, driven in the same way."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from inside import Handlers, Mode, aio_channel, aio_handlers, always, core_which, losses, rpcs_door
from support.operating import Plain, suspend
from support.staging import settle

import grpc_guard

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

RPC = "/test/Runs"
RECORDS = Handlers(None)


def in_flight() -> list[Any]:
    """Return what tasks handle now, and whether this task does."""
    return [
        (entry.what if isinstance(entry.what, str) else entry.what.ended, entry.task())
        for entry in RECORDS.of_tasks()
    ]


class Kept(Plain):
    """What a handler is given; it keeps what it gets of the guard."""

    streams: list[Any]
    seen: list[Any]  # in flight

    def __init__(self) -> None:
        super().__init__()
        self.streams, self.seen = [], []


class Pause:
    """What a handler awaits: it suspends it once."""

    def __await__(self) -> Any:
        yield None


async def handle(request: Any, context: Any) -> Any:
    """Return the request, after a pause."""
    request.streams.append(getattr(context, "_self_stream", None))
    request.seen.append(in_flight())
    try:
        await Pause()
    except KeyError:
        return "caught"
    return "handled"


class Servicer:
    """What has the handler as a method."""

    async def handle(self, request: Any, context: Any, *, more: int = 0) -> Any:
        return more, await handle(request, context)


def guarded(behavior: Any, *, streams: bool, in_c: bool, monkeypatch: Any) -> Any:
    with monkeypatch.context() as patch:
        if not in_c:
            patch.setattr(aio_handlers, "compiled", None)
        return aio_handlers.guard_behavior(
            behavior, RPC, always(Mode.RAISE), streams, False, handlers=RECORDS
        )


def outcome(act: Callable[..., Any], *args: Any) -> Any:
    try:
        return act(*args)
    except BaseException as error:
        value = error.value if isinstance(error, StopIteration) else str(error)
        return type(error).__name__, value


ACTS: dict[str, Callable[[Any], Any]] = {
    "send": lambda run: outcome(run.send, None),
    "send something": lambda run: outcome(run.send, 7),
    "throw": lambda run: outcome(run.throw, KeyError(7)),
    "cancel": lambda run: outcome(run.throw, asyncio.CancelledError()),
    "exit": lambda run: outcome(run.throw, GeneratorExit()),
    "close": lambda run: outcome(run.close),
    "iterate": lambda run: outcome(lambda: next(run.__await__())),
}


def played(handler: Any, acts: tuple[str, ...]) -> list[Any]:
    """Return all that can be seen of a handler that is driven by `acts`."""
    request = Kept()
    run = handler(request, Plain())
    log: list[Any] = []
    for act in acts:
        log.append(ACTS[act](run))
        log.append([stream and stream.ended for stream in request.streams])
        log.append([finding.rule.name for finding in grpc_guard.findings()])
        log.append(in_flight())
        if act != "iterate":  # what is returned there drives it, and tells nobody
            log.append(inspect.getcoroutinestate(run))
    log.append(outcome(run.close))
    log.append([stream and stream.ended for stream in request.streams])
    log += [in_flight(), request.seen]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wrapper that was never awaited
        del run
    grpc_guard.clear_findings()
    return log


@pytest.mark.parametrize("streams", [False, True])
async def test_how_it_is_driven(streams: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, errors, findings and the end of the stream are the same in C and in Python."""
    behavior = Servicer().handle if streams else handle
    one, other = (
        guarded(behavior, streams=streams, in_c=in_c, monkeypatch=monkeypatch)
        for in_c in (True, False)
    )
    for acts in itertools.product(ACTS, repeat=2):
        if "iterate" in acts:  # a run that is awaited is driven by that alone
            continue
        assert played(one, acts) == played(other, acts), acts
    assert played(one, ("iterate",)) == played(other, ("iterate",))


async def test_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler is, from its first step to its end, and so is one that it calls: the same on both cores."""
    logs: list[list[Any]] = []
    for in_c in (True, False):
        log: list[Any] = []

        def look(log: list[Any] = log) -> None:
            log.append([what for what, task in in_flight() if task is asyncio.current_task()])
            log.append([owner.operation for owner in RECORDS.snapshot()])

        async def inner(request: Any, context: Any, look: Any = look) -> None:
            look()
            await asyncio.sleep(0)
            look()

        async def outer(request: Any, context: Any, in_c: bool = in_c, look: Any = look) -> None:
            run = guarded(inner, streams=True, in_c=in_c, monkeypatch=monkeypatch)(request, context)
            look()
            await run
            look()
            raise KeyError

        with pytest.raises(KeyError) as caught:
            await guarded(outer, streams=False, in_c=in_c, monkeypatch=monkeypatch)(Kept(), Plain())
        assert caught.tb is not None  # it holds the frames
        look()
        logs.append(log)
    alone, both = [[RPC], [RPC]], [[RPC, False], [RPC]]
    assert logs == [[*alone, *both, *both, *alone, [], []]] * 2


async def test_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that ends by a CancelledError which is not its RPC's is told, with its lines."""
    monkeypatch.setattr(rpcs_door, "client_has_left", lambda task: False)
    monkeypatch.setattr(losses, "others_among", lambda frames: False)  # as if gRPC had called it

    async def give_up(request: Any, context: Any) -> None:
        raise asyncio.CancelledError

    for streams in (False, True):
        handler = aio_handlers.guard_behavior(
            give_up, RPC, always(Mode.RAISE), streams, False, handlers=Handlers(None)
        )
        with pytest.raises(asyncio.CancelledError):
            await handler(Plain(), Plain())
        (finding,) = grpc_guard.findings()
        assert (finding.rule.name, finding.rpc) == ("lost-exception", RPC)
        assert finding.caller.stack[-1].function == "give_up"
        grpc_guard.clear_findings()


async def test_it_is_the_coroutine_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks gets the answers that the coroutine of the handler itself gives."""
    handler = guarded(handle, streams=True, in_c=True, monkeypatch=monkeypatch)
    request = Kept()
    assert inspect.iscoroutinefunction(handler)
    run = handler(request, Plain())
    assert isinstance(run, Coroutine)
    assert inspect.iscoroutine(run)
    assert (run.__name__, run.__qualname__, run.cr_code) == ("handle", "handle", handle.__code__)
    assert repr(run).startswith("<coroutine object handle at 0x")
    task = asyncio.create_task(run)
    await settle()
    assert await task == "handled"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await run
    with pytest.warns(RuntimeWarning, match="coroutine 'handle' was never awaited"):
        handler(request, Plain())


async def iterate(run: Any) -> None:
    async for _ in run:
        pass


async def test_what_python_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the interpreter, which reach clients as the details of an RPC, are those of a coroutine."""
    told = []
    for function in (handle, guarded(handle, streams=True, in_c=True, monkeypatch=monkeypatch)):
        run = function(Kept(), Plain())
        with pytest.raises(TypeError) as unasked:
            await iterate(run)
        with pytest.raises(TypeError) as unsized:
            len(run)  # type: ignore[arg-type]
        run.close()
        told.append((str(unasked.value), str(unsized.value)))
    assert told[0] == told[1]


async def test_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """With names, too many arguments or too few, the handler is called as it is, or guarded in Python."""
    method = Servicer().handle
    handler = guarded(method, streams=False, in_c=True, monkeypatch=monkeypatch)
    request = Kept()
    assert await handler(request, Plain(), more=7) == (7, "handled")
    for wrong in (handler(request, context=Plain()), handler(request, Plain())):
        assert await wrong == (0, "handled")
    with pytest.raises(TypeError, match="positional arguments"):
        await handler(*range(9))


async def test_what_is_no_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that is guarded twice, as by two libraries, is awaited like any other."""
    once = guarded(handle, streams=False, in_c=True, monkeypatch=monkeypatch)
    twice = guarded(once, streams=False, in_c=True, monkeypatch=monkeypatch)
    request = Kept()
    assert await twice(request, Plain()) == "handled"


@pytest.mark.parametrize("act", ["throw", "cancel", "exit", "close"])
async def test_who_comes_back_to_a_run_that_ends(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream dies as it ends before its first step: who closes it then is refused, and it ends."""
    answers: list[Any] = []

    def behavior(request: Any, context: Any) -> Any:  # whose coroutine holds neither
        stream = context._self_stream
        weakref.finalize(stream, lambda: answers.append(outcome(run.close)))
        return suspend()

    # As if it were marked, which is possible from CPython 3.12 on.
    monkeypatch.setattr(inspect, "iscoroutinefunction", lambda _: True)
    run = guarded(behavior, streams=True, in_c=True, monkeypatch=monkeypatch)(Plain(), Plain())
    ACTS[act](run)
    assert answers == [("ValueError", "coroutine already executing")]
    assert inspect.getcoroutinestate(run) == "CORO_CLOSED"


class Unreadable(Plain):
    """A call that cannot be asked whether it has interceptors."""

    @property
    def _interceptors_task(self) -> None:
        raise ArithmeticError


class Starting:
    """A plain multi-callable whose calls are of that kind."""

    def __init__(self) -> None:
        self._loop, self._channel = asyncio.get_running_loop(), Plain()

    def __call__(self, *_: Any) -> Unreadable:
        return Unreadable()


async def test_a_call_that_cannot_be_asked() -> None:
    """Its error comes through where a stream starts, in C as in Python."""
    proxy = aio_channel.UnaryStream(Starting(), RPC, always(Mode.RAISE))
    start: Any = aio_channel.UnaryStream._self_specials["__call__"]
    for call in (start, start.__wrapped__):
        with pytest.raises(ArithmeticError):
            call(proxy)


class Begun:
    """A plain multi-callable of a loop: its calls tell what they were started with."""

    def __init__(self, loop: Any) -> None:
        self._loop, self._channel = loop, Plain()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "error" in kwargs:
            raise kwargs["error"]
        call: Any = Plain()
        call.started_with = args, kwargs
        return call


BEGINS = {
    "unary_stream": aio_channel.start_unary_stream,
    "stream_unary": aio_channel.start_stream_unary,
    "stream_stream": aio_channel.start_stream_stream,
}
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "nothing": ((), {}),
    "a request": ((b"request",), {}),
    "a request by name": ((), {"request": b"request", "timeout": 5}),
    "requests": (([b"request"], 5), {}),
    "requests by name": ((), {"timeout": 5, "request_iterator": [b"request"]}),
    "no requests": ((None,), {}),
    "no requests by name": ((), {"request_iterator": None}),
}


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])
@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("shape", BEGINS)
async def test_a_stream_that_the_guard_of_the_process_begins(
    shape: str, arguments: str, mode: Mode
) -> None:
    """In C as in Python: the arguments come through, and the call is guarded the same."""
    begin: Any = BEGINS[shape]
    args, kwargs = ARGUMENTS[arguments]
    if shape == "unary_stream" and arguments.startswith(("requests", "no requests")):
        args, kwargs = (), {"request": b"another"}

    def begun(start: Any) -> Any:
        plain = Begun(asyncio.get_running_loop())
        call = start(plain, plain, RPC, mode, *args, **dict(kwargs))
        stream = call._self_stream
        noted = stream.rpc, stream.side, stream.api, stream.mode, stream.loop, stream.ended
        return type(call).__mro__[1:], call.started_with, noted, stream.origin.operation

    assert begun(begin) == begun(begin.__wrapped__)


@pytest.mark.parametrize("shape", BEGINS)
async def test_a_stream_that_the_guard_of_the_process_cannot_begin(shape: str, found: Any) -> None:
    """The error of grpcio comes through, and the stream does not stay open; nor on another loop."""
    begin: Any = BEGINS[shape]
    plain = Begun(asyncio.get_running_loop())
    error = KeyError("no")
    for start in (begin, begin.__wrapped__):
        with pytest.raises(KeyError) as raised:
            start(plain, plain, RPC, Mode.RAISE, error=error)
        assert raised.value is error
        elsewhere = Begun(asyncio.new_event_loop())
        with pytest.raises(grpc_guard.ConcurrencyError, match="wrong-loop"):
            start(elsewhere, elsewhere, RPC, Mode.RAISE)
        elsewhere._loop.close()
        without = Begun(None)  # of an old grpcio
        assert start(without, without, RPC, Mode.RAISE)._self_stream.loop is plain._loop
        with pytest.raises(TypeError):
            start(plain, plain, RPC)
    assert {finding.rule.name for finding in found()} == {"wrong-loop"}
