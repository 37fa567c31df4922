"""enable() and disable(): what they reach, and what becomes of streams that are open."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from grpc import insecure_channel  # before the guard is on
from inside import current_mode, process, process_patches
from support.enabling import (
    AIO_METHODS,
    METHODS,
    Chat,
    aio_echo,
    changed_since,
    echo,
    grpcio,
    is_guarded,
    restored,
)
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    needs_registration,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
)

from grpc_guard import ConcurrencyError, disable, enable, guarded, is_enabled

__all__ = ["restored"]


# What is there already


def test_a_channel_and_a_stub_made_before() -> None:
    """Streams of channels and stubs that were made before are guarded, until disable()."""
    with sync_server(METHODS, mode=None) as address, insecure_channel(address) as channel:
        stub = channel.stream_stream(path("Echo"))
        enable()
        for chat in (Chat(stub), Chat(channel.stream_stream(path("Echo")))):
            assert is_guarded(chat.call)
            assert chat.end() == []
        disable()
        assert not is_guarded(Chat(stub).call)


def test_a_factory_imported_before() -> None:
    """A channel made by a name that was imported before is guarded."""
    enable()
    with sync_server(METHODS, mode=None) as address, insecure_channel(address) as channel:
        assert is_guarded(Chat(channel.stream_stream(path("Echo"))).call)


async def test_an_aio_channel_and_a_stub_made_before() -> None:
    """Streams of asyncio channels and stubs that were made before are guarded."""
    async with aio_echo() as stub:
        enable()
        call = stub()
        assert is_guarded(call)
        assert await call.read() == b"guarded"
        disable()
        assert not is_guarded(stub())


HOW = pytest.mark.parametrize("how", ["generic", "registered", "constructor"])


@HOW
def test_a_running_server(how: str) -> None:
    """The handlers of a server that runs already are guarded from the next RPC on."""
    with (
        sync_server(METHODS, mode=None, how=how) as address,
        sync_channel(address, mode=None) as channel,
    ):
        stub = channel.stream_stream(path("Echo"))
        seen = [Chat(stub).first]
        for switch in (enable, disable, enable):
            switch()
            seen.append(Chat(stub).first)
    assert seen == [b"plain", b"guarded", b"plain", b"guarded"]


@HOW
async def test_a_running_aio_server(how: str) -> None:
    """The handlers of an asyncio server that runs already are guarded from the next RPC on."""
    needs_registration(how)
    async with (
        aio_server(AIO_METHODS, mode=None, how=how) as address,
        aio_channel(address, mode=None) as channel,
    ):
        stub = channel.stream_stream(path("Echo"))
        seen = [await stub().read()]
        for switch in (enable, disable, enable):
            switch()
            seen.append(await stub().read())
    assert seen == [b"plain", b"guarded", b"plain", b"guarded"]


@HOW
def test_a_server_made_while_on(how: str) -> None:
    """The handlers of a server that is made later are guarded."""
    enable()
    with (
        sync_server(METHODS, mode=None, how=how) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert Chat(channel.stream_stream(path("Echo"))).first == b"guarded"


# What is open already


def test_enable_while_a_stream_is_open() -> None:
    """A stream that is open stays plain, and loses nothing; the next one is guarded."""
    with echo() as stub:
        chat = Chat(stub)
        enable()
        assert not is_guarded(chat.call)
        chat.say(b"a")
        assert next(chat.call) == b"a"
        chat.say(b"b")
        assert chat.end() == [b"b"]
        assert is_guarded(Chat(stub).call)


def test_enable_while_a_thread_reads() -> None:
    """A thread that is inside a plain stream comes out of it with its message."""
    with echo() as stub:
        chat = Chat(stub)
        reader = inside_grpc(next, chat.call)
        enable()
        chat.say(b"a")
        assert reader.result() == b"a"
        chat.say(b"b")
        assert chat.end() == [b"b"]


def test_disable_while_a_guarded_stream_is_read(found: Any) -> None:
    """A guarded stream stays guarded: a second reader is refused, the first loses nothing."""
    enable()
    with echo() as stub:
        chat = Chat(stub)
        reader = inside_grpc(next, chat.call)
        disable()
        with pytest.raises(ConcurrencyError):
            next(chat.call)
        chat.say(b"a")
        assert reader.result() == b"a"
        chat.say(b"b")
        assert chat.end() == [b"b"]
        assert not is_guarded(Chat(stub).call)
    assert len(found()) == 1


async def test_disable_while_a_guarded_aio_stream_is_read(found: Any) -> None:
    """A guarded asyncio stream stays guarded: a second reader is refused."""
    async with aio_echo() as stub:
        enable()
        call = stub()
        assert await call.read() == b"guarded"
        reader = asyncio.create_task(call.read())
        await settle()
        disable()
        with pytest.raises(ConcurrencyError):
            await call.read()
        await call.write(b"a")
        assert await asyncio.wait_for(reader, PATIENCE) == b"a"
    assert len(found()) == 1


# Switching


def test_enable_twice() -> None:
    """The second enable() changes the mode only; one disable() takes all back."""
    before = grpcio()
    enable()
    patched = grpcio()
    enable("warn")
    assert (current_mode(), changed_since(patched)) == ("warn", [])
    assert changed_since(before) != []
    disable()
    assert changed_since(before) == []
    disable()
    assert not is_enabled()


def test_enable_off() -> None:
    """The mode ``off`` is the same as disable()."""
    enable()
    enable("off")
    assert not is_enabled()


def test_an_unknown_mode() -> None:
    """An unknown mode changes nothing, and the error says the choices."""
    enable("warn")
    for switch in (enable, guarded):
        with pytest.raises(ValueError, match="'on' is not a mode; use off, raise, warn or ser"):
            switch("on")
    assert current_mode() == "warn"


def test_enable_in_two_threads_at_once(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """The second waits for the first, and the streams are guarded once."""
    gate, arrived = Gate(), threading.Event()
    plain_apply, applied = process_patches.apply, []

    def apply() -> None:
        applied.append(1)
        gate.park()
        plain_apply()

    class Mutex:
        def __init__(self, lock: Any) -> None:
            self._lock = lock

        def __enter__(self) -> None:
            if applied:
                arrived.set()
            self._lock.acquire()

        def __exit__(self, *exc_info: object) -> None:
            self._lock.release()

    monkeypatch.setattr(process_patches, "apply", apply)
    monkeypatch.setattr(process, "_mutex", Mutex(process._mutex))
    first = in_thread(enable, "raise", name="first")
    with gate.held():
        second = in_thread(enable, "warn", name="second")
        wait(arrived)
        assert not is_enabled()
    first.result()
    second.result()
    assert (applied, current_mode()) == ([1], "warn")
    with echo() as stub:
        call = Chat(stub).call
        assert is_guarded(call)
        assert not is_guarded(call.__wrapped__)
