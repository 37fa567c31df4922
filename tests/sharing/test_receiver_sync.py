"""Receiver and FanOut for threads."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from inside import sync_receiving
from support.sharing import STREAM, Peer, grpc_threads, leave, until
from support.staging import (
    PATIENCE,
    Gate,
    in_thread,
    inside_grpc,
    path,
    sync_channel,
    sync_server,
)

from grpc_guard import ConcurrencyError, FanOut, Receiver, Sender, StreamEnded


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture(params=[None, "raise"], ids=["plain", "guarded"])
def channel(request: Any, peer: Peer) -> Iterator[Any]:
    """A channel to the peer; no thread of a sender or receiver is left in the end."""
    before = grpc_threads()
    with sync_server(peer.methods(), mode=request.param) as address:
        with sync_channel(address, mode=request.param) as channel:
            yield channel
            peer.go.set()
    leave(grpc_threads() - before)


def numbers(count: int) -> Iterator[bytes]:
    return iter([b"%d" % number for number in range(count)])


# Receiver


def test_many_threads_receiving(channel: Any) -> None:
    """Each message goes to one of them, and each of them gets to the end."""
    receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(numbers(200)))
    parties = [in_thread(list, receiver) for _ in range(8)]
    received = [party.result() for party in parties]
    assert sorted(itertools.chain(*received)) == sorted(numbers(200))
    assert all(sorted(each, key=int) == each for each in received)
    with pytest.raises(StreamEnded) as ended:
        receiver.receive()
    assert ended.value.code is grpc.StatusCode.OK
    assert str(ended.value) == "the RPC is over: OK"


def test_receiving_once_each(channel: Any) -> None:
    """Every waiting thread is served, though those that were served do not come again."""
    with Sender[bytes]() as sender:
        receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(sender))
        parties = [in_thread(receiver.receive) for _ in range(4)]
        until(lambda: len(receiver._buffer.takers) == 4)
        for message in numbers(4):
            sender.send(message)
        assert sorted(party.result() for party in parties) == list(numbers(4))
    assert list(receiver) == []


def test_receiving_with_a_timeout(channel: Any) -> None:
    """A receive() that times out keeps the RPC, and the message that comes later is the next."""
    with Sender[bytes]() as sender:
        receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(sender))
        with pytest.raises(TimeoutError, match=r"^no message within 0.001 s$"):
            receiver.receive(0.001)
        with pytest.raises(TimeoutError):
            receiver.receive(timeout=0)
        sender.send(b"late")
        assert receiver.receive(PATIENCE) == b"late"
        sender.send(b"later")
        assert receiver.receive() == b"later"
    assert list(receiver) == []


def test_the_rpc_failing(channel: Any, peer: Peer) -> None:
    """Waiting threads get StreamEnded, with the error of grpc as its cause; so does iteration."""
    receiver = Receiver[bytes](channel.stream_stream(path("Refuses"))(numbers(0)))
    assert receiver.receive() == b"begun"
    waiting = [in_thread(receiver.receive) for _ in range(3)]
    until(lambda: len(receiver._buffer.takers) >= 3)
    peer.go.set()
    for party in waiting:
        error = party.exception()
        assert isinstance(error, StreamEnded)
        assert (error.code, error.details, error.left) == (grpc.StatusCode.NOT_FOUND, "gone", 0)
        assert isinstance(error.__cause__, grpc.RpcError)
    with pytest.raises(StreamEnded):
        next(receiver)


def test_cancelling_the_call(channel: Any) -> None:
    """cancel() ends a read that no thread waits for."""
    call = channel.stream_stream(path("Ends"))(numbers(0))
    with Receiver[bytes](call) as receiver:
        assert receiver.receive() == b"begun"
        with pytest.raises(TimeoutError):
            receiver.receive(0)
        call.cancel()
        with pytest.raises(StreamEnded) as ended:
            receiver.receive(PATIENCE)
        assert ended.value.code is grpc.StatusCode.CANCELLED


def test_reading_only_while_somebody_waits() -> None:
    """At most one message is read ahead, and none before receive()."""
    taken: list[int] = []

    def messages() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    receiver = Receiver(messages())
    assert taken == []
    assert receiver.receive() == 0
    assert taken == [0]
    assert list(receiver) == [1, 2, 3, 4]


def test_a_thread_that_comes_back() -> None:
    """The reading thread leaves when no receiver wants a message, and a new one comes."""
    receiver = Receiver(threading.current_thread() for _ in range(2))
    first = receiver.receive()
    leave({first})
    second = receiver.receive()
    leave({second})
    assert first is not second


def test_an_iterable_that_raises() -> None:
    """The exception is the cause of every StreamEnded."""

    def messages() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    receiver = Receiver(messages())
    assert receiver.receive() == 1
    for _ in range(2):
        with pytest.raises(StreamEnded) as ended:
            next(receiver)
        assert isinstance(ended.value.__cause__, ZeroDivisionError)
        assert str(ended.value) == "no more messages (the messages ended by ZeroDivisionError)"


def test_what_cannot_be_iterated_over() -> None:
    """It is refused."""
    with pytest.raises(TypeError):
        Receiver(3)  # type: ignore[arg-type]


def test_closing_a_receiver() -> None:
    """Waiting threads get StreamEnded; no receiver gets later messages."""
    gate = Gate()
    receiver = Receiver(map(gate.park, [1, 2]))
    waiting = in_thread(receiver.receive)
    with gate.held():
        with pytest.raises(TimeoutError):
            receiver.receive(0)
        receiver.close()
        error = waiting.exception()
    assert isinstance(error, StreamEnded)
    assert list(receiver) == []


@pytest.mark.parametrize("channel", ["raise"], indirect=True)
def test_another_reader_beside_a_receiver(channel: Any, found: Any) -> None:
    """Under the guard the one who comes second is refused, and the receiver goes on."""
    sender = Sender[bytes]()
    call = channel.stream_stream(path("Echo"))(sender)
    other = inside_grpc(next, call)
    receiver = Receiver[bytes](call)
    with pytest.raises(ConcurrencyError):
        receiver.receive()
    assert len(found()) == 1
    sender.send(b"a")
    assert other.result() == b"a"
    sender.send(b"b")
    assert receiver.receive() == b"b"
    sender.close()
    assert list(receiver) == []


class _Interrupt(BaseException):
    pass


@pytest.mark.parametrize("others", [False, True])
def test_an_interrupted_receive(monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    """What had been handed to it goes to the next, before any later message and the end."""
    gate = Gate()
    receiver = Receiver(map(gate.park, numbers(1)))
    make = sync_receiving.lock_waiter
    waiting: list[Any] = []

    def lock_waiter() -> Any:
        waiter = make()
        wait = waiter.wait
        if waiting:
            return waiter

        def raising(timeout: Any) -> None:
            gate.wait()
            if others:
                waiting.append(None)
                waiting.append(in_thread(receiver.receive))
                until(lambda: len(receiver._buffer.takers) >= 2)
            gate.open()
            wait(timeout)
            raise _Interrupt

        waiter.wait = raising
        return waiter

    monkeypatch.setattr(sync_receiving, "lock_waiter", lock_waiter)
    with pytest.raises(_Interrupt):
        receiver.receive()
    monkeypatch.undo()
    if others:
        assert waiting[1].result() == b"0"
        assert list(receiver) == []
    else:
        assert list(receiver) == [b"0"]


def test_a_message_that_is_wanted_as_the_thread_leaves() -> None:
    """It stays."""

    class Bell:
        """Is rung just after the thread has stopped to listen."""

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return True
            reader._is_reading = True
            return False

    reader = Receiver(numbers(1))._reader
    reader._bell = Bell()  # type: ignore[assignment]
    assert reader._is_wanted_again()


def test_a_message_that_is_wanted_as_another_was_read() -> None:
    """The thread is told by the bell alone: it would read twice, and hear the bell later."""

    class Mutex:
        """Lets a receiver ask just after the thread has left it."""

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            receiver._buffer.takers.append(sync_receiving.lock_waiter())
            reader.ask()

    receiver = Receiver(numbers(1))
    reader = receiver._reader
    reader._has_thread = True  # it is this one
    reader.mutex = Mutex()  # type: ignore[assignment]
    assert not reader._read()
    assert not reader._bell.locked()  # it was rung


def test_having_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, receive() says so, and can be tried again."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    receiver = Receiver(numbers(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            receiver.receive()
    assert receiver.receive() == b"0"


# In a handler


@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
def test_receiving_in_a_handler(mode: Any) -> None:
    """Threads of a handler share its requests; at the half-close all of them get to the end."""
    ends: queue.Queue[Any] = queue.Queue()

    def handler(requests: Any, context: Any) -> Iterator[bytes]:
        receiver = Receiver[bytes](requests)
        parties = [in_thread(list, receiver) for _ in range(4)]
        yield b"%d" % sum(len(party.result()) for party in parties)
        try:
            receiver.receive()
        except StreamEnded as end:
            ends.put((end.code, end.details))

    with sync_server({"Method": STREAM(handler)}, mode=mode) as address:
        with sync_channel(address, mode=mode) as channel:
            assert list(channel.stream_stream(path("Method"))(numbers(100))) == [b"100"]
            assert ends.get(timeout=PATIENCE) == (None, "all messages were received")


@pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])
def test_a_client_leaving_a_handler_that_receives(mode: Any) -> None:
    """Its receiver ends with CANCELLED, or as grpcio has it: with the messages, which is first then."""
    ends: queue.Queue[Any] = queue.Queue()

    def handler(requests: Any, context: Any) -> Iterator[bytes]:
        receiver = Receiver[bytes](requests)
        ends.put(receiver.receive())
        try:
            receiver.receive()
        except StreamEnded as end:
            ends.put(end.code)
        yield from ()

    with sync_server({"Method": STREAM(handler)}, mode=mode) as address:
        with sync_channel(address, mode=mode) as channel, Sender[bytes]() as sender:
            call = channel.stream_stream(path("Method"))(sender)
            sender.send(b"a")
            assert ends.get(timeout=PATIENCE) == b"a"
            call.cancel()
            assert ends.get(timeout=PATIENCE) in (grpc.StatusCode.CANCELLED, None)


# FanOut


def test_every_subscriber_gets_every_message(channel: Any) -> None:
    """Each in order; a subscriber that comes when all is over is at the end."""
    fan = FanOut[bytes](channel.stream_stream(path("Echo"))(numbers(100)))
    receivers = [fan.subscribe() for _ in range(3)]
    parties = [in_thread(list, receiver) for receiver in receivers]
    assert [party.result() for party in parties] == [list(numbers(100))] * 3
    with fan.subscribe() as late, pytest.raises(StreamEnded) as ended:
        late.receive()
    assert ended.value.code is grpc.StatusCode.OK


def test_subscribers_of_each_kind() -> None:
    """One that waits holds up the others; the others lose their oldest, or are closed."""
    with Sender[int](maxsize=100) as sender:
        fan = FanOut(sender)
        waits = fan.subscribe(maxsize=2)
        drops = fan.subscribe(maxsize=2, when_full="drop_oldest")
        fails = fan.subscribe(maxsize=1, when_full="fail")
        for number in range(5):
            sender.send(number)
    assert [waits.receive() for _ in range(3)] == [0, 1, 2]
    assert list(waits) == [3, 4]
    assert list(drops) == [3, 4]
    assert fails.receive() == 0
    with pytest.raises(StreamEnded) as ended:
        next(fails)
    assert isinstance(ended.value.__cause__, queue.Full)
    assert str(ended.value) == "no more messages (the subscriber was too slow)"


def test_a_subscriber_leaving() -> None:
    """It no longer holds up the others, and gets nothing; closing twice is legal."""
    with Sender[int](maxsize=100) as sender:
        fan = FanOut(sender)
        stalled = fan.subscribe(maxsize=1)
        lively = fan.subscribe(maxsize=1)
        for number in range(5):
            sender.send(number)
        assert lively.receive(PATIENCE) == 0
        stalled.close()
        stalled.close()
        assert [lively.receive(PATIENCE) for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(StreamEnded):
            stalled.receive()
    assert list(lively) == []
