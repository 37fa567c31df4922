"""The same answers as a gRPC service that a program adds to a server of its own."""

from __future__ import annotations

import asyncio
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
from .records import Snapshot
from .snapshot import collector_at_rest

SERVICE = "grpc_guard.inspection.v1.Inspection"


def add_servicer(server: Any) -> None:
    """Add a service to `server` that reports what the streams of this process are doing.

    `server` is one of ``grpc`` or ``grpc.aio``, started or not. The service is
    ``grpc_guard.inspection.v1.Inspection`` (``inspection.proto``), with the read-only methods
    ``TakeSnapshot`` and ``WatchFindings``. The credentials and interceptors of the server decide
    who may call it: add it to a server to which you would add channelz. The answers contain
    names, lines of source code and RPCs, but no payload, metadata, credential, argument or
    environment variable.

    A sync server answers on one of its threads: if all of them hang, ask the process by
    ``grpc-guard dump PID``.

    Raises TypeError for an object that is not a server.
    """
    if not isinstance(server, (grpc.Server, grpc.aio.Server)):
        raise TypeError(f"add_servicer() takes a server of grpc or grpc.aio, not {server!r:.200}")
    is_aio = isinstance(server, grpc.aio.Server)
    handlers = {
        "TakeSnapshot": grpc.unary_unary_rpc_method_handler(
            _take_async if is_aio else _take,
            request_deserializer=pb.Request.FromString,
            response_serializer=pb.Reply.SerializeToString,
        ),
        "WatchFindings": grpc.unary_stream_rpc_method_handler(
            _watch_async if is_aio else _watch,
            request_deserializer=pb.Request.FromString,
            response_serializer=pb.Finding.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _take(request: Any, context: Any) -> Any:
    with collector_at_rest():
        return reply()


async def _take_async(request: Any, context: Any) -> Any:
    return _take(request, context)


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
        f"/{SERVICE}/TakeSnapshot",
        request_serializer=pb.Request.SerializeToString,
        response_deserializer=pb.Reply.FromString,
    )
    return snapshot_in(take(pb.Request(version=VERSION), timeout=seconds))
