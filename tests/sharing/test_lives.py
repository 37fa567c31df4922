"""Senders and receivers at a fork, at the end of the interpreter, and when they are dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.sharing import AioPeer, Peer, grpc_threads, leave, until_collected
from support.staging import PATIENCE, aio_channel, aio_server, path, sync_channel, sync_server

from grpc_guard import FanOut, Receiver, Sender, StreamEnded, aio

PROGRAM = Path(__file__).parents[1] / "programs" / "sharing_ends.py"


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("fork", "child: 0\nparent: [1, 2, 1]\n"),
        ("exit", "waiting: ['grpc_guard-receiver']\n"),
    ],
)
def test_a_process(which: str, said: str) -> None:
    """A forked child finds all ended; an interpreter ends beside threads that wait."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), which],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    assert (ran.stdout, ran.returncode) == (said, 0), ran.stderr


async def test_forking_with_tasks() -> None:
    """In the child, tasks of the parent are no longer woken, and all has ended."""
    sender = aio.Sender[int](maxsize=1)
    await sender.send(1)
    waiting = asyncio.create_task(sender.send(2))
    receiver = aio.Receiver(aio.Sender[int]())
    receiving = asyncio.create_task(receiver.receive())
    await asyncio.sleep(0)
    sender.after_fork()  # what a fork calls in the child
    receiver._reader.after_fork()
    with pytest.raises(StreamEnded, match="the process that forked this one"):
        await sender.send(3)
    with pytest.raises(StreamEnded, match="the process that forked this one"):
        await anext(receiver)
    await asyncio.sleep(0)
    for task in (waiting, receiving):
        assert not task.done()
        task.cancel()


@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
def test_dropping_both_ends(mode: Any) -> None:
    """The call that is dropped is cancelled, and the sender goes with its RPC."""
    before = grpc_threads()
    peer = Peer()
    with sync_server(peer.methods(), mode=mode) as address:
        with sync_channel(address, mode=mode) as channel:
            sender = Sender[bytes]()
            receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(sender))
            sender.send(b"a")
            assert receiver.receive() == b"a"
            gone = weakref.ref(sender)
            threads = grpc_threads() - before
            del sender, receiver
            leave({thread for thread in threads if thread.name == "grpc_guard-receiver"})
            gc.collect()  # the frames that grpc_threads() looked at
            leave(threads)  # gRPC's, with the call that the receiver's let go
            until_collected(gone)


@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
def test_a_sender_that_was_dropped(mode: Any) -> None:
    """gRPC holds it as long as its RPC lives: nothing half-closes by accident."""
    with sync_server(Peer().methods(), mode=mode) as address:
        with sync_channel(address, mode=mode) as channel:
            sender = Sender[bytes]()
            call = channel.stream_stream(path("Echo"))(sender)
            sender.send(b"a")
            assert next(call) == b"a"
            gone = weakref.ref(sender)
            del sender
            gc.collect()
            again = gone()
            assert again is not None
            again.send(b"b")
            assert next(call) == b"b"
            call.cancel()


async def test_dropping_both_ends_in_a_loop() -> None:
    """When the RPC is cancelled, its sender and receiver can be collected."""
    async with aio_server(AioPeer().methods(), mode=None) as address:
        async with aio_channel(address, mode=None) as channel:
            sender = aio.Sender[bytes]()
            call = channel.stream_stream(path("Echo"))(sender)
            receiver = aio.Receiver[bytes](call)
            await sender.send(b"a")
            assert await receiver.receive() == b"a"
            call.cancel()
            with pytest.raises(StreamEnded):
                await receiver.receive(PATIENCE)
            with pytest.raises(StreamEnded):
                while True:
                    await sender.send(b"b", PATIENCE)
            await asyncio.gather(
                *(task for task in asyncio.all_tasks() if "consume_request" in repr(task)),
                return_exceptions=True,
            )
            gone = weakref.ref(sender), weakref.ref(receiver)
            del sender, receiver, call
            await asyncio.to_thread(until_collected, *gone)


def test_keeping_no_message() -> None:
    """A message that was taken has no reference of ours left."""

    class Message:
        pass

    before = grpc_threads()
    sender = Sender[Message]()
    receiver = Receiver(sender)
    fan = FanOut(iter([Message()])).subscribe()
    sender.send(Message())
    messages = [receiver.receive(), fan.receive()]
    gone = [weakref.ref(message) for message in messages]
    with pytest.raises(TimeoutError):
        receiver.receive(0)
    messages.clear()
    sender.close()
    assert list(receiver) == []
    leave(grpc_threads() - before)
    until_collected(*gone)


def test_a_stream_ended_that_is_pickled() -> None:
    """It is the same on the other side."""
    import pickle

    end = pickle.loads(pickle.dumps(StreamEnded(grpc.StatusCode.ABORTED, "so", 3)))
    assert (end.code, end.details, end.left) == (grpc.StatusCode.ABORTED, "so", 3)
