"""What the tests share: real servers and channels, gates, and parties with a deadline.

Nothing here sleeps or retries. A wait that reaches PATIENCE is a failure, never a result.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import CodeType, FrameType
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
import grpc.experimental
import pytest
from inside import findings_stacks, frames_of_threads

from grpc_guard import wrap

T = TypeVar("T")

RELEASE = tuple(int(part) for part in grpc.__version__.split(".")[:2])  # of grpcio
PATIENCE = 20.0  # seconds; only a failing test waits that long
SERVICE = "test.Guard"

# The handlers of a service by method name, or what registers them: generated code's
# add_...Servicer_to_server with its servicer bound.
Methods = Mapping[str, grpc.RpcMethodHandler] | Callable[[Any], object]


def path(method: str) -> str:
    """Return the full name of a method of the service that the servers here offer."""
    return f"/{SERVICE}/{method}"


# Staging


def wait(event: threading.Event) -> None:
    """Wait for `event`; fail if it does not come."""
    assert event.wait(PATIENCE), "a gate was never opened, or nobody came to it"


class Lost(Exception):  # no error: the test wants it
    """What a gate that was broken raises."""


class Gate:
    """A place where threads park: each says that it has come, and waits until it may go on.

    Once open, the gate lets all through.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._entered = 0
        self._is_open = self._is_broken = False

    def _wait(self, condition: Callable[[], bool]) -> None:
        came = self._state.wait_for(condition, PATIENCE)
        assert came, "a gate was never opened, or nobody came to it"

    def park(self, value: T = None) -> T:
        """Signal that a party is here, wait for open(), and return `value`."""
        with self._state:
            self._entered += 1
            self._state.notify_all()
            self._wait(lambda: self._is_open)
        if self._is_broken:
            raise Lost
        return value

    def park_at(self, value: object) -> Callable[[T], T]:
        """Return a function that hands on what it is given, and parks where that is `value`.

        Made for (de)serializers: a party that receives or sends that message is parked inside
        the operation.
        """
        return lambda given: self.park(given) if given == value else given

    def wait(self, parties: int = 1) -> None:
        """Wait until so many have parked here: their threads stand still then, in park()."""
        with self._state:
            self._wait(lambda: self._entered >= parties)

    def open(self) -> None:
        """Release the parties that are parked here, and all later ones."""
        with self._state:
            self._is_open = True
            self._state.notify_all()

    def destroy(self) -> None:
        """Let park() raise Lost, now and later."""
        self._is_broken = True
        self.open()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run the block while a party is parked here, then open."""
        try:
            self.wait()
            yield
        finally:
            self.open()


class AsyncGate:
    """A Gate for tasks of one loop."""

    def __init__(self) -> None:
        self._entered = asyncio.Event()
        self._go = asyncio.Event()
        self._broken = False

    def arrive(self) -> None:
        """Signal that a party is here."""
        self._entered.set()

    async def park(self, value: T = None) -> T:
        """Signal that a party is here, wait for open(), and return `value`."""
        self.arrive()
        await self._go.wait()  # the test as a whole has a deadline
        if self._broken:
            raise Lost
        return value

    async def wait(self) -> None:
        """Wait until a party is parked here."""
        await asyncio.wait_for(self._entered.wait(), PATIENCE)

    def open(self) -> None:
        """Release the parties that are parked here, and all later ones."""
        self._go.set()

    def destroy(self) -> None:
        """Let park() raise Lost, now and later."""
        self._broken = True
        self._go.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Run the block while a party is parked here, then open."""
        try:
            await self.wait()
            yield
        finally:
            self.open()


async def settle() -> None:
    """Let every task that is ready take one step.

    A task made just before is inside its first operation then: a completion can arrive in
    a later pass of the loop only.
    """
    await asyncio.sleep(0)


# Parties


