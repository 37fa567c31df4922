"""The same answers as a gRPC service that a program adds to a server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from .._findings.ledger import ledger
from .._findings.records import Finding
from . import inspection_pb2 as pb
from .asking import snapshot_in
from .endpoint import reply
from .messages import VERSION, message_of_finding
from .native import start
from .records import SERVICE, TAKE_SNAPSHOT, Snapshot


def add_servicer(server: Any) -> None:
    """Add a service to `server` that reports what the streams of this process are doing.

    `server` is one of ``grpc`` or ``grpc.aio``, started or not. The service is
    ``grpc_guard.inspection.v1.Inspection`` (``inspection.proto``), with the read-only methods
    ``TakeSnapshot`` and ``WatchFindings``. The credentials and interceptors of the server decide
    who may call it: add it to a server to which you would add channelz. The answers contain
    names, lines of source code and RPCs, but no payload, metadata, credential, argument or
    environment variable.

    A sync server answers on one of its threads: if all of them hang, ask the process by
    ``grpc-guard dump PID``. One of ``grpc.aio`` takes a snapshot in a thread beside its loop, one
    at a time: those who ask meanwhile get the next one, all of them the same.

    Raises TypeError for an object that is not a server.
    """
    if not isinstance(server, (grpc.Server, grpc.aio.Server)):
        raise TypeError(f"add_servicer() takes a server of grpc or grpc.aio, not {server!r:.200}")
    is_aio = isinstance(server, grpc.aio.Server)
    handlers = {
        "TakeSnapshot": grpc.unary_unary_rpc_method_handler(
            _Looks().take if is_aio else _take, request_deserializer=pb.Request.FromString
        ),
        "WatchFindings": grpc.unary_stream_rpc_method_handler(
            _watch_async if is_aio else _watch,
            request_deserializer=pb.Request.FromString,
            response_serializer=pb.Finding.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _take(request: Any, context: Any) -> bytes:
    return reply()


class _Looks:
    """Answers who asks an aio server, from a thread: its loop goes on meanwhile.

    There is one thread at most, however many ask. Each gets a look that began after he asked.
    """

    def __init__(self) -> None:
        self._askers: list[asyncio.Future[bytes]] = []  # to whom the next look belongs
        self._is_looking = False

    async def take(self, request: Any, context: Any) -> bytes:
        """Handle an RPC; all run on the loop of one server."""
        loop = asyncio.get_running_loop()
        asker: asyncio.Future[bytes] = loop.create_future()
        self._askers.append(asker)
        if not self._is_looking:
            self._begin(loop)
        return await asker

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        askers, self._askers = self._askers, []

        def look() -> None:
            answer = reply()
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._tell, loop, askers, answer)

        self._is_looking = True
        try:
            start(look)
        except OSError:  # there can be no thread more
            self._tell(loop, askers, reply())

    def _tell(
        self, loop: asyncio.AbstractEventLoop, askers: list[asyncio.Future[bytes]], answer: bytes
    ) -> None:
        for asker in askers:
            if not asker.done():  # its RPC may be over
                asker.set_result(answer)
        self._is_looking = False
        self._askers = [asker for asker in self._askers if not asker.done()]
        if self._askers:
            self._begin(loop)


def _watch(request: Any, context: Any) -> Iterator[Any]:
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()
    if not context.add_callback(lambda: found.put(None)):
        return  # over already
    ledger.add_sink(found.put)
    try:
        yield from map(message_of_finding, ledger.findings())
        for finding in iter(found.get, None):
            yield message_of_finding(finding)
    finally:
        ledger.remove_sink(found.put)


async def _watch_async(request: Any, context: Any) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[Finding] = asyncio.Queue()

    def tell(finding: Finding) -> None:
        loop.call_soon_threadsafe(found.put_nowait, finding)

    ledger.add_sink(tell)
    try:
        for finding in ledger.findings():
            yield message_of_finding(finding)
        while True:
            yield message_of_finding(await found.get())
    finally:
        ledger.remove_sink(tell)


def ask_service(channel: Any, seconds: float) -> Snapshot:
    """Return what the process at the other end of `channel` says.

    Raises grpc.RpcError, and NoAnswerError if the process says why it cannot.
    """
    take = channel.unary_unary(
        TAKE_SNAPSHOT,
        request_serializer=pb.Request.SerializeToString,
        response_deserializer=pb.Reply.FromString,
    )
    return snapshot_in(take(pb.Request(version=VERSION), timeout=seconds))
