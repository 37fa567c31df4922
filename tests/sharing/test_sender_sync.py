"""Sender for threads: on a client, in a handler."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from inside import RouteNote, sync_sending
from support.sharing import STREAM, UNSENDABLE, Peer, grpc_threads, leave, until
from support.staging import (
    PATIENCE,
    Gate,
    in_thread,
    path,
    sync_channel,
    sync_server,
)

from grpc_guard import Sender, StreamEnded

MODES = pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture(params=[None, "raise"], ids=["plain", "guarded"])
def channel(request: Any, peer: Peer) -> Iterator[Any]:
    """A channel to the peer; no thread of a sender is left in the end."""
    before = grpc_threads()
    with sync_server(peer.methods(), mode=request.param) as address:
        with sync_channel(address, mode=request.param) as channel:
            yield channel
            peer.go.set()
    leave(grpc_threads() - before)


def full(channel: Any, method: str, sender: Sender[Any], size: int) -> tuple[Any, Gate]:
    """Start an RPC whose sender is full: gRPC's thread is parked with a message in its hand."""
    gate = Gate()
    start = channel.stream_stream(path(method), request_serializer=gate.park_at(b"first"))
    call = start(sender)
    next(call)
    sender.send(b"first")
    gate.wait()
    for _ in range(size):
        sender.send(b"more")
    return call, gate


# Sending


def test_many_threads_sending(channel: Any) -> None:
    """Each message arrives once, each producer's in order, and close() half-closes after all."""
    with Sender[bytes]() as sender:
        call = channel.stream_stream(path("Echo"))(sender)
        producers = [
            in_thread(lambda n=n: [sender.send(b"%d %d" % (n, i)) for i in range(50)])
            for n in range(8)
        ]
        closing = in_thread(
            lambda: [producer.result() for producer in producers] + [sender.close()]
        )
        answers = list(call)
        closing.result()
    assert len(answers) == 400
    for n in range(8):
        assert [a for a in answers if a.startswith(b"%d " % n)] == [
            b"%d %d" % (n, i) for i in range(50)
        ]
    assert sender.statistics() == (400, 400, 0, 0, 0)
    assert sender.unsent() == []


def test_sending_on_a_blocking_call(channel: Any, peer: Peer) -> None:
    """A blocking stream-unary call, which runs no callbacks, ends its sender, too."""
    sender = Sender[bytes]()
    call = in_thread(channel.stream_unary(path("Count")), sender)
    sender.send(b"1")
    sender.send(b"2")
    sender.close()
    assert call.result() == b"2"
    with pytest.raises(StreamEnded):
        sender.send(b"3")


def test_the_end_of_a_blocking_call(channel: Any) -> None:
    """A thread that waits for room in the sender of a blocking call gets its end."""
    sender = Sender[bytes](maxsize=1)
    call = in_thread(channel.stream_unary(path("CountRefuses")), sender)

    def produce() -> None:
        while True:
            sender.send(UNSENDABLE)

    error = in_thread(produce).exception()
    assert isinstance(error, StreamEnded)
    assert (error.code, error.details) == (grpc.StatusCode.NOT_FOUND, "gone")
    assert isinstance(call.exception(), grpc.RpcError)


def test_sending_on_a_future(channel: Any) -> None:
    """A stream-unary future takes a sender."""
    sender = Sender[bytes]()
    future = channel.stream_unary(path("Count")).future(sender)
    sender.send(b"1")
    sender.close()
    assert future.result(PATIENCE) == b"1"


def test_sending_through_generators_and_interceptors(channel: Any) -> None:
    """The sender finds its RPC through any iterator around it in gRPC's own thread."""

    class Doubling(grpc.StreamStreamClientInterceptor):
        def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
            return continuation(details, (request * 2 for request in requests))

    sender = Sender[bytes]()
    call = grpc.intercept_channel(channel, Doubling()).stream_stream(path("Echo"))(sender)
    sender.send(b"a")
    assert next(call) == b"aa"
    call.cancel()
    with pytest.raises(StreamEnded) as ended:
        while True:
            sender.send(b"b", PATIENCE)
    assert ended.value.code is grpc.StatusCode.CANCELLED


def test_changing_a_message_after_sending_it(channel: Any) -> None:
    """A protobuf message is sent as it was when send() was called."""
    sender = Sender[RouteNote]()
    call = channel.stream_stream(path("Echo"), request_serializer=RouteNote.SerializeToString)
    note = RouteNote()
    for number in range(5):
        note.message = str(number)
        sender.send(note)
    sender.close()
    assert [RouteNote.FromString(answer).message for answer in call(sender)] == list("01234")


# Full


