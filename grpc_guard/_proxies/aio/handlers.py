"""Server handlers of the asyncio api: what they are given, and what they give back."""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from _thread import get_ident
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from types import MethodType
from typing import Any, cast

from ..._catalogue.cpython_loops import current_task, running_loop
from ..._catalogue.modes import ChooseMode, Mode
from ..._catalogue.nouns import AIO, READ, SERVER, WRITE, Subject
from ..._core.aio_methods import after_cancelled_handlers, aio_method, compiled
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._core.recipes import argument, made_of, new_direction, nothing
from ..._core.stream import AioDirection, Stream
from ..._core.turns import ticket_of_task, wait_for_turn, wake, wake_after_all
from ..._guard.violations import check_loop, report_conflict, used_after_end
from ..._lifecycle.cancellations import after_cancel
from ..._lifecycle.handlers import Handlers
from ..._lifecycle.losses import handler_cancelled
from ..._lifecycle.unlisted import note_unlisted
from ..behaviors import Replace, guarded_behavior
from ..contexts import context_methods
from ..contract import AIO_CONTEXT
from ..proxy import StreamProxy, in_c, isinstance_exactly
from ..sync import handlers as sync_handlers
from .messages import Messages

OFF = Mode.OFF


@made_of(
    argument("_self_stream", 1),
    argument("_self_read", 2),
    nothing("_self_messages"),
    arguments=3,
)
class RequestIterator(StreamProxy):
    """The requests of a stream; shares its direction with ``context.read()``."""

    __slots__ = ("_self_messages", "_self_read")

    def __init__(self, requests: Any, stream: Stream, direction: AioDirection) -> None:
        super().__init__(requests, stream)
        self._self_read = direction
        self._self_messages: Messages | None = None

    @in_c("iterate_requests")
    def __aiter__(self) -> Messages:
        messages = self._self_messages
        if messages is None:
            messages = Messages(self.__wrapped__.__aiter__(), self._self_stream, self._self_read)
            _keep_messages(self, messages)
        return messages

    def __anext__(self) -> Any:
        return self.__aiter__().__anext__()


# Past __setattr__, which looks at the name to find out whose attribute it is.
_keep_messages = RequestIterator._self_messages.__set__  # type: ignore[misc, union-attr]

if compiled is not None:
    compiled.tell({"messages_of_requests": vars(RequestIterator)["_self_messages"]})


@made_of(
    argument("_self_stream", 1),
    new_direction("_self_read", READ, if_there=True),
    new_direction("_self_write", WRITE, if_there=True),
)
@context_methods(AIO_CONTEXT)
class Context(StreamProxy):
    """The context of a streaming handler: one reader beside one writer, while it runs."""

    __slots__ = ("_self_read", "_self_write")

    def __init__(self, context: Any, stream: Stream) -> None:
        super().__init__(context, stream)
        self._self_read = stream.read = AioDirection(stream, READ, getattr(context, "read", None))
        self._self_write = stream.write = AioDirection(
            stream, WRITE, getattr(context, "write", None)
        )

    @aio_method("_self_read")
    @operation("context.read")
    async def read(self) -> Any:
        """Receive one message, or grpc.aio.EOF; refused while a read is in progress."""
        direction = self._self_read
        if direction.stream.ended:
            used_after_end(direction.stream, "context.read")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "context.read")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step()
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "context.read", error)
                raise
            finally:
                direction.taken = False
        return await contended_async(direction, "context.read", direction.step)

    @aio_method("_self_write")
    @operation("context.write")
    async def write(self, message: Any) -> None:
        """Send one message; refused while a write is in progress."""
        direction = self._self_write
        if direction.stream.ended:
            used_after_end(direction.stream, "context.write")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "context.write")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step(message)  # type: ignore[no-any-return]
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "context.write", error)
                raise
            finally:
                direction.taken = False
        await contended_async(direction, "context.write", direction.step, message)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """See grpc.aio.ServicerContext.add_done_callback.

        `callback` gets the guarded context, and may use it after the end.
        """

        @functools.wraps(callback, updated=())
        def visit(_: object) -> None:
            stream = self._self_stream
            stream.in_done_callback = True
            try:
                callback(self)
            finally:
                stream.in_done_callback = False

        self.__wrapped__.add_done_callback(visit)


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

    enter, enter_unary = handlers.enter_task, handlers.enter_unary_task

    # With fewer arguments, or where no loop runs, the caller is not gRPC.
    def replace_unary(plain: Callable[..., Any], first: int) -> Any:
        fewest = first + 2

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if choose() is OFF or len(args) < fewest or (loop := running_loop()) is None:
                return plain(*args, **kwargs)
            enter_unary(rpc, loop)
            return _run_unary(rpc, plain, args, kwargs)

        return act_in_c(guarded, plain, first, False)

    def replace(plain: Callable[..., Any], first: int) -> Any:
        fewest = first + 2

        def guarded(*args: Any, **kwargs: Any) -> Any:
            mode = choose()
            if mode is OFF or len(args) < fewest or (loop := running_loop()) is None:
                return plain(*args, **kwargs)
            behavior = plain
            if first:
                behavior, args = MethodType(plain, args[0]), args[1:]
            request, context, *rest = args
            stream = Stream(rpc, SERVER, AIO, mode, loop)
            enter(stream, loop)
            context = Context(context, stream)
            if request_streaming and hasattr(type(request), "__aiter__"):
                request = RequestIterator(request, stream, context._self_read)
            responses = run(stream, behavior, request, context, *rest, **kwargs)
            if run is _run:
                return responses
            return _watched(context, responses)

        generate, watched = (_generate, _watched) if run is _generate else (None, None)
        of_stream = Stream, SERVER, AIO, Context, RequestIterator, generate, watched
        return act_in_c(guarded, plain, first, request_streaming, *of_stream)

    def act_in_c(
        guarded: Callable[..., Any], plain: Callable[..., Any], first: int, reads: bool, *more: Any
    ) -> Callable[..., Any]:
        """Return what does the same as `guarded`, in C where it can; a function, too."""
        if compiled is None:
            return guarded
        method = compiled.AioMethod(plain, "handler", "", None, 1)
        act = compiled.AioHandler(
            guarded, plain, first, reads, rpc, choose, OFF, running_loop, handlers, method, *more
        )
        return lambda *args, **kwargs: act(*args, **kwargs)

    streams = request_streaming or response_streaming
    return guarded_behavior(behavior, choose, replace if streams else replace_unary)


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


