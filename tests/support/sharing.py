"""A service whose RPCs live and end as the tests of sharing say, sync and aio."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
from inside import findings_stacks, frames_of_threads

from support.staging import PATIENCE, wait

UNSENDABLE = b"x" * 1_000_000  # beyond what flow control lets through to a peer that does not read
STREAM = grpc.stream_stream_rpc_method_handler
COUNT = grpc.stream_unary_rpc_method_handler


class Peer:
    """Sync handlers: Echo, Count, and those that end when `go` is set, Ends and Refuses."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.got: list[bytes] = []

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Echo": STREAM(self.echo),
            "Count": COUNT(self.count),
            "Ends": STREAM(self.ends),
            "Refuses": STREAM(self.refuses),
            "CountRefuses": COUNT(self.refuses_at_once),
        }

    def echo(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests

    def count(self, requests: Iterator[bytes], context: Any) -> bytes:
        self.got.extend(requests)
        return b"%d" % len(self.got)

    def ends(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Read nothing, and end normally."""
        context.add_callback(self.go.set)
        yield b"begun"
        wait(self.go)

    def refuses(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Read nothing, and end by an error."""
        context.add_callback(self.go.set)
        yield b"begun"
        wait(self.go)
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    def refuses_at_once(self, requests: Iterator[bytes], context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        raise AssertionError


class AioPeer:
    """The same for grpc.aio."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.got: list[bytes] = []

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Echo": STREAM(self.echo),
            "Count": COUNT(self.count),
            "Ends": STREAM(self.ends),
            "Refuses": STREAM(self.refuses),
        }

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def count(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        async for request in requests:
            self.got.append(request)
        return b"%d" % len(self.got)

    async def ends(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.wait_for(self.go.wait(), PATIENCE)

    async def refuses(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.wait_for(self.go.wait(), PATIENCE)
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")


def grpc_threads() -> set[threading.Thread]:
    """Return the threads of gRPC that ask request iterators, and our own."""
    asking = {
        ident
        for ident, frame in frames_of_threads().items()
        if any(
            outer.f_code.co_name == "consume_request_iterator"
            for outer in findings_stacks.outward(frame)
        )
    }
    return {
        thread
        for thread in threading.enumerate()
        if thread.ident in asking or thread.name.startswith("grpc_guard-")
    }


def leave(threads: set[threading.Thread]) -> None:
    """Wait until these threads have ended; fail if one does not."""
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), thread


def until(condition: Callable[[], object]) -> None:
    """Wait until another party has made `condition` true; nothing signals that."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0)


def until_collected(*references: weakref.ref[Any]) -> None:
    """Wait until nothing is left of what is referred to: a thread of gRPC may be in its frames."""
    until(lambda: gc.collect() >= 0 and not any(reference() for reference in references))
