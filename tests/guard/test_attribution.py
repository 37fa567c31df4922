"""With an installed library between the program and its streams: which line is reported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from inside import ledger, lifecycle_leaks
from support.staging import Gate, in_thread, path, sync_server

from grpc_guard import ConcurrencyError, Finding, guarded

Found = Callable[[], list[Finding]]

# As agents do: it starts the RPC, and hands out an iterator of its own around the call.
_AGENT = """
import grpc


class Messages:
    def __init__(self, call):
        self._call = call

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._call)

    def __getattr__(self, name):
        return getattr(self._call, name)


class Interceptor(grpc.UnaryStreamClientInterceptor):
    def intercept_unary_stream(self, continuation, details, request):
        return Messages(continuation(details, request))


def insecure_channel(target, options=None):
    return grpc.intercept_channel(grpc.insecure_channel(target, options), Interceptor())
"""


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Install a library that makes channels."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "agent_of_channels.py").write_text(_AGENT)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    with guarded():
        yield importlib.import_module("agent_of_channels")
    del sys.modules["agent_of_channels"]


@pytest.fixture
def target() -> Iterator[str]:
    go = Gate()

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"first"
        context.add_callback(go.open)
        yield go.park(b"second")

    with sync_server({"Hold": grpc.unary_stream_rpc_method_handler(hold)}) as address:
        yield address
        go.open()


def display(messages: Any) -> None:
    next(messages)


def log(messages: Any) -> None:
    next(messages)


def feed(messages: Any) -> None:
    next(messages)


def cache(messages: Any) -> None:
    next(messages)


def test_reads(agent: Any, target: str, found: Found) -> None:
    """Two races at four places of the program are two findings, and tell the program's lines."""
    for first, second in ((display, log), (feed, cache)):
        gate = Gate()
        with agent.insecure_channel(target) as channel:
            messages = channel.unary_stream(
                path("Hold"), response_deserializer=gate.park_at(b"first")
            )(b"")
            reader = in_thread(first, messages)
            with gate.held(), pytest.raises(ConcurrencyError):
                second(messages)
            reader.result()
    sites = []
    for finding in found():
        assert finding.owner is not None
        assert finding.owner.site is not None
        assert finding.caller.site is not None
        sites.append((finding.owner.site, finding.caller.site))
    assert [(owner.function, caller.function) for owner, caller in sites] == [
        ("display", "log"),
        ("feed", "cache"),
    ]
    assert {frame.file for pair in sites for frame in pair} == {__file__}


def test_channels(agent: Any, found: Found) -> None:
    """Channels made through a library by one place each, and kept, are not many from one place."""
    names = {"insecure_channel": agent.insecure_channel}
    lines = "".join(f"def make{n}(): return insecure_channel('127.0.0.1:1')\n" for n in range(12))
    exec(compile(lines, "services.py", "exec"), names)
    channels = [names[f"make{n}"]() for n in range(12)]
    assert found() == []
    for channel in channels:
        channel.close()


def test_leaks(agent: Any, target: str, found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that leaked through a library are told by the lines of the program, each."""
    monkeypatch.setattr(ledger, "test_attempt", mine := object())
    leaked: list[Any] = []

    def watch_prices() -> None:
        leaked.append(channel.unary_stream(path("Hold"))(b""))

    def watch_orders() -> None:
        leaked.append(channel.unary_stream(path("Hold"))(b""))

    with agent.insecure_channel(target) as channel:
        watch_prices()
        watch_orders()
        lifecycle_leaks.look(
            lambda origin: origin.operation == "start" and origin.test_attempt is mine
        )
        told = found()
    functions = [finding.caller.site and finding.caller.site.function for finding in told]
    assert functions == ["watch_prices", "watch_orders"]
