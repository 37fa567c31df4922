"""What stands in C for the generator of an asyncio handler, beside the one in Python: both do the same."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import sys
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from inside import Handlers, Mode, aio_handlers, always, core_which, losses, rpcs_door
from support.operating import Plain
from support.staging import settle

import grpc_guard

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

RPC = "/test/Generators"
RECORDS = Handlers(None)


class Pause:
    """What a handler awaits: it suspends it once."""

    def __await__(self) -> Any:
        yield None


class Kept(Plain):
    """What a handler is given; it keeps what it gets of the guard, and notes what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[Any] = []
        self.done: list[object] = []


async def handle(request: Kept, context: Any, *, more: int = 0) -> AsyncGenerator[Any, Any]:
    """Yield, with a pause before each message, whatever is sent and thrown in."""
    request.contexts.append(context)
    sent: object = more
    try:
        for _ in range(3):
            await Pause()
            try:
                sent = yield sent
            except KeyError as error:
                sent = repr(error)
        if sent == "fail":
            raise ZeroDivisionError
    finally:
        request.done.append(sent)


class Servicer:
    """What has the handler as a method."""

    async def handle(self, request: Kept, context: Any) -> AsyncGenerator[Any, Any]:
        async for message in handle(request, context):
            yield message


def guarded(behavior: Any, *, in_c: bool, monkeypatch: Any, mode: Mode = Mode.RAISE) -> Any:
    with monkeypatch.context() as patch:
        if not in_c:
            patch.setattr(aio_handlers, "compiled", None)
        return aio_handlers.guard_behavior(
            behavior, RPC, always(mode), False, True, handlers=RECORDS
        )


def outcome(act: Callable[..., Any], *args: Any) -> Any:
    try:
        return act(*args)
    except BaseException as error:
        value = error.value if isinstance(error, StopIteration) else str(error)
        return type(error).__name__, value


def driven(step: Any) -> list[Any]:
    """Drive a step to its end, as `await` does."""
    seen = [outcome(step.send, None)]
    while not isinstance(seen[-1], tuple):
        seen.append(outcome(step.send, None))
    return seen


def broken(step: Any, error: BaseException) -> list[Any]:
    """Throw `error` into a step that waits."""
    seen = [outcome(step.send, None), outcome(step.throw, error)]
    return seen if isinstance(seen[-1], tuple) else [*seen, *driven(step)]


STEPS: dict[str, Callable[[Any], Any]] = {
    "anext": lambda made: driven(made.__anext__()),
    "for": lambda made: driven(aiter(made).__anext__().__await__()),
    "asend": lambda made: driven(made.asend("sent")),
    "asend fail": lambda made: driven(made.asend("fail")),
    "athrow": lambda made: driven(made.athrow(KeyError(7))),
    "athrow unknown": lambda made: driven(made.athrow(IndexError("7"))),
    "aclose": lambda made: driven(made.aclose()),
    "cancelled": lambda made: broken(made.__anext__(), asyncio.CancelledError()),
    "caught": lambda made: broken(made.__anext__(), KeyError(7)),
}


def played(handler: Any, acts: tuple[str, ...]) -> list[Any]:
    """Return all that can be seen of a generator that is driven by `acts`."""
    request = Kept()
    made = handler(request, request)
    log: list[Any] = []

    def look() -> None:
        for context in request.contexts:
            direction = context._self_write
            log.append((context._self_stream.ended, direction.taken, direction.since > 0.0))
            entries = [one for one in RECORDS.of_tasks() if one.what is context._self_stream]
            log.append([entry.task() for entry in entries])
        log.append(list(request.done))
        log.append([finding.rule.name for finding in grpc_guard.findings()])

    for act in acts:
        log.append((act, STEPS[act](made)))
        look()
    grpc_guard.clear_findings()
    return log


