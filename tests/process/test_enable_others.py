"""An agent's own channel, whose multi-callables put a generator around grpcio's call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import GeneratorType, ModuleType
from typing import Any

import grpc
import pytest
from inside import others
from support.enabling import METHODS, restored
from support.staging import Gate, inside_grpc, path, sync_channel, sync_server

import grpc_guard
from grpc_guard import ConcurrencyError, disable, enable, wrap

__all__ = ["restored"]


class _Around:
    """A multi-callable of the agent around one of grpcio's."""

    def __init__(self, inner: Any, method: str | None) -> None:
        self._inner = inner
        if method is not None:
            self._method = method


def _lazily(self: Any, request: Any, **options: Any) -> Iterator[Any]:
    yield from self._inner(request, **options)


class AgentsStreamStream(_Around, grpc.StreamStreamMultiCallable):
    def __call__(self, request: Any, **options: Any) -> Iterator[Any]:
        yield from self._inner(request, **options)


class AgentsChannel:
    def __init__(self, channel: Any, kind: type) -> None:
        self._channel = channel
        self._kind = kind

    def stream_stream(self, method: str) -> Any:
        return self._kind(self._channel.stream_stream(method), method)


def _made_now(monkeypatch: pytest.MonkeyPatch) -> type:
    kind = type("Late", (AgentsStreamStream,), {"__call__": _lazily, "__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Late", kind, raising=False)
    return kind


@pytest.fixture
def channel() -> Iterator[Any]:
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as plain:
        yield plain


def test_classes_of_the_programs_own_kind(channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of their metaclass, or of their module, do not reach the code that makes a stub."""

    class Unhashable(type(grpc.StreamStreamMultiCallable)):  # type: ignore[misc]
        def __eq__(cls, other: object) -> bool:
            raise AssertionError

    lazy = ModuleType("lazy")
    lazy.__getattr__ = lambda name: 1 / 0  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    kinds = [
        Unhashable("Strange", (grpc.StreamStreamMultiCallable,), {"__call__": _lazily}),
        type("Lazy", (AgentsStreamStream,), {"__call__": _lazily, "__module__": "lazy"}),
        _made_now(monkeypatch),
    ]
    enable()
    assert list(channel.stream_stream(path("Echo"))(iter([b"a"]))) == [b"guarded", b"a"]
    assert [vars(kind)["__call__"] is _lazily for kind in kinds] == [True, True, False]


@pytest.mark.parametrize("is_late", [False, True])
def test_next_during_next_behind_an_agents_generator(
    is_late: bool, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two readers the second is refused, where Python knew only that the generator executes."""
    enable()
    kind = _made_now(monkeypatch) if is_late else AgentsStreamStream
    gate = Gate()

    def requests() -> Iterator[bytes]:
        gate.park()
        yield b"0"

    call = AgentsChannel(channel, kind).stream_stream(path("Echo"))(requests())
    assert next(call) == b"guarded"
    reader = inside_grpc(lambda: next(call), name="owner")
    with pytest.raises(ConcurrencyError) as refusal:
        next(call)
    gate.open()
    assert reader.result() == b"0"
    assert list(call) == []
    finding = refusal.value.finding
    assert (finding.rule.name, finding.rpc) == ("concurrent-read", path("Echo"))
    assert finding.owner is not None
    assert finding.owner.name == "owner"
    grpc_guard.clear_findings()


def test_names_of_the_rpcs_of_others(channel: Any) -> None:
    """One that does not say where grpcio does which RPC it is for is named after its class."""
    enable()
    call = AgentsStreamStream(channel.stream_stream(path("Echo")), None)(iter([b"0"]))
    assert call._self_stream.rpc == "AgentsStreamStream"
    assert list(call) == [b"guarded", b"0"]


def test_below_a_guard_with_a_mode_of_its_own(channel: Any) -> None:
    """Where wrap() guards an agent's multi-callable, that is its only guard."""
    enable()
    echo = AgentsStreamStream(channel.stream_stream(path("Echo")), path("Echo"))

    class Channel(grpc.Channel):
        subscribe = unsubscribe = close = unary_unary = unary_stream = stream_unary = None

        def stream_stream(self, *_: Any, **__: Any) -> Any:
            return echo

    call = wrap(Channel(), mode="warn").stream_stream(path("Echo"))(iter([b"0"]))
    assert type(call.__wrapped__) is GeneratorType
    assert list(call) == [b"guarded", b"0"]


def test_what_is_left_alone(channel: Any) -> None:
    """A class that no module holds is not patched, nor one that is there after the guard is off."""

    class Local(AgentsStreamStream):
        __call__ = _lazily

    before = vars(AgentsStreamStream)["__call__"]
    enable()
    patched = vars(AgentsStreamStream)["__call__"]
    assert patched is not before
    make = type(channel).stream_stream
    assert vars(Local)["__call__"] is _lazily
    disable()
    assert vars(AgentsStreamStream)["__call__"] is before
    echo = AgentsStreamStream(make(channel, path("Echo")), path("Echo"))
    assert type(patched(echo, iter([b"0"]))) is GeneratorType  # if other code has kept it
    enable()
    assert vars(AgentsStreamStream)["__call__"] is patched


def test_two_threads_that_find_the_same_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them patches it."""
    enable()
    kind = _made_now(monkeypatch)
    before = vars(kind)["__call__"]

    def overtaken(owner: Any, *args: Any) -> Any:
        others._patches[owner] = patch(owner, *args)
        return patch(owner, *args)

    patch = others.Patch
    monkeypatch.setattr(others, "Patch", overtaken)
    others.look_for_more()
    assert vars(kind)["__call__"] is before