def test_waiting_for_room_in_vain(channel: Any) -> None:
    """send(timeout) raises TimeoutError, and its message is never sent."""
    sender = Sender[bytes](maxsize=2)
    call, gate = full(channel, "Ends", sender, 2)
    with gate.held():
        with pytest.raises(TimeoutError, match=r"^no room for a message within 0.001 s$"):
            sender.send(b"late", timeout=0.001)
        assert sender.unsent() == [b"more", b"more"]
        assert sender.statistics() == (3, 1, 0, 2, 0)
    call.cancel()


def test_a_peer_that_never_reads(channel: Any) -> None:
    """What waits in this process is bounded."""
    sender = Sender[bytes](maxsize=4)
    call = channel.stream_stream(path("Ends"))(sender)
    next(call)
    with pytest.raises(TimeoutError):
        for number in range(100):
            sender.send(UNSENDABLE, timeout=0.5)
    assert sender.statistics().queued <= 4
    call.cancel()


def test_failing_when_full() -> None:
    """Under "fail" the message that has no room is refused at once."""
    sender = Sender[int](maxsize=2, when_full="fail")
    sender.send(1)
    sender.send(2)
    with pytest.raises(queue.Full):
        sender.send(3)
    sender.close()
    assert list(sender) == [1, 2]


def test_dropping_the_oldest_when_full() -> None:
    """Under "drop_oldest" the newest are sent, in order, and what was dropped is counted."""
    sender = Sender[int](maxsize=2, when_full="drop_oldest")
    for number in range(5):
        sender.send(number)
    sender.close()
    assert sender.statistics() == Sender.Statistics(5, 0, 3, 2, 0)
    assert list(sender) == [3, 4]


@pytest.mark.parametrize("maxsize", [0, -1, True, 1.5, None])
def test_a_size_that_is_none(maxsize: Any) -> None:
    """The error names the value."""
    with pytest.raises(ValueError, match=f"^maxsize: {maxsize!r} is not a number of messages"):
        Sender(maxsize=maxsize)


def test_a_policy_that_is_none() -> None:
    """The error names the choices."""
    expected = "^when_full: 'drop' is not one of wait, drop_oldest, fail$"
    with pytest.raises(ValueError, match=expected):
        Sender(when_full="drop")  # type: ignore[arg-type]


def test_first_come_first_served() -> None:
    """Threads that wait for room are served first come, first served."""
    sender = Sender[int](maxsize=1)
    sender.send(0)
    waiting = []
    for number in (1, 2, 3):
        waiting.append(in_thread(sender.send, number))
        until(lambda: sender.statistics().waiting >= number)
    assert [next(sender) for _ in range(4)] == [0, 1, 2, 3]
    for party in waiting:
        party.result()


# Closing


def test_closing_while_others_wait_for_room() -> None:
    """Accepted messages are sent; waiting threads get StreamEnded, without a code."""
    sender = Sender[int](maxsize=1)
    sender.send(0)
    waiting = in_thread(sender.send, 1)
    until(lambda: sender.statistics().waiting)
    sender.close()
    sender.close()
    error = waiting.exception()
    assert isinstance(error, StreamEnded)
    assert (error.code, error.details, error.left) == (None, "close() was called", 0)
    assert str(error) == "no more messages (close() was called)"
    assert list(sender) == [0]


def test_an_exception_in_one_producer(channel: Any) -> None:
    """The others go on."""
    with Sender[bytes]() as sender:
        call = channel.stream_stream(path("Echo"))(sender)

        def produce(number: int) -> None:
            sender.send(b"%d" % number)
            if number == 1:
                raise ZeroDivisionError
            sender.send(b"%d" % number)

        producers = [in_thread(produce, number) for number in range(3)]
        assert isinstance(producers[1].exception(), ZeroDivisionError)
        producers[0].result()
        producers[2].result()
    assert sorted(call) == [b"0", b"0", b"1", b"2", b"2"]


# The end of the RPC


@pytest.mark.parametrize("method", ["Ends", "Refuses"])
@pytest.mark.parametrize("act", ["send", "flush"])
def test_the_server_ending_the_rpc(channel: Any, peer: Peer, method: str, act: str) -> None:
    """Waiting threads get StreamEnded, with code, details and what is left."""
    sender = Sender[bytes](maxsize=4)
    _, gate = full(channel, method, sender, 4)
    with gate.held():
        party = in_thread(sender.send, b"late") if act == "send" else in_thread(sender.flush)
        until(lambda: sender.statistics().waiting or sender._buffer.flushers)
        peer.go.set()
        error = party.exception()
    assert isinstance(error, StreamEnded)
    if method == "Ends":
        assert (error.code, error.details) == (grpc.StatusCode.OK, "")
        assert str(error) == "the RPC is over: OK; 4 accepted, not sent"
    else:
        assert (error.code, error.details) == (grpc.StatusCode.NOT_FOUND, "gone")
        assert str(error) == "the RPC is over: NOT_FOUND (gone); 4 accepted, not sent"
    assert (error.left, sender.unsent()) == (4, [b"more"] * 4)
    with pytest.raises(StreamEnded):
        sender.send(b"later")
    with pytest.raises(StreamEnded):
        sender.flush()