async def test_how_it_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages, errors, findings, the claim and the end of the stream are the same in C and in Python."""
    for behavior in (handle, Servicer().handle):
        one, other = (
            guarded(behavior, in_c=in_c, monkeypatch=monkeypatch) for in_c in (True, False)
        )
        for acts in itertools.product(STEPS, repeat=3 if behavior is handle else 2):
            assert played(one, acts) == played(other, acts), acts


async def test_what_is_not_exactly_a_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that is guarded twice, as by two libraries, is driven as any other."""
    once = guarded(handle, in_c=True, monkeypatch=monkeypatch)
    twice = guarded(once, in_c=True, monkeypatch=monkeypatch)
    request = Kept()
    made = twice(request, request)
    assert [message async for message in made] == [0, None, None]
    assert request.contexts[0]._self_stream.ended
    request = Kept()
    made = twice(request, request)
    assert driven(made.__anext__())[1] == ("StopIteration", 0)
    assert driven(made.athrow(KeyError(7)))[1] == ("StopIteration", "KeyError(7)")
    assert driven(made.aclose())[0] == ("StopIteration", None)
    assert request.done == ["KeyError(7)"]


async def test_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is yielded during a write is refused where the handler yields it, or let through."""

    async def behavior(request: Kept, context: Any) -> AsyncGenerator[Any, Any]:
        request.contexts.append(context)
        write = context.write(b"")
        write.send(None)  # it is in progress
        try:
            yield "message"
        except grpc_guard.ConcurrencyError as error:
            write.close()
            yield error.finding.caller.stack[-1].code
        finally:
            write.close()

    for mode, message in ((Mode.RAISE, 'yield "message"'), (Mode.WARN, "message")):
        for in_c in (True, False):
            handler = guarded(behavior, in_c=in_c, monkeypatch=monkeypatch, mode=mode)
            request = Kept()
            made = handler(request, request)
            assert driven(made.__anext__())[0] == ("StopIteration", message)
            (finding,) = grpc_guard.findings()
            assert (finding.rule.name, finding.caller.operation) == ("concurrent-write", "yield")
            assert finding.owner.operation == "context.write"
            grpc_guard.clear_findings()
            assert driven(made.aclose())[0] == ("StopIteration", None)
            assert request.contexts[0]._self_write.taken is False


async def test_it_is_the_generator_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks gets the answers of the generator of the handler itself."""
    handler = guarded(handle, in_c=True, monkeypatch=monkeypatch)
    assert inspect.isasyncgenfunction(handler)
    made = handler(Kept(), Kept(), more=7)
    assert isinstance(made, AsyncGenerator)
    assert inspect.isasyncgen(made)
    assert (made.__name__, made.ag_code, made.ag_running) == ("handle", handle.__code__, False)
    assert repr(made).startswith("<async_generator object handle at 0x")
    assert type(made).__name__ == "async_generator"
    assert set(dir(made)) == set(dir(handle(Kept(), Kept())))
    made.__name__ = "other"
    assert made.__name__ == "other"
    with pytest.raises(AttributeError, match="'async_generator' object has no attribute 'nope'"):
        made.nope  # noqa: B018
    assert driven(made.__anext__())[1] == ("StopIteration", 7)
    assert driven(made.aclose())[0] == ("StopIteration", None)
    with pytest.raises(TypeError, match="positional argument"):
        handler(Kept(), Kept(), 1)


