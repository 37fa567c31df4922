"""A chat of eight, one of whom stalls: the others get everything, in time."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from support.sharing import STREAM
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    in_thread,
    path,
    sync_channel,
    sync_server,
    wait,
    within,
)

from grpc_guard import Sender, StreamEnded, aio

MEMBERS, MESSAGES = 8, 30
TEXT = b"x" * 100_000  # so that one who does not read is soon beyond what flow control lets through
NARROW = [("grpc.http2.bdp_probe", 0)]  # a window of 64 KiB that does not grow
POLICIES = pytest.mark.parametrize("policy", ["drop_oldest", "fail"])


class Room:
    """Each member has a sender; a full one loses the oldest message, or the member leaves."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.members: dict[Any, Any] = {}
        self.mutex = threading.Lock()
        self.is_full = threading.Event()

    def chat(self, requests: Any, context: Any) -> Sender[bytes]:
        sender = Sender[bytes](context, maxsize=4, when_full=self.policy)
        with self.mutex:
            self.members[context] = sender
            if len(self.members) == MEMBERS:
                self.is_full.set()
        in_thread(self.read, requests)
        return sender

    def read(self, requests: Any) -> None:
        try:
            for request in requests:
                self.tell(request)
        except grpc.RpcError:
            pass  # the member has left

    def tell(self, message: bytes) -> None:
        with self.mutex:
            members = dict(self.members)
        for context, sender in members.items():
            try:
                sender.send(message)
            except queue.Full:
                context.cancel()
                self.members.pop(context)
            except StreamEnded:
                self.members.pop(context, None)


@POLICIES
@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
def test_a_stalled_member(policy: str, mode: Any) -> None:
    """In threads."""
    room = Room(policy)
    method = {"Chat": STREAM(room.chat)}
    with sync_server(method, mode=mode, workers=MEMBERS) as address:
        with sync_channel(address, mode=mode, options=NARROW) as channel:
            start = channel.stream_stream(path("Chat"))
            senders = [Sender[bytes]() for _ in range(MEMBERS)]
            calls = [start(sender) for sender in senders]
            wait(room.is_full)
            turns = [threading.Semaphore(0) for _ in calls]

            def listen(member: int) -> int:
                for number in range(MESSAGES):
                    assert next(calls[member]) == b"%d " % number + TEXT
                    turns[member].release()
                return MESSAGES

            listening = [in_thread(listen, member) for member in range(1, MEMBERS)]
            for number in range(MESSAGES):
                senders[1 + number % (MEMBERS - 1)].send(b"%d " % number + TEXT)
                for turn in turns[1:]:  # the lively ones keep pace
                    assert turn.acquire(timeout=PATIENCE)
            assert [party.result() for party in listening] == [MESSAGES] * (MEMBERS - 1)
            if policy == "fail":
                with pytest.raises(grpc.RpcError):
                    list(calls[0])
            for call in calls:
                call.cancel()


@POLICIES
@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
async def test_a_stalled_member_in_a_loop(policy: Any, mode: Any) -> None:
    """In tasks."""
    members: dict[Any, aio.Sender[bytes]] = {}
    is_full = asyncio.Event()

    async def read(requests: AsyncIterator[bytes]) -> None:
        async for request in requests:
            for task, sender in tuple(members.items()):
                try:
                    await sender.send(request)
                except asyncio.QueueFull:
                    task.cancel()
                    members.pop(task)
                except StreamEnded:
                    members.pop(task, None)

    async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        sender = aio.Sender[bytes](context, maxsize=4, when_full=policy)
        members[asyncio.current_task()] = sender
        if len(members) == MEMBERS:
            is_full.set()
        reading = asyncio.create_task(read(requests))
        try:
            async for message in sender:
                yield message
        finally:
            reading.cancel()

    async with aio_server({"Chat": STREAM(chat)}, mode=mode) as address:
        async with aio_channel(address, mode=mode, options=NARROW) as channel:
            senders = [aio.Sender[bytes]() for _ in range(MEMBERS)]
            calls = [channel.stream_stream(path("Chat"))(sender) for sender in senders]
            await within(is_full.wait())
            for number in range(MESSAGES):
                message = b"%d " % number + TEXT
                await senders[1 + number % (MEMBERS - 1)].send(message)
                got = await within(asyncio.gather(*(call.read() for call in calls[1:])))
                assert got == [message] * (MEMBERS - 1)
            for call in calls:
                call.cancel()
