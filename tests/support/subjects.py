"""Every guarded object: what the contract suite is run over. A new proxy joins with one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from support.advancing import (
    aio_client_requests,
    aio_server_responses,
    sync_client_requests,
    sync_server_responses,
)
from support.reading import aio_client_reads, aio_server_reads, sync_client_reads, sync_server_reads
from support.stage import RPC, Subject
from support.writing import aio_client_writes, aio_server_writes, sync_server_sends

BY_HAND = "(an RPC wrapped by hand)"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A guarded object: how to get one, and the operations of one of its directions."""

    name: str
    api: str
    side: str
    rpc: str
    rule: str
    operations: tuple[str, ...]
    open: Callable[[Any], AbstractAsyncContextManager[Subject]]

    @property
    def direction(self) -> str:
        return self.rule.removeprefix("concurrent-")

    @property
    def has_tasks(self) -> bool:
        """Whether its operations are awaited."""
        return self.api == "aio" and not any(name.startswith("next") for name in self.operations)

    @property
    def advanced_by_grpc(self) -> bool:
        """Whether it is an iterator of the user's, and other parties are interceptors."""
        return "iterator)" in self.operations[0]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Which operation may not be begun while which is in progress: (inside, arriving)."""
        return [
            (inside, arriving)
            for inside in self.operations
            for arriving in self.operations
            if (inside, arriving) not in _LEGAL
        ]


_LEGAL = [
    ("done_writing", "done_writing"),  # grpcio makes it idempotent
    ("yield", "yield"),  # one generator does both, one after the other
]


def _kind(factory: Any, operations: str, shape: str, variant: str = "", **options: Any) -> Kind:
    api, side, activity = factory.__name__.split("_")
    by_hand = bool(options.get("by_hand"))
    return Kind(
        name=" ".join(filter(None, (api, side, shape, variant, by_hand and "by hand"))),
        api=api,
        side=side,
        rpc=BY_HAND if by_hand and api == "aio" else RPC,  # a sync call knows its method
        rule="concurrent-read" if activity == "reads" else "concurrent-write",
        operations=tuple(operations.split()),
        open=lambda mode: factory(mode, shape, **options),
    )


NEXT = "next .next"
STEP = "__anext__ asend"
REQUESTS = "context.read __anext__ .__anext__ asend"
WRITE = "write done_writing"
YIELD = "context.write yield"
SINGLE = {"single_threaded": True}
GENERATOR = {"kind": "async generator"}

KINDS = [
    _kind(sync_client_reads, NEXT, "unary_stream"),
    _kind(sync_client_reads, f"{NEXT} initial_metadata", "unary_stream", "single", **SINGLE),
    _kind(sync_client_reads, NEXT, "stream_stream"),
    _kind(sync_client_reads, NEXT, "stream_stream", by_hand=True),
    _kind(aio_client_reads, "read", "unary_stream", "read", style="read"),
    _kind(aio_client_reads, "read", "unary_stream", "read", style="read", by_hand=True),
    _kind(aio_client_reads, STEP, "unary_stream", "iterate", style="iterate"),
    _kind(aio_client_reads, "read", "stream_stream", "read", style="read"),
    _kind(aio_client_reads, "read", "stream_stream", "duplex", style="read", by_write=True),
    _kind(aio_client_reads, STEP, "stream_stream", "iterate", style="iterate"),
    _kind(aio_client_reads, STEP, "stream_stream", "iterate", style="iterate", by_hand=True),
    _kind(sync_server_reads, NEXT, "stream_unary"),
    _kind(sync_server_reads, NEXT, "stream_stream"),
    _kind(sync_server_reads, NEXT, "stream_stream", "forgetting", forgetting=True),
    _kind(aio_server_reads, REQUESTS, "stream_unary"),
    _kind(aio_server_reads, REQUESTS, "stream_stream"),
    _kind(aio_server_reads, REQUESTS, "stream_stream", "generator", **GENERATOR),
    _kind(aio_server_reads, "context.read", "stream_unary", by_hand=True),
    _kind(aio_server_reads, "next", "stream_unary", "in pool", kind="function"),
    _kind(aio_server_reads, "next", "stream_stream", "in pool", kind="generator"),
    _kind(aio_client_writes, WRITE, "stream_unary", "write"),
    _kind(aio_client_writes, WRITE, "stream_unary", "write", by_hand=True),
    _kind(aio_client_writes, WRITE, "stream_stream", "write"),
    _kind(aio_client_writes, WRITE, "stream_stream", "write", by_hand=True),
    _kind(aio_server_writes, "context.write", "unary_stream", "write"),
    _kind(aio_server_writes, "context.write", "unary_stream", "write", by_hand=True),
    _kind(aio_server_writes, "context.write", "stream_stream", "write"),
    _kind(aio_server_writes, YIELD, "unary_stream", "yield", **GENERATOR),
    _kind(aio_server_writes, YIELD, "stream_stream", "yield", **GENERATOR),
    _kind(sync_server_sends, "send_response", "unary_stream", "non-blocking"),
    _kind(sync_server_sends, "send_response", "stream_stream", "non-blocking"),
    _kind(sync_client_requests, "next(request_iterator)", "stream_unary", "requests"),
    _kind(sync_client_requests, "next(request_iterator)", "stream_stream", "requests"),
    _kind(aio_client_requests, "anext(request_iterator)", "stream_unary", "requests"),
    _kind(aio_client_requests, "anext(request_iterator)", "stream_stream", "requests"),
    _kind(sync_server_responses, "next(response_iterator)", "unary_stream", "responses"),
    _kind(sync_server_responses, "next(response_iterator)", "stream_stream", "responses"),
    _kind(aio_server_responses, "next(response_iterator)", "unary_stream", "responses"),
    _kind(aio_server_responses, "next(response_iterator)", "stream_stream", "responses"),
]
BY_NAME = {kind.name: kind for kind in KINDS}
assert len(BY_NAME) == len(KINDS)


def each_pair() -> list[Any]:
    """Return every pair of operations that must not overlap, as parameters of a test."""
    return [
        pytest.param(kind, *pair, id=f"{kind.name}: {pair[1]} during {pair[0]}")
        for kind in KINDS
        for pair in kind.pairs
    ]


ENDS = ("done_writing", "initial_metadata")  # operations that carry no message


def each_operation(
    choose: Callable[[Kind], bool] = lambda kind: True,
    *,
    without: tuple[str, ...] = (),
    with_ends: bool = False,
) -> list[Any]:
    """Return every guarded object with each of its operations, as parameters of a test."""
    return [
        pytest.param(kind, operation, id=f"{kind.name}: {operation}")
        for kind in KINDS
        if choose(kind)
        for operation in kind.operations
        if operation not in without and (with_ends or operation not in ENDS)
    ]