@pytest.mark.parametrize("how", ["cancel", "drop", "close", "deadline"])
@MODES
def test_ending_the_rpc_while_grpc_waits_for_a_message(peer: Peer, how: str, mode: Any) -> None:
    """gRPC's thread leaves the sender, without attach()."""
    asking: queue.Queue[threading.Thread] = queue.Queue()
    sender = Sender[bytes]()

    def requests() -> Iterator[bytes]:
        asking.put(threading.current_thread())
        yield from sender

    with sync_server(peer.methods(), mode=mode) as address, sync_channel(address, mode=mode) as c:
        has_deadline = how == "deadline"  # nothing may have to happen in time
        call = c.stream_stream(path("Echo"))(requests(), timeout=0.5 if has_deadline else None)
        if not has_deadline:
            sender.send(b"a")
            assert next(call) == b"a"
            sender.flush(PATIENCE)
        if how == "cancel":
            call.cancel()
        elif how == "drop":
            del call
        elif how == "close":
            c.close()
        leave({asking.get(timeout=PATIENCE)})
        with pytest.raises(StreamEnded) as ended:
            sender.send(b"b")
        expected = "DEADLINE_EXCEEDED" if has_deadline else "CANCELLED"
        assert ended.value.code is grpc.StatusCode[expected]
    sender.flush()  # all that was accepted was written


def test_attaching_a_call_that_is_over(channel: Any) -> None:
    """The sender has ended, too."""
    call = channel.stream_stream(path("Echo"))(iter(()))
    assert list(call) == []
    sender = Sender[bytes]()
    sender.attach(call)
    assert list(sender) == []
    with pytest.raises(StreamEnded):
        sender.send(b"a")


def test_attaching_a_foreign_call() -> None:
    """A call that is not grpcio's own is asked by its methods, and not kept."""

    class Call:
        def __init__(self, lives: bool) -> None:
            self.callbacks: list[Any] = []
            self.lives = lives

        def add_callback(self, callback: Any) -> bool:
            self.callbacks.append(callback)
            return self.lives

        def code(self) -> Any:
            return grpc.StatusCode.ABORTED

        def details(self) -> str:
            return "so"

    sender = Sender[int](Call(lives=False))
    with pytest.raises(StreamEnded) as ended:
        sender.send(1)
    assert (ended.value.code, ended.value.details) == (grpc.StatusCode.ABORTED, "so")
    call = Call(lives=True)
    sender = Sender[int](call)
    sender.send(1)
    callbacks = call.callbacks
    del call
    callbacks[0]()
    with pytest.raises(StreamEnded) as ended:
        sender.send(1)
    assert (ended.value.code, ended.value.details, ended.value.left) == (None, "the RPC is over", 1)


def test_attaching_what_is_no_call() -> None:
    """It is refused."""
    with pytest.raises(TypeError, match="^not a call of grpc, nor the context of a handler: 3$"):
        Sender(3)


# flush()


def test_flushing(channel: Any) -> None:
    """flush() returns when gRPC has written all; at once if there is nothing."""
    sender = Sender[bytes]()
    sender.flush()
    call = channel.stream_stream(path("Echo"))(sender)
    for _ in range(50):
        sender.send(b"a")
    sender.flush(PATIENCE)
    assert sender.statistics() == (50, 50, 0, 0, 0)
    sender.close()
    assert len(list(call)) == 50
    sender.flush()


def test_flushing_in_vain() -> None:
    """flush(timeout) raises TimeoutError, and what was accepted stays so."""
    sender = Sender[int]()
    sender.send(1)
    with pytest.raises(TimeoutError, match=r"^not all was written within 0.001 s$"):
        sender.flush(0.001)
    assert sender.unsent() == [1]


# Interrupts


class _Interrupt(BaseException):
    pass


