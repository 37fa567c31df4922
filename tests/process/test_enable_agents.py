"""The patches of enable() below and above those of others, of every kind that a class may hold."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import grpc
import pytest
import wrapt
from inside import Mode
from support.enabling import (
    AIO_METHODS,
    METHODS,
    Chat,
    aio_echo,
    echo,
    is_guarded,
    restored,
)
from support.staging import aio_channel, aio_server, path, sync_channel, sync_server

import grpc_guard
from grpc_guard import disable, enable

__all__ = ["restored"]

Seen = list[object]


class Agent:
    """Patches one attribute of grpcio as agents do, and notes whose method was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str, kind: str) -> None:
        self.seen: Seen = []
        self._monkeypatch = monkeypatch
        self.owner = getattr(importlib.import_module(module), kind)

    def patch(self, how: str, name: str = "__call__") -> None:
        found = vars(self.owner)[name]
        self._monkeypatch.setattr(self.owner, name, _HOW[how](found, self.seen))


def _by_wrapt(found: Any, seen: Seen) -> Any:
    def look(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(instance)
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(found, look)


def _calling(found: Any) -> Callable[..., Any]:
    """Return what calls `found` as `functools.partialmethod` and others do, by its descriptor."""
    return lambda instance, *args, **kwargs: found.__get__(instance)(*args, **kwargs)


def _by_function(found: Any, seen: Seen) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self)
        return _calling(found)(self, *args, **kwargs)

    return method


def _by_partialmethod(found: Any, seen: Seen) -> Any:
    def method(self: Any, extra: str, *args: Any, **kwargs: Any) -> Any:
        assert extra == "extra"
        return _by_function(found, seen)(self, *args, **kwargs)

    return functools.partialmethod(method, "extra")


def _by_autospec(found: Any, seen: Seen) -> Any:
    return mock.create_autospec(_by_function(found, seen), side_effect=_by_function(found, seen))


_HOW: dict[str, Callable[[Any, Seen], Any]] = {
    "function": _by_function,
    "wrapt": _by_wrapt,
    "partialmethod": _by_partialmethod,
    "autospec": _by_autospec,
}


