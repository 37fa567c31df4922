"""blocked-grpc-thread: waiting and dawdling in callbacks that run on threads of gRPC."""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from inside import findings_stacks, lifecycle_callbacks
from support.sharing import until
from support.staging import PATIENCE, Gate, path, sync_channel, sync_server

from grpc_guard import ConcurrencyError, Finding, guarded

Found = Callable[[], list[Finding]]


def numbers(request: bytes, context: Any) -> Iterator[bytes]:
    yield from [b"1", b"2"]


def hold(gate: Gate, request: bytes, context: Any) -> Iterator[bytes]:
    gate.park()
    yield b"1"


METHODS = {
    "Numbers": grpc.unary_stream_rpc_method_handler(numbers),
    "Same": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
}


def in_callback(channel: Any, function: Callable[[], Any], how: str = "add_done_callback") -> Any:
    """Do `function` in a callback of a call on `channel`; return what it returned or raised."""
    said: queue.Queue[Any] = queue.Queue()

    def callback(*call: Any) -> None:
        try:
            said.put(function())
        except BaseException as error:
            said.put(error)

    call = channel.unary_stream(path("Numbers"))(b"")
    getattr(call, how)(callback)
    list(call)
    return said.get(timeout=PATIENCE)


@pytest.mark.parametrize("how", ["add_done_callback", "add_callback"])
def test_reading_in_a_callback(how: str, found: Found) -> None:
    """A read that could never end is refused, and the channel goes on."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:
        calls = []

        def reopen() -> Any:
            calls.append(channel.unary_stream(path("Numbers"))(b""))
            return next(calls[0])

        refusal = in_callback(channel, reopen, how)
        assert isinstance(refusal, ConcurrencyError)
        assert list(calls[0]) == [b"1", b"2"]  # elsewhere the call is as good as any
    (finding,) = found()
    assert finding == refusal.finding
    assert (finding.rule, finding.severity) == ("blocked-grpc-thread", "error")
    assert finding.caller.site is not None
    assert finding.caller.site.function == "reopen"


def test_reading_what_is_over_in_a_callback(found: Found) -> None:
    """A call that has ended is read without waiting."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:

        def reopen() -> Any:
            call = channel.unary_stream(path("Numbers"))(b"")
            call.cancel()
            return next(call)

        assert isinstance(in_callback(channel, reopen), grpc.RpcError)
    assert found() == []


def test_other_channels_in_a_callback(found: Found) -> None:
    """Another channel has a thread of its own, and a blocking unary call a queue of its own."""
    with (
        sync_server(METHODS, mode=None) as address,
        sync_channel(address) as channel,
        sync_channel(address) as other,
    ):
        read = functools.partial(lambda: list(other.unary_stream(path("Numbers"))(b"")))
        assert in_callback(channel, read) == [b"1", b"2"]
        same = functools.partial(channel.unary_unary(path("Same")), b"1", timeout=PATIENCE)
        assert in_callback(channel, same) == b"1"
    assert found() == []


def test_a_callback_within_a_callback(found: Found) -> None:
    """A callback that runs another one at once is in its own again afterwards."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:

        def register() -> Any:
            call = channel.unary_stream(path("Numbers"))(b"")
            call.cancel()
            call.add_done_callback(lambda call: None)  # it is over: the callback runs now
            (inside,) = lifecycle_callbacks.running.values()
            return inside

        assert in_callback(channel, register) is not None
    until(lambda: not lifecycle_callbacks.running)  # findings come from within it
    assert found() == []


def test_a_callback_where_nothing_is_delivered(found: Found) -> None:
    """A thread that delivers no events may wait: nothing is refused."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Numbers"))(b"")
        assert list(call) == [b"1", b"2"]
        said: list[Any] = []

        def read(ended: Any) -> None:
            said.extend(channel.unary_stream(path("Numbers"))(b""))

        call.add_done_callback(read)  # run here, for it is over
        assert said == [b"1", b"2"]
    assert found() == []


def test_a_slow_callback(found: Found, reported: Any) -> None:
    """A callback that ran for long is reported when it has ended, on both sides."""

    def dawdle() -> None: ...

    def handler(request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(dawdle)
        yield b"1"

    methods = {"Numbers": grpc.unary_stream_rpc_method_handler(handler)}
    with guarded("off", thresholds={"slow_callback_seconds": 0}):
        with sync_server(methods) as address, sync_channel(address) as channel:
            in_callback(channel, dawdle)
            for _ in ("client", "server"):  # reported when each callback has ended
                reported.get(timeout=PATIENCE)
    told = {finding.side: finding for finding in found()}
    assert set(told) == {"client", "server"}
    for finding in told.values():
        assert (finding.rule, finding.severity) == ("blocked-grpc-thread", "warning")
        assert finding.caller.site is not None
    assert told["server"].caller.site.function == "dawdle"  # type: ignore[union-attr]


def test_the_line_of_a_callback() -> None:
    """A callback is known by its first line, through partials; one in C by none."""
    line = findings_stacks.frame_of_function(functools.partial(numbers, b""))
    assert line is not None
    assert line.function == "numbers"
    assert findings_stacks.frame_of_function(print) is None