class Party(Generic[T]):
    """A function that runs in a named thread of its own, and whose outcome can be asked for."""

    def __init__(self, function: Callable[..., T], *args: Any, name: str) -> None:
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=self._run, args=(function, *args), name=name, daemon=True
        )
        self._thread.start()

    def _run(self, function: Callable[..., T], *args: Any) -> None:
        try:
            self._outcome.set_result(function(*args))
        except BaseException as error:  # for any caller
            self._outcome.set_exception(error)

    def result(self) -> T:
        """Return what the function returned, or raise what it raised; the thread has ended."""
        return self._ended().result()

    def exception(self) -> BaseException | None:
        """Return what the function raised, None if it returned; the thread has ended."""
        return self._ended().exception()

    def _ended(self) -> concurrent.futures.Future[T]:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"{self._thread.name} does not end"
        return self._outcome

    @property
    def is_done(self) -> bool:
        return self._outcome.done()

    def as_future(self) -> asyncio.Future[T]:
        """Return the outcome as something to await."""
        return asyncio.wrap_future(self._outcome)


def in_thread(function: Callable[..., T], *args: Any, name: str = "party") -> Party[T]:
    """Start `function` in a thread called `name`."""
    return Party(function, *args, name=name)


# What grpcio calls, in the reader's thread, when it has started the receive.
_RECEIVING = {
    "wait",  # grpc._common, clients
    "_consume_next_event",  # clients with the single-threaded option
    "_raise_or_start_receive_message",  # servers
    "run_coroutine_threadsafe",  # asyncio, sync handlers of aio servers
}
_MACHINERY = tuple(
    os.path.dirname(os.path.abspath(module.__file__)) + os.sep for module in (grpc, asyncio)
)


class _Told(threading.Event):
    """An event that a profile function sets; waiters continue when that has returned.

    Until then the function would stand in the stack of its thread, as a line of the program.
    """

    def tell(self, profile: CodeType) -> None:
        """Set it, in `profile`, which runs now."""
        self._thread, self._profile = threading.get_ident(), profile
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        if not super().wait(timeout):
            return False
        while self._is_inside(frames_of_threads().get(self._thread)):
            time.sleep(0)
        return True

    def _is_inside(self, frame: FrameType | None) -> bool:
        return any(outer.f_code is self._profile for outer in findings_stacks.outward(frame))


