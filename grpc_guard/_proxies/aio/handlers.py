"""Server handlers of the asyncio api: what they are given, and what they give back."""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable
from types import MethodType
from typing import Any, cast

from ..._catalogue.clock import monotonic
from ..._catalogue.cpython_loops import current_task, running_loop
from ..._catalogue.modes import ChooseMode, Mode, current_mode, fixed_mode, in_force
from ..._catalogue.nouns import AIO, SERVER, Subject
from ..._core.aio_methods import after_cancelled_handlers, compiled
from ..._core.operations import operation
from ..._core.stream import Stream
from ..._core.turns import ticket_of_task, wait_for_turn, wake, wake_after_all
from ..._guard.violations import report_conflict
from ..._lifecycle.handlers import Handlers
from ..._lifecycle.losses import handler_cancelled
from ..._lifecycle.unlisted import note_unlisted
from ..behaviors import (
    Replace,
    called_as,
    function_of,
    guarded_behavior,
    takes_what_grpc_gives,
)
from ..proxy import isinstance_exactly
from ..sync import handlers as sync_handlers
from .given import Context, RequestIterator, context_of, requests_of

OFF = Mode.OFF


def guard_behavior(
    behavior: Any,
    rpc: str,
    choose: ChooseMode,
    request_streaming: bool,
    response_streaming: bool,
    *,
    handlers: Handlers,
) -> Any:
    """Return a handler function whose stream objects are guarded.

    For ``inspect`` it is of the same kind as `behavior`: that is how grpc.aio decides whether to
    run it on the loop or in the thread pool.
    """
    run: Callable[..., Any]
    if inspect.iscoroutinefunction(behavior):
        run = _run
    elif inspect.isasyncgenfunction(behavior):
        run = _generate
    else:
        sync = sync_handlers.replacing(
            rpc, choose, request_streaming, response_streaming, handlers=handlers, api=AIO
        )
        if not response_streaming:
            return guarded_behavior(behavior, choose, sync)
        return guarded_behavior(behavior, choose, functools.partial(_migrating, sync, handlers))

    chosen = in_force if choose is current_mode else fixed_mode(choose)

    # With fewer arguments, or where no loop runs, the caller is not gRPC. What gRPC gives has to be
    # looked at only if the handler does not take that.
    def replace_unary(plain: Callable[..., Any], first: int) -> Any:
        fewest = first + 2
        usual = fewest if takes_what_grpc_gives(plain, first) else None
        run_unary = called_as(plain, _run_unary)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if choose() is OFF or len(args) < fewest or (loop := running_loop()) is None:
                return plain(*args, **kwargs)
            if (len(args) != usual or kwargs) and not _takes(plain, args, kwargs):
                return plain(*args, **kwargs)
            return run_unary(handlers, loop, rpc, plain, args, kwargs)

        return guarded if usual is None else act_in_c(guarded, plain, first, False)

    def replace(plain: Callable[..., Any], first: int) -> Any:
        fewest = first + 2
        usual = fewest if takes_what_grpc_gives(plain, first) else None
        run_it = called_as(plain, run)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            mode = choose()
            if mode is OFF or len(args) < fewest or (loop := running_loop()) is None:
                return plain(*args, **kwargs)
            if (len(args) != usual or kwargs) and not _takes(plain, args, kwargs):
                return plain(*args, **kwargs)
            behavior = plain
            if first:
                behavior, args = MethodType(plain, args[0]), args[1:]
            request, rest = args[0], args[2:]
            stream = Stream(rpc, SERVER, AIO, mode, loop)
            context = context_of(args[1], stream)
            if not request_streaming:
                stream._read = None  # there is one request: nobody is expected to read
            elif hasattr(type(request), "__aiter__"):
                request = requests_of(request, stream, context._self_read)
            if run is _run:
                return run_it(handlers, stream, behavior, request, context, *rest, **kwargs)
            responses = behavior(request, context, *rest, **kwargs)
            generated = run_it(handlers, stream, context, responses)
            return _watched(context, generated) if stream.is_instrumented else generated

        if usual is None:
            return guarded
        generate, watched = (run_it, _watched) if run is _generate else (None, None)
        of_stream = Stream, SERVER, AIO, Context, RequestIterator, generate, watched
        return act_in_c(guarded, plain, first, request_streaming, *of_stream)

    def act_in_c(
        guarded: Callable[..., Any], plain: Callable[..., Any], first: int, reads: bool, *more: Any
    ) -> Callable[..., Any]:
        """Return what does the same as `guarded`, in C where it can; a function, too."""
        if compiled is None:
            return guarded
        method = compiled.AioMethod(function_of(plain) or guarded, "handler", "", None, 1)
        how = first, reads, rpc, choose, chosen, OFF, running_loop, handlers, method
        act = compiled.AioHandler(guarded, plain, *how, *more)
        return lambda *args, **kwargs: act(*args, **kwargs)

    streams = request_streaming or response_streaming
    guarded = guarded_behavior(behavior, choose, replace if streams else replace_unary)
    if compiled is not None:  # gRPC, which is not Python, need not run the line of the function
        compiled.shorten(guarded.__func__ if type(guarded) is MethodType else guarded)
    return guarded