def interrupting(monkeypatch: pytest.MonkeyPatch, before: Any = lambda: None) -> None:
    """Let the waiting thread do `before`, and then be interrupted."""
    make = sync_sending.lock_waiter

    def lock_waiter(*message: Any) -> Any:
        waiter = make(*message)

        def wait(timeout: Any) -> None:
            before()
            raise _Interrupt

        waiter.wait = wait
        return waiter

    monkeypatch.setattr(sync_sending, "lock_waiter", lock_waiter)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_an_interrupted_send(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """Its message is not sent, even if there is room by now; unless gRPC has it."""
    sender = Sender[int](maxsize=1)
    sender.send(0)
    got: list[int] = []
    interrupting(monkeypatch, lambda: got.extend(next(sender) for _ in range(taken)))
    with pytest.raises(_Interrupt):
        sender.send(1)
    monkeypatch.undo()
    sender.close()
    assert [*got, *sender] == ([0, 1] if taken == 2 else [0])
    assert sender.statistics().accepted == (2 if taken == 2 else 1)


def test_an_interrupted_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message that it had got goes to the next taker."""
    sender = Sender[int]()
    interrupting(monkeypatch, lambda: sender.send(1))
    with pytest.raises(_Interrupt):
        next(sender)
    monkeypatch.undo()
    assert next(sender) == 1


def test_room_that_comes_at_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was about to wait does not."""
    sender = Sender[int](maxsize=1)
    sender.send(0)
    make = sync_sending.lock_waiter

    def lock_waiter(message: Any) -> Any:
        assert next(sender) == 0
        return make(message)

    monkeypatch.setattr(sync_sending, "lock_waiter", lock_waiter)
    sender.send(1)
    assert next(sender) == 1


def test_closing_in_a_signal_handler_or_finaliser() -> None:
    """A thread inside the sender may close it: its mutex is reentrant."""
    sender = Sender[int]()

    class Closing(int):
        def __del__(self) -> None:
            sender.close()

    with sender._mutex:
        del Closing
        sender.close()
    assert list(sender) == []


# Handlers


@MODES
@pytest.mark.parametrize("style", ["return", "yield from"])
def test_a_handler_that_others_write_to(mode: Any, style: str) -> None:
    """Threads of the server send on the response stream; the client's leaving ends it."""
    senders: queue.Queue[Sender[bytes]] = queue.Queue()
    ends: queue.Queue[None] = queue.Queue()

    def returning(requests: Any, context: Any) -> Any:
        sender = Sender[bytes](context)
        context.add_callback(lambda: ends.put(None))  # called after the sender's own
        senders.put(sender)
        return sender

    def yielding(requests: Any, context: Any) -> Any:
        yield from returning(requests, context)

    handler = returning if style == "return" else yielding
    with sync_server({"Chat": STREAM(handler)}, mode=mode) as address:
        with sync_channel(address, mode=mode) as channel:
            first = channel.stream_stream(path("Chat"))(iter(()))
            sender = senders.get(timeout=PATIENCE)
            sending = [in_thread(sender.send, b"%d" % number) for number in range(8)]
            for party in sending:
                party.result()
            sender.close()
            assert sorted(first) == [b"%d" % number for number in range(8)]
            assert first.code() is grpc.StatusCode.OK
            ends.get(timeout=PATIENCE)

            second = channel.stream_stream(path("Chat"))(iter(()))
            sender = senders.get(timeout=PATIENCE)
            sender.send(b"a")
            assert next(second) == b"a"
            second.cancel()
            ends.get(timeout=PATIENCE)  # a generator that is left before closes the sender
            with pytest.raises(StreamEnded) as ended:
                sender.send(b"b")
            assert ended.value.code is grpc.StatusCode.CANCELLED


@MODES
@pytest.mark.parametrize("attached", [True, False])
def test_a_handler_that_ends_with_producers_alive(mode: Any, attached: bool) -> None:
    """They get StreamEnded with what the handler set, attached or found by whom asks."""
    senders: queue.Queue[Sender[bytes]] = queue.Queue()
    gate = Gate()

    def handler(requests: Any, context: Any) -> Any:
        sender = Sender[bytes](context, maxsize=1) if attached else Sender[bytes](maxsize=1)
        senders.put(sender)
        yield next(sender)
        gate.park()
        context.abort(grpc.StatusCode.ABORTED, "enough")

    with sync_server({"Chat": STREAM(handler)}, mode=mode) as address:
        with sync_channel(address, mode=mode) as channel:
            call = channel.stream_stream(path("Chat"))(iter(()))
            sender = senders.get(timeout=PATIENCE)
            sender.send(b"a")
            assert next(call) == b"a"
            with gate.held():
                sender.send(b"b")
                waiting = in_thread(sender.send, b"c")
                until(lambda: sender.statistics().waiting)
            error = waiting.exception()
            assert isinstance(error, StreamEnded)
            assert (error.code, error.details, error.left) == (
                grpc.StatusCode.ABORTED,
                "enough",
                1,
            )
            with pytest.raises(grpc.RpcError):
                next(call)