def telling(function: Callable[..., T]) -> tuple[Callable[..., T], threading.Event]:
    """Return `function`, and an event that comes when grpcio receives for it.

    It is inside the guarded operation then, for certain: the interpreter tells when the
    thread gets there.
    """
    entered = _Told()

    def profile(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if code.co_name in _RECEIVING and code.co_filename.startswith(_MACHINERY):
            sys.setprofile(None)
            entered.tell(profile.__code__)

    def enter(*args: Any) -> T:
        sys.setprofile(profile)
        try:
            return function(*args)
        finally:
            sys.setprofile(None)

    return enter, entered


def inside_grpc(function: Callable[..., T], *args: Any, name: str = "party") -> Party[T]:
    """Start `function` in a thread called `name`; return when grpcio receives for it."""
    enter, entered = telling(function)
    party = Party(enter, *args, name=name)
    wait(entered)
    return party


def logged_by_us(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the guard has logged; grpcio and asyncio have much to say as well."""
    return [record.getMessage() for record in caplog.records if record.name == "grpc_guard"]


def outcome(function: Callable[..., T], *args: Any) -> T | BaseException:
    """Return what `function` returns or raises."""
    try:
        return function(*args)
    except Exception as error:
        return error


async def within(awaitable: Awaitable[T]) -> T:
    """Await with a deadline."""
    return await asyncio.wait_for(awaitable, PATIENCE)


async def outcomes(*awaitables: Any) -> list[Any]:
    """Await all at once, with a deadline; return what each returned or raised."""
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), PATIENCE)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` as a task called ``test`` on a loop of its own, with a deadline."""

    async def main() -> T:
        task = asyncio.create_task(coroutine, name="test")
        done, _ = await asyncio.wait({task}, timeout=2 * PATIENCE)
        if not done:
            waiting = [repr(task) for task in asyncio.all_tasks()]
            task.cancel()
            raise AssertionError("the test hangs; its tasks:\n" + "\n".join(waiting))
        return task.result()

    return asyncio.run(main())


# Servers and channels


def needs_registration(how: str) -> None:
    """Skip a test whose handlers an aio server is given as registered ones and never finds."""
    if how == "registered" and RELEASE < (1, 75):
        pytest.skip("the aio server of this grpcio takes registered handlers and never finds them")


def _register(server: Any, methods: Methods, how: str) -> None:
    if callable(methods):
        methods(server)
    elif how == "generic":
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    elif how == "registered":
        server.add_registered_method_handlers(SERVICE, methods)


usual = ["raise"]  # the mode where a test names none


def _wrapped(plain: T, mode: Any) -> T:
    return wrap(plain, mode=usual[0] if mode == "usual" else mode)


def _build(make: Callable[..., Any], methods: Methods, mode: Any, how: str, wrapped: str) -> Any:
    if how == "constructor":
        server = make(handlers=(grpc.method_handlers_generic_handler(SERVICE, methods),))
    else:
        server = make()
    if mode is not None and wrapped == "first":
        server = _wrapped(server, mode)
    _register(server, methods, how)
    if mode is not None and wrapped == "last":
        server = _wrapped(server, mode)
    return server


@contextmanager
def sync_server(
    methods: Methods,
    *,
    mode: Any = "usual",
    how: str = "generic",
    wrapped: str = "first",
    workers: int = 8,
    **options: Any,
) -> Iterator[str]:
    """Run a server of ``grpc`` on 127.0.0.1 and yield its address.

    `mode` None leaves it plain. `how` its handlers come to it: ``generic``, ``registered``
    or ``constructor``. `wrapped` ``first`` or ``last``: before or after they came.
    `options` go to grpc.server(). Its worker threads are called ``worker_0`` and so on.
    """
    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:

        def make(**handlers: Any) -> Any:
            return grpc.server(pool, **handlers, **options)

        server = _build(make, methods, mode, how, wrapped)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            wait(server.stop(None))


@asynccontextmanager
async def aio_server(
    methods: Methods,
    *,
    mode: Any = "usual",
    how: str = "generic",
    wrapped: str = "first",
    **options: Any,
) -> AsyncIterator[str]:
    """Run a server of ``grpc.aio`` on the running loop and yield its address.

    See sync_server(). `options` go to grpc.aio.server(). Handlers that are no coroutines
    run in threads called ``worker_0`` and so on.
    """
    pool = concurrent.futures.ThreadPoolExecutor(8, thread_name_prefix="worker")

    def make(**handlers: Any) -> Any:
        return grpc.aio.server(pool, **handlers, **options)

    server = _build(make, methods, mode, how, wrapped)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await within(server.stop(None))
        await within(asyncio.to_thread(pool.shutdown))  # its threads may need the loop to end


@contextmanager
def kept(address: str) -> Iterator[None]:
    """Keep the port of a server that stops and starts again, so that no other gets it meanwhile."""
    host, _, port = address.rpartition(":")
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC does
        keeper.bind((host, int(port)))
        yield


# Channels to one address share their connection otherwise, and with it what a test before left.
_ALONE = ("grpc.use_local_subchannel_pool", 1)


@contextmanager
def sync_channel(
    address: str, *, mode: Any = "usual", single_threaded: bool = False, options: Any = ()
) -> Iterator[Any]:
    """Open a channel of ``grpc`` and yield it guarded, or plain with `mode` None.

    With `single_threaded`, its unary-stream calls have no thread of their own.
    """
    options = [_ALONE, *options]
    if single_threaded:
        options.append((grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1))
    with grpc.insecure_channel(address, options=options) as channel:
        yield channel if mode is None else _wrapped(channel, mode)


@asynccontextmanager
async def aio_channel(
    address: str, *, mode: Any = "usual", options: Any = (), interceptors: Any = None
) -> AsyncIterator[Any]:
    """Open a channel of ``grpc.aio`` and yield it guarded, or plain with `mode` None."""
    async with grpc.aio.insecure_channel(
        address, options=[_ALONE, *options], interceptors=interceptors
    ) as channel:
        yield channel if mode is None else _wrapped(channel, mode)