async def test_steps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second step beside one that waits fails as with the generator itself, and changes nothing."""
    handler = guarded(handle, in_c=True, monkeypatch=monkeypatch)
    request = Kept()
    made, plain = handler(request, request), handle(Kept(), None)
    for one in (made, plain):
        waits = one.__anext__()
        assert waits.send(None) is None
        assert driven(one.__anext__())[0] == (
            "RuntimeError",
            "anext(): asynchronous generator is already running",
        )
        assert outcome(waits.send, None) == ("StopIteration", 0)
        assert outcome(waits.send, None)[0] == "RuntimeError"
    direction = request.contexts[0]._self_write
    assert (direction.taken, request.contexts[0]._self_stream.ended) == (True, False)
    for one in (made, plain):
        step = one.__anext__()
        step.close()
        assert outcome(step.send, None)[0] == "RuntimeError"
        assert driven(one.aclose())[0] == ("StopIteration", None)


async def test_one_that_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop closes the generator of the handler, whose stream has ended then; nothing is left."""
    request = Kept()
    made = guarded(handle, in_c=True, monkeypatch=monkeypatch)(request, request)
    assert driven(made.__anext__())[1] == ("StopIteration", 0)
    (context,) = request.contexts
    task, generator = context._self_stream.handler
    assert task() is asyncio.current_task()
    assert generator().ag_code is handle.__code__
    gone = weakref.ref(made)
    assert context._self_write.taken is True
    del made
    assert gone() is None
    assert (context._self_write.taken, context._self_stream.ended) == (False, True)
    assert context._self_stream.handler is None
    for _ in range(10):  # turns of the loop, which closes it in a task of its own
        await settle()
    assert request.done == [0]
    unused = guarded(handle, in_c=True, monkeypatch=monkeypatch)(request, request)
    del unused
    gc.collect()
    assert len(request.contexts) == 1


async def test_a_look_that_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the handler of a stream gets it, also if that is garbage and found at that moment."""
    handler = guarded(handle, in_c=True, monkeypatch=monkeypatch)
    hooks, thresholds = sys.get_asyncgen_hooks(), gc.get_threshold()
    gc.collect()
    gc.disable()
    sys.set_asyncgen_hooks(None, None)  # nobody saves the generator
    try:
        request = Kept()
        made = handler(request, request)
        assert driven(made.__anext__())[1] == ("StopIteration", 0)
        stream = request.contexts.pop()._self_stream
        request.done.append(made)  # a cycle
        gone = weakref.ref(made)
        del made, request
        gc.set_threshold(1)
        gc.enable()
        task, generator = stream.handler
        was_held = gone() is not None
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
        sys.set_asyncgen_hooks(*hooks)
    assert task() is asyncio.current_task()
    assert was_held or sys.version_info >= (3, 12)  # later ones collect between two instructions
    gc.collect()
    assert generator() is gone() is None
    assert stream.handler is None


async def test_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that ends by a CancelledError which is not its RPC's is reported, with its lines."""

    async def give_up(request: Any, context: Any) -> AsyncGenerator[Any, Any]:
        yield b""
        raise asyncio.CancelledError

    monkeypatch.setattr(rpcs_door, "client_has_left", lambda task: False)
    monkeypatch.setattr(losses, "others_among", lambda frames: False)  # as if gRPC had called it
    for in_c in (True, False):
        made = guarded(give_up, in_c=in_c, monkeypatch=monkeypatch)(Kept(), Kept())
        with pytest.raises(asyncio.CancelledError):
            [_ async for _ in made]
        (finding,) = grpc_guard.findings()
        assert (finding.rule.name, finding.rpc) == ("lost-exception", RPC)
        assert finding.caller.stack[-1].function == "give_up"
        grpc_guard.clear_findings()


async def test_the_code_of_a_guarded_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC, which calls it from C, gets what the function does, also where somebody replaces its code."""
    handler = guarded(handle, in_c=True, monkeypatch=monkeypatch)
    call: Any = functools.partial(handler, Kept())  # calls as gRPC does, not in Python
    assert [message async for message in call(Kept())] == [0, None, None]
    assert type(call(Kept())) is core_which.compiled().AioGenerated

    def replaced(*args: Any, **kwargs: Any) -> Any:
        return act, args

    act = None
    code = handler.__code__
    handler.__code__ = replaced.__code__.replace(
        co_freevars=code.co_freevars, co_flags=code.co_flags
    )
    assert len(call(Kept())) == 2