@pytest.fixture
def patching() -> Iterator[pytest.MonkeyPatch]:
    """What is patched with it goes again, and what it puts back is taken up by the guard."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch
    enable()
    disable()


@pytest.fixture
def agent(patching: pytest.MonkeyPatch) -> Agent:
    return Agent(patching, "grpc._channel", "_StreamStreamMultiCallable")


@pytest.fixture
def aio_agent(patching: pytest.MonkeyPatch) -> Agent:
    return Agent(patching, "grpc.aio._channel", "StreamStreamMultiCallable")


# Above a patch of other code


@pytest.mark.parametrize("how", _HOW)
def test_above_a_patch(how: str, agent: Agent) -> None:
    """A patch below the guard is called as the class would call it: with its instance."""
    agent.patch(how)
    enable()
    with echo() as stub:
        chat = Chat(stub)
        assert is_guarded(chat.call)
        chat.say(b"1")
        assert chat.end() == [b"1"]
        assert [type(seen) for seen in agent.seen] == [agent.owner]
    disable()


@pytest.mark.parametrize("how", _HOW)
async def test_above_a_patch_in_aio(how: str, aio_agent: Agent) -> None:
    """So is one of grpc.aio."""
    aio_agent.patch(how)
    enable()
    async with aio_echo() as stub:
        call = stub()
        assert is_guarded(call)
        assert await call.read() == b"guarded"
        assert aio_agent.seen == [stub]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    disable()


@pytest.mark.parametrize(
    "stub",
    [staticmethod(lambda requests: iter((b"of a stub",))), mock.MagicMock(return_value=[b"of it"])],
    ids=["staticmethod", "mock"],
)
def test_above_what_takes_no_instance(
    stub: Any, agent: Agent, patching: pytest.MonkeyPatch
) -> None:
    """What a test put on the class gets the arguments, and no instance where the class gives none."""
    patching.setattr(agent.owner, "__call__", stub)
    with sync_channel("127.0.0.1:1", mode=None) as channel:
        multi_callable = channel.stream_stream(path("Echo"))
        plain = list(multi_callable(iter(())))
        enable()
        assert list(multi_callable(iter(()))) == plain
        disable()


def test_above_patches_of_servers_and_channels(patching: pytest.MonkeyPatch) -> None:
    """Patches of what makes channels and servers, and registers handlers, see their instances."""
    places = {
        ("grpc._channel", "Channel"): ["__init__", "_close"],
        ("grpc._server", "_Server"): ["__init__", "add_generic_rpc_handlers"],
        ("grpc._channel", "_UnaryUnaryMultiCallable"): ["__call__", "with_call", "future"],
    }
    agents = [Agent(patching, *place) for place in places]
    for agent, names in zip(agents, places.values(), strict=True):
        for name in names:
            agent.patch("wrapt", name)
    enable()
    unary = {"Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}
    with (
        sync_server(METHODS | unary, mode=None) as address,
        sync_channel(address, mode=None) as channel,
    ):
        multi_callable = channel.unary_unary(path("Unary"))
        assert multi_callable(b"1") == b"1"
        assert multi_callable.future(b"2").result() == b"2"
        assert multi_callable.with_call(b"3")[0] == b"3"
        assert Chat(channel.stream_stream(path("Echo"))).first == b"guarded"
    seen = [[type(seen) for seen in agent.seen] for agent in agents]
    assert [set(of_one) for of_one in seen] == [{agent.owner} for agent in agents]
    assert len(seen[2]) == 3
    disable()


# Below a patch of other code


@pytest.mark.parametrize("how", _HOW)
def test_by_hand_with_an_agent_between(how: str, agent: Agent) -> None:
    """An object wrapped by hand has its own mode, whatever patch is on top of that of enable()."""
    enable("raise")
    agent.patch(how)
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        by_hand = grpc_guard.wrap(channel, mode="warn").stream_stream(path("Echo"))
        chat = Chat(by_hand)
        assert chat.call._self_stream.mode is Mode.WARN
        assert not is_guarded(chat.call.__wrapped__)
        assert [type(seen) for seen in agent.seen] == [agent.owner]
        by_the_process = Chat(channel.stream_stream(path("Echo")))
        assert by_the_process.call._self_stream.mode is Mode.RAISE
        for one in (chat, by_the_process):
            one.end()


async def test_by_hand_with_an_agent_between_in_aio(aio_agent: Agent) -> None:
    """In asyncio too."""
    enable("raise")
    aio_agent.patch("wrapt")
    async with (
        aio_server(AIO_METHODS, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        by_hand = grpc_guard.wrap(channel, mode="warn").stream_stream(path("Echo"))()
        by_the_process = channel.stream_stream(path("Echo"))()
        for call, mode in ((by_hand, Mode.WARN), (by_the_process, Mode.RAISE)):
            assert call._self_stream.mode is mode
            assert not is_guarded(call.__wrapped__)
            assert await call.read() == b"guarded"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
    assert [type(seen) for seen in aio_agent.seen] == [aio_agent.owner] * 2


def test_by_hand_around_an_interceptor() -> None:
    """What an interceptor starts for a channel that was wrapped by hand is guarded once."""

    class Interceptor(grpc.StreamStreamClientInterceptor):
        def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
            inner.append(continuation(details, requests))
            return inner[-1]

    inner: list[Any] = []
    enable("raise")
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        channel = grpc_guard.wrap(grpc.intercept_channel(channel, Interceptor()), mode="warn")
        chat = Chat(channel.stream_stream(path("Echo")))
        assert chat.call._self_stream.mode is Mode.WARN
        assert not is_guarded(inner.pop())
        chat.end()


@pytest.mark.parametrize("how", _HOW)
def test_a_unary_refusal_is_told_once(how: str, patching: pytest.MonkeyPatch) -> None:
    """A unary RPC on a closed channel is one finding, whatever is between two guards."""
    agent = Agent(patching, "grpc._channel", "_UnaryUnaryMultiCallable")
    enable()
    agent.patch(how)
    disable()
    enable()  # on top of the agent, and below it
    with sync_channel("127.0.0.1:1", mode=None) as channel:
        for one in (channel, grpc_guard.wrap(channel, mode="warn")):
            multi_callable = one.unary_unary(path("Unary"))
            channel.close()
            with pytest.raises(ValueError, match="closed channel") as caught:
                multi_callable(b"")
            assert len(caught.value.__notes__) == 1
    (finding,) = grpc_guard.findings()
    assert (str(finding.rule), finding.count) == ("closed-channel", 2)
    grpc_guard.clear_findings()


def test_two_of_ours_around_an_agent(agent: Agent) -> None:
    """If an agent patched on top before enable(), only one of the guard's two patches acts."""
    enable()
    agent.patch("wrapt")
    disable()
    enable("warn")
    with echo() as stub:
        chat = Chat(stub)
        assert not is_guarded(chat.call.__wrapped__)
        assert len(agent.seen) == 1
        chat.say(b"1")
        assert chat.end() == [b"1"]
    disable()


def test_an_agent_that_comes_and_goes(patching: pytest.MonkeyPatch) -> None:
    """However often others patch and take back, what the guard put there is known again."""
    owner = importlib.import_module("grpc._channel")._StreamStreamMultiCallable
    original = owner.__call__
    enable()
    ours = owner.__call__
    with patching.context() as foreign:
        foreign.setattr(owner, "__call__", _by_wrapt(ours, []))
        disable()
        for _ in range(3):
            enable()
            on_top = owner.__call__
            disable()
        enable()
        assert owner.__call__ is on_top
    assert owner.__call__ is ours
    enable("warn")
    assert owner.__call__ is ours
    disable()
    assert owner.__call__ is original
