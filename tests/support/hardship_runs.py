"""What the compiled core does where asyncio streams start and are handled: see hardship.py."""

from __future__ import annotations

import functools
import gc
import warnings
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from inside import (
    AioDirection,
    Handlers,
    Mode,
    Stream,
    aio_calls,
    aio_channel,
    aio_given,
    aio_handlers,
    always,
    lifecycle_channels,
)

Act = Callable[[], object]


class Loop:
    """A loop that seems to run."""

    _thread_id = 1


class Given:
    """A call, a context, or the requests of a handler: whatever the guard stands before."""

    async def read(self) -> object:
        return self

    __anext__ = read

    async def write(self, message: object) -> None:
        pass

    async def done_writing(self) -> None:
        pass

    def __aiter__(self) -> Given:
        return self

    def done(self) -> bool:
        return False


class Pause:
    """What a handler awaits: it suspends it once."""

    def __await__(self) -> Any:
        yield None


class Plain:
    """A plain multi-callable on a channel that is known."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._channel = Given()
        self.life = SimpleNamespace(generation=0, streams=deque(maxlen=1), next_report_at=9)
        lifecycle_channels.lives_by_core[id(self._channel)] = self.life

    def __call__(self, *args: Any, error: Any = None, late: bool = False) -> Any:
        if error is not None:
            raise error
        call: Any = Given()
        if late:
            call._interceptors_task = self
        return call


async def handle(request: Any, context: Any, error: Any = None) -> object:
    await Pause()
    if error is not None:
        raise error
    return request


async def generate(request: Any, context: Any) -> Any:
    yield request


async def wait(request: Any, context: Any) -> Any:
    await Pause()
    yield request


def context_of(made: Any) -> Any:
    """Return what the handler of a generator was given of the guard."""
    return made.ag_frame.f_locals["context"]


def ended(run: Any, *kinds: type[BaseException]) -> None:
    """Drive a run to its end, which has to be of one of `kinds`."""
    try:
        while True:
            run.send(None)
    except (*kinds, StopIteration) as error:
        assert isinstance(error, kinds or StopIteration)  # noqa: PT017


def run_acts(core: Any, refused: Callable[..., None]) -> dict[str, Act]:
    """Return, by name, what `core` is asked for in starts, handlers and proxies of asyncio."""
    loop = Loop()
    plain = Plain(loop)
    multi_callables = [
        kind(plain, "/a/b", always(Mode.RAISE))
        for kind in (aio_channel.UnaryStream, aio_channel.StreamUnary, aio_channel.StreamStream)
    ]
    off = aio_channel.StreamStream(plain, "/a/b", always(Mode.OFF))
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, loop)  # type: ignore[arg-type]
    equipped = Stream("/a/b", "client", "aio", Mode.SERIALIZE, loop)  # type: ignore[arg-type]
    given, told = Given(), []

    def running() -> Loop:
        return loop

    def cancelled(what: object, error: BaseException) -> None:
        told.append((what, error))
        told.clear()

    core.tell({"running_loop": running, "guard_started": lambda call, *_: call})
    core.tell_of_cancelled_handlers(cancelled)
    records = Handlers(None)

    def behavior(act: Any, *, streams: bool, first: int = 0, chosen: Mode | None = None) -> Any:
        more: tuple[Any, ...] = (
            *(Stream, "server", "aio", aio_given.Context, aio_given.RequestIterator),
            *(
                (aio_handlers._generate, aio_handlers._watched)
                if act in (generate, wait)
                else (None, None)
            ),
        )
        return core.AioHandler(
            *(
                act,
                act,
                first,
                True,
                "/a/b",
                always(Mode.RAISE),
                chosen,
                Mode.OFF,
                running,
                records,
            ),
            core.AioMethod(act, "handler", "", None, 1),
            *(more if streams else ()),
        )

    unary = behavior(handle, streams=False)
    streaming = behavior(handle, streams=True, chosen=Mode.RAISE)
    yielding, both = behavior(generate, streams=True), (unary, streaming)
    waiting = behavior(wait, streams=True)

    def started() -> None:
        for start in (*multi_callables, off):
            call = start()
            call.read, call.done()
        for start in multi_callables[::2]:
            assert start().__aiter__() is not start().__aiter__()

    begins: Any = (
        aio_channel.start_unary_stream,
        aio_channel.start_stream_unary,
        aio_channel.start_stream_stream,
    )

    def begun() -> None:
        for begin in begins:
            begin(plain, plain, "/a/b", Mode.RAISE, timeout=None).done()
            refused(
                lambda one=begin: one(plain, plain, "/a/b", Mode.RAISE, error=KeyError()), KeyError
            )

    def not_started() -> None:
        for start in multi_callables:
            refused(lambda one=start: one(error=KeyError()), KeyError)  # type: ignore[misc]
            refused(lambda one=start: one(nonsense=1), TypeError)  # type: ignore[misc]
            start(late=True)
        refused(lambda: aio_channel.StreamStream._self_specials["__call__"](given), AttributeError)

    def made() -> None:
        for one in (stream, equipped):
            for kind in (aio_calls.DuplexCall, aio_calls.WritingCall, aio_calls.AwaitableCall):
                kind(given, one)
            context = aio_given.Context(given, one)
            messages = aio_given.RequestIterator(given, one, context._self_read).__aiter__()
            assert messages._self_read is context._self_read is one.read
        assert type(stream.read) is not AioDirection
        refused(lambda: aio_calls.DuplexCall(loop, stream), AttributeError)
        assert aio_given.Context(loop, stream)._self_write.step is None

    def handled() -> None:
        for one in both:
            ended(one(given, given))
            ended(one(given, given, error=KeyError()), KeyError)
        assert aiter(yielding(given, given)) is not None
        refused(lambda: streaming(given, given, 1, 2), TypeError)

    def yielded() -> None:
        made = yielding(given, given)
        assert made.__class__ is not type(made)
        repr(made), made.ag_frame, dir(made)
        step = made.__anext__()
        ended(step)
        refused(lambda: step.send(None), RuntimeError)
        assert context_of(made) is not None
        ended(made.asend(given), StopAsyncIteration)
        refused(lambda: made.nonsense, AttributeError)
        refused(lambda: yielding(given, given, nonsense=1), TypeError)

    def yielded_early() -> None:
        made = yielding(given, given)
        ended(made.__anext__())
        ended(made.athrow(KeyError()), KeyError)
        made = yielding(given, given)
        ended(made.__anext__())
        ended(made.aclose())
        made = waiting(given, given)
        step = made.__anext__()
        step.send(None)
        refused(lambda: step.throw(KeyError()), KeyError)
        made = waiting(given, given)
        step = made.__anext__()
        step.send(None)
        step.close()

    def yielded_and_dropped() -> None:
        yielding(given, given)
        yielding(given, given).__anext__()
        made = yielding(given, given)
        ended(made.__anext__())
        waiting(given, given).__anext__().send(None)

    def yielded_in_a_cycle() -> None:
        holder = Given()
        made: Any = yielding(holder, given)
        holder.step = step = made.__anext__()  # type: ignore[attr-defined]
        ended(step)
        gc.collect()

    def fails(*_: object) -> None:
        raise ArithmeticError

    def yielded_and_refused() -> None:
        core.tell({"report_conflict": fails})
        made = waiting(given, given)
        step = made.__anext__()
        step.send(None)
        context = context_of(made)
        assert len(context._self_stream.handler) == 2
        context._self_write.taken = True
        refused(lambda: step.send(None), ArithmeticError)
        made = waiting(given, given)
        made.__anext__().send(None)
        refused(lambda: made.__anext__().send(None), RuntimeError)  # it runs

    serialized = behavior(wait, streams=True, chosen=Mode.SERIALIZE)
    unlike = behavior(lambda *_: Pause(), streams=False)

    def handled_otherwise() -> None:
        assert serialized(given, given).__anext__
        ended(unlike(given, given))
        ended(streaming(7, given))

    def shortened() -> None:
        def function(*args: Any, **kwargs: Any) -> Any:
            return unary(*args, **kwargs)

        core.shorten(function)
        core.shorten(shortened)
        ended(functools.partial(function, given)(given))

    def ended_early() -> None:
        for one in both:
            run = one(given, given)
            run.send(None)
            refused(lambda run=run: run.throw(KeyError()), KeyError)  # type: ignore[misc]
            run = one(given, given)
            run.close()
            run = one(given, given)
            run.send(None)
            run.close()
            ended(one(given, given, CancelledError()), CancelledError)

    def looked_at() -> None:
        run = streaming(given, given)
        assert (run.__name__, run.cr_await, run.cr_frame.f_code) == (
            "handle",
            None,
            handle.__code__,
        )
        repr(run), run.place, run.direction, run.operation, run.owns
        next(run.__await__())
        run.close()

    def dropped() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for one in both:
                one(given, given)
                one(given, given).send(None)

    def cycle() -> None:
        holder = Given()
        run: Any = unary(holder, given)
        run.send(None)
        holder.run = run  # type: ignore[attr-defined]

    def collected() -> None:
        cycle()
        gc.collect()

    def refusals() -> None:
        refused(lambda: core.AioHandler(1), TypeError)
        refused(lambda: behavior(handle, streams=False, first=2), ValueError)
        for parts in ((7,), (("a", 9, 0, "", ""),), (("_self_stream", 1, 2, "", ""),)):
            refused(
                lambda parts=parts: core.Recipe(aio_calls.Call, 2, 2, None, parts),  # type: ignore[misc]
                *(TypeError, ValueError, AttributeError),
            )
        refused(lambda: core.Recipe(aio_calls.Call, 1, 2, None, ()), ValueError)
        refused(lambda: core.Recipe(int, 2, 2, None, ()), AttributeError)
        refused(lambda: core.Recipe(aio_calls.Call, 2, 2, None, (), x=1), TypeError)
        refused(lambda: core.Recipe(7), TypeError)

    return {
        "starts of aio streams": started,
        "refused starts of aio streams": not_started,
        "aio proxies": made,
        "aio handlers": handled,
        "aio handlers that yield": yielded,
        "aio handlers that yield and end early": yielded_early,
        "aio handlers that yield, dropped": yielded_and_dropped,
        "aio handlers that yield, in a cycle, collected": yielded_in_a_cycle,
        "aio handlers that yield and are refused": yielded_and_refused,
        "aio handlers in serialize, and others": handled_otherwise,
        "shortcuts to aio handlers": shortened,
        "aio handlers that end early": ended_early,
        "aio handlers, looked at": looked_at,
        "aio handlers, dropped": dropped,
        "aio handlers in a cycle": cycle,
        "aio handlers in a cycle, collected": collected,
        "refusals of aio handlers": refusals,
    }