def _migrating(
    sync: Replace, handlers: Handlers, plain: Callable[..., Any], first: int
) -> Callable[..., Any]:
    """Replace a sync handler as `sync` does: a thread of the pool advances its responses."""
    begin = sync(plain, first)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        responses = begin(*args, **kwargs)
        if isinstance_exactly(responses, sync_handlers.ResponseIterator):
            handlers.enter_at_first_step(note_unlisted(responses._self_stream))
        return responses

    return guarded


def _takes(plain: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Tell whether a handler can be called so; else it fails when called, not when awaited."""
    try:
        inspect.signature(plain).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


def _watched(context: Context, responses: Any) -> Any:
    writing = context._self_write.watch
    return responses if writing is None else writing.yields(responses)


def _was_cancelled(handled: Stream | str, error: BaseException) -> None:
    """Act on the CancelledError by which the handler of a stream, or of a unary RPC, has ended."""
    named = Subject(handled, SERVER, AIO) if isinstance(handled, str) else handled.subject
    handler_cancelled(named, error)


after_cancelled_handlers(_was_cancelled)


@operation("yield", owns=False)
def _is_taken(direction: Any) -> bool:
    """Tell whether a direction that is broken is taken where C, or a turn, would claim it."""
    taken: bool = direction.taken
    return taken


if compiled is not None:
    compiled.tell({"report_conflict": report_conflict, "is_taken_at_yield": _is_taken})


# A handler is in flight from its first step until nobody holds its entry: not even the frame of one that
# has failed may go on to hold it.


async def _run_unary(
    handlers: Handlers,
    loop: asyncio.AbstractEventLoop,
    rpc: str,
    plain: Callable[..., Any],
    args: Any,
    kwargs: Any,
) -> Any:
    entry = handlers.enter_task(rpc, loop)
    try:
        return await plain(*args, **kwargs)
    except asyncio.CancelledError as error:
        _was_cancelled(rpc, error)
        raise
    finally:
        del entry


async def _run(
    handlers: Handlers, stream: Stream, behavior: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    entry = None
    try:
        entry = handlers.enter_task(stream, stream.loop)
        return await behavior(*args, **kwargs)
    except asyncio.CancelledError as error:
        _was_cancelled(stream, error)
        raise
    finally:
        stream.ended = True
        del entry


@operation("yield", owns=False)  # at a yield it is in no await chain: see owner_of() in _guard
async def _generate(
    handlers: Handlers, stream: Stream, context: Context, responses: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, Any]:
    """Run the async generator `responses` of a handler.

    gRPC writes what the handler yields, below the proxies, before it asks for the next message.
    So the handler owns the writing direction from the yield until then.
    """
    entry = None
    direction, its_task = context._self_write, weakref.ref(current_task(running_loop()))
    turns, token = None, cast("Any", direction)
    stream.handler = its_task, weakref.ref(responses)
    proceed: Callable[..., Any] = responses.asend
    if direction._extra is not None:
        turns, proceed = direction.turns, direction.counted(proceed)
        token = direction if turns is None else turns
    advance, given = proceed, None
    goes_on = True
    try:
        entry = handlers.enter_task(stream, stream.loop)
        while True:
            message = await advance(given)
            try:
                if turns is not None:
                    _is_taken(direction)  # always; one that is broken reports its use
                    if turns.queue or turns.taken:
                        await wait_for_turn(direction, ticket_of_task("yield"))
                if not token.taken:
                    token.taken = True
                    try:
                        direction.since = monotonic()
                        advance, given = proceed, (yield message)
                        continue
                    finally:
                        token.taken = False
                        if turns is not None:
                            try:
                                wake(turns)
                            except BaseException:
                                wake_after_all(turns)
                                raise
                report_conflict(direction, "yield")
                advance, given = proceed, (yield message)
            except GeneratorExit:
                if current_task(running_loop()) is not its_task():  # else an interceptor closes it
                    stream.ended = True  # gRPC has dropped it: further use is too late
                raise
            except BaseException as thrown:  # the refusal, or what an interceptor threw in
                advance, given = responses.athrow, thrown
    except StopAsyncIteration:
        goes_on = False
    except asyncio.CancelledError as error:
        _was_cancelled(stream, error)
        raise
    finally:
        if goes_on:
            await _close(responses)
        stream.ended = True
        del entry


async def _close(responses: Any) -> None:
    """Run the handler's ``finally`` blocks now, while its stream objects may still be used."""
    try:
        await responses.aclose()
    except RuntimeError:
        if not getattr(responses, "ag_running", False):
            raise
        # The loop is shutting down, and closes every async generator itself.
