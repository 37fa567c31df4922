"""The door to grpcio's notes of RPCs: what is seen where its names are missing."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any

import pytest
from inside import cpython_door, ends_door, grpcio_door, loops_door, rpcs_door
from support.staging import sync_channel, sync_server

NOTHING = types.SimpleNamespace()  # has none of the names


def test_the_state_of_a_channel() -> None:
    """A fresh one is idle; the state is unknown if it is closed, or the name is missing."""
    with sync_server({}) as address, sync_channel(address, mode=None) as channel:
        anchor, _ = grpcio_door.anchor_and_core(channel)
        assert grpcio_door.state_of_core(anchor) == "idle"
        channel.close()
        assert grpcio_door.state_of_core(anchor) == "unknown"
    assert grpcio_door.state_of_core(NOTHING) == "unknown"


def test_an_error_of_the_program_in_the_state_of_a_channel() -> None:
    """What is not grpcio's refusal comes out."""

    class Theirs(Exception):
        pass

    def look(connect: bool) -> Any:
        raise Theirs

    channel = types.SimpleNamespace(check_connectivity_state=look)
    with pytest.raises(Theirs):
        grpcio_door.state_of_core(types.SimpleNamespace(channel=channel))


def test_calls_without_notes() -> None:
    """Nothing counts as being sent or received."""
    assert not rpcs_door.is_sending(NOTHING)
    assert not rpcs_door.is_receiving(None)


def test_servers_without_notes() -> None:
    """No RPC is seen, none is over, and none waits."""
    assert tuple(rpcs_door.rpc_states_of(NOTHING)) == ()
    assert not rpcs_door.is_over(NOTHING)
    assert list(rpcs_door.waiting_rpcs(NOTHING)) == []
    assert rpcs_door._method_of(NOTHING) == "(unknown)"
    assert cpython_door.items_in_pool(NOTHING) == []


def test_a_handler_without_its_state() -> None:
    """A frame that does not know its RPC yet does not count as a handler's."""
    code = next(iter(rpcs_door._HANDLES.values()))
    frame: Any = types.SimpleNamespace(f_code=code, f_locals={})
    assert rpcs_door.handled_at(frame) is None


async def test_tasks() -> None:
    """A task of the program handles no RPC; one that awaits a task says so."""

    async def wait() -> None:
        await asyncio.Event().wait()

    inner = asyncio.create_task(wait(), name="inner")

    async def await_inner() -> None:
        await inner

    outer = asyncio.create_task(await_inner(), name="outer")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not rpcs_door.handles_an_rpc(outer)
    assert rpcs_door.method_of_task(outer) is None
    assert not rpcs_door.is_served_by(NOTHING, outer)
    assert loops_door.task_awaited_by(outer) is inner
    assert loops_door.task_awaited_by(inner) is None
    inner.cancel()
    await asyncio.wait({outer})


def test_the_end_of_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is registered, if Python can do that."""
    registered: list[Callable[[], object]] = []
    monkeypatch.setattr("threading._register_atexit", registered.append)
    ends_door.before_threads_are_joined(print)
    assert registered == [print]
    monkeypatch.delattr("threading._register_atexit")
    ends_door.before_threads_are_joined(print)