def _watched(context: Context, responses: Any) -> Any:
    writing = context._self_write.watch
    return responses if writing is None else writing.yields(responses)


def _was_cancelled(handled: Stream | str, error: BaseException) -> None:
    """Act on the CancelledError by which the handler of a stream, or of a unary RPC, has ended."""
    named = Subject(handled, SERVER, AIO) if isinstance(handled, str) else handled.subject
    handler_cancelled(named, error)


after_cancelled_handlers(_was_cancelled)


async def _run_unary(rpc: str, plain: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        return await plain(*args, **kwargs)
    except asyncio.CancelledError as error:
        _was_cancelled(rpc, error)
        raise


async def _run(stream: Stream, behavior: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return await behavior(*args, **kwargs)
    except asyncio.CancelledError as error:
        _was_cancelled(stream, error)
        raise
    finally:
        stream.ended = True


@operation("yield", owns=False)  # at a yield it is in no await chain: see owner_of() in _guard
async def _generate(
    stream: Stream, behavior: Callable[..., Any], request: Any, context: Context, **kwargs: Any
) -> AsyncGenerator[Any, Any]:
    """Run an async generator handler.

    gRPC writes what the handler yields, below the proxies, before it asks for the next message.
    So the handler owns the writing direction from the yield until then.
    """
    direction = context._self_write
    turns, token = None, cast("Any", direction)
    responses = behavior(request, context, **kwargs)
    stream.handler = weakref.ref(current_task(running_loop())), weakref.ref(responses)
    proceed: Callable[..., Any] = responses.asend
    if direction._extra is not None:
        turns, proceed = direction.turns, direction.counted(proceed)
        token = direction if turns is None else turns
    advance, given = proceed, cast("tuple[Any, ...]", (None,))
    goes_on = True
    try:
        while True:
            message = await advance(*given)
            try:
                if turns is not None and (turns.queue or turns.taken):
                    await wait_for_turn(direction, ticket_of_task("yield"))
                if not token.taken:
                    token.taken = True
                    try:
                        direction.since = monotonic()
                        advance, given = proceed, ((yield message),)
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
                advance, given = proceed, ((yield message),)
            except GeneratorExit:
                stream.ended = True  # gRPC has dropped it: further use by the handler is too late
                raise
            except BaseException as thrown:  # the refusal, or what an interceptor threw in
                advance, given = responses.athrow, (thrown,)
    except StopAsyncIteration:
        goes_on = False
    except asyncio.CancelledError as error:
        _was_cancelled(stream, error)
        raise
    finally:
        if goes_on:
            await _close(responses)
        stream.ended = True


async def _close(responses: Any) -> None:
    """Run the handler's ``finally`` blocks now, while its stream objects may still be used."""
    try:
        await responses.aclose()
    except RuntimeError:
        if not getattr(responses, "ag_running", False):
            raise
        # The loop is shutting down, and closes every async generator itself.
