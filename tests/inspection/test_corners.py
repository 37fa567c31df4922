"""What a look at a process meets now and then: half-begun operations, greenlets, odd texts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from inside import (
    OPERATIONS,
    AioDirection,
    Api,
    Frame,
    Mode,
    Side,
    Stream,
    Way,
    endpoints,
    guard_owners,
    guard_roles,
    inspect_living,
    inspect_sending,
    inspect_telling,
    inspect_wording,
    inspection_pb2,
    sight,
    steps,
    tables,
    waits,
    wire,
)
from support.snapshots import HERE, OWNER, SNAPSHOT
from support.staging import PATIENCE, Gate, in_thread, path, settle, sync_channel, sync_server

from grpc_guard import inspection, snapshot, wrap


def test_an_operation_that_has_only_begun() -> None:
    """A frame that does not know its direction yet says nothing."""
    frame: Any = SimpleNamespace(f_code=next(iter(OPERATIONS)), f_locals={})
    assert list(guard_roles.roles([frame])) == []


def test_what_another_thread_is_about_to_make() -> None:
    """A direction that is not there to its end is left out."""
    halves: Any = [steps.Responses.__new__(steps.Responses), AioDirection.__new__(AioDirection)]
    assert [one for one in halves if inspect_living.is_whole(one)] == []
    assert snapshot().pid > 0


def test_greenlets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suspended greenlets are looked at as well."""
    looked: list[str] = []

    def suspended() -> Any:
        looked.append("yes")
        yield "greenlet-1", sys._getframe()

    monkeypatch.setattr(guard_owners, "suspended_greenlets", suspended)
    monkeypatch.setattr(sight, "suspended_greenlets", suspended)
    direction: Any = SimpleNamespace(turns=object(), loop_thread=None)
    assert guard_owners.waiting_for(direction) == []
    looker = sight.Sight([])
    assert len(looked) == 2
    shared: Any = SimpleNamespace(is_shared=True)
    party = waits.Party("greenlet", "greenlet-1", ("greenlet", 1))
    owner = looker._owner(party, guard_roles.Role(shared, "next", True, ()), 1.0)
    assert (owner.kind, owner.name, owner.stack) == ("greenlet", "greenlet-1", ())


async def test_an_owner_that_shows_no_frame() -> None:
    """A direction that is owned by nobody who can be found is said to be owned all the same."""
    stream = Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE, asyncio.get_running_loop())
    direction = AioDirection(stream, Way.READ)
    direction.taken = True
    look = sight.Sight([])
    teller = inspect_telling.Teller([stream], look, inspect_telling.Origins(look.lines), {})
    described = teller.described(direction)
    assert described is not None
    assert described.owner is not None
    assert described.owner.name == "(not found)"


async def test_a_write_before_the_connection() -> None:
    """A write that waits for a connection says nothing of flow control."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        async with grpc.aio.insecure_channel(target) as plain:
            call = wrap(plain).stream_stream(path("Never"))()
            writer = asyncio.create_task(call.write(b""), name="writer")
            for _ in range(3):
                await settle()
            taken = snapshot()
            call.cancel()
            await asyncio.wait({writer}, timeout=0)
            writer.cancel()
            await asyncio.wait({writer})
    (stream,) = (one for one in taken.streams if one.rpc == path("Never"))
    assert stream.write is not None
    assert stream.write.owner is not None
    assert [one for one in taken.deductions if stream.number in one.streams] == []


def test_a_generator_behind_many_functions() -> None:
    """It is looked for behind a few functions, which may stand before it, and not for ever."""

    def messages() -> Iterator[bytes]:
        yield b""

    def counted(step: Callable[[], bytes]) -> Callable[[], bytes]:
        return lambda: step()

    generator: Any = messages()
    next(generator)
    near = counted(counted(generator.__next__))
    for step, found in ((near, [generator.gi_frame]), (counted(counted(near)), [])):
        direction: Any = SimpleNamespace(is_shared=False, step=step)
        assert list(inspect_sending.suspended(direction)) == found


def test_a_thread_that_was_given_the_operation_itself() -> None:
    """Its own stack has no line of the program: the line is that of who gave it."""
    import threading

    gate = Gate()

    def handler(request: Any, context: Any) -> Any:
        yield b"0"
        gate.park()

    methods = {"Bare": grpc.unary_stream_rpc_method_handler(handler)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Bare"))(b"")
        next(call)
        with gate.held():
            bare = threading.Thread(target=next, args=(call, None), name="bare", daemon=True)
            bare.start()
            waiter = in_thread(bare.join, name="waiter")
            found = None
            while found is None or not found.stack:
                (stream,) = (
                    one for one in snapshot().streams if one.rpc == path("Bare") and one.read
                )
                found = stream.read.owner  # type: ignore[union-attr]
        waiter.result()
    assert (found.name, found.relation) == ("bare", "awaited-by")


# The bytes


def test_a_message_that_is_too_long() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        its.sendall((5000).to_bytes(4, "big"))
        with pytest.raises(wire.WireError, match="5000"):
            wire.receive(ours, PATIENCE, 4096)


class Slow:
    """A connection that takes, or has, three bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.pauses: list[float] = []

    def settimeout(self, seconds: float | None) -> None:
        pass

    def setsockopt(self, *option: object) -> None:
        pass

    def send(self, data: memoryview) -> int:
        self.data += bytes(data[:3])
        return len(data[:3])

    def recv(self, size: int) -> bytes:
        self.now += 3.0
        size = min(size, 3)
        found, self.data = self.data[:size], self.data[size:]
        return found

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class SlowWithMany(Slow):
    def sendmsg(self, parts: list[memoryview]) -> int:
        return self.send(memoryview(b"".join(parts)))


@pytest.mark.parametrize("kind", [Slow, SlowWithMany])
def test_a_message_that_is_taken_slowly(kind: type[Slow]) -> None:
    """Each part is there, and in its place."""
    connection: Any = kind()
    wire.send_parts(connection, [b"ab", b"", b"cdefg", memoryview(b"hijklmn")], 1.0)
    assert connection.data == b"\0\0\0\x0eabcdefghijklmn"


def test_a_message_that_comes_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long one may take longer than each of its pieces."""
    for is_long in (True, False):
        connection: Any = Slow(b"\0\0\0\x08abcdefgh")
        monkeypatch.setattr(wire, "monotonic", connection.monotonic)
        with contextlib.nullcontext() if is_long else pytest.raises(TimeoutError):
            assert wire.receive(connection, 7.0, 100, is_long=is_long) == b"abcdefgh"


def test_an_answer_without_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread does if a snapshot fails, done here."""

    def fail(**_: bool) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(endpoints, "Reply", fail)
    ours, its = socket.socketpair()
    with ours, its:
        wire.send(ours, inspection_pb2.Request(version=1).SerializeToString(), PATIENCE)
        endpoints.Endpoint().answer(its)
        reply = inspection_pb2.Reply.FromString(wire.receive(ours, PATIENCE, 1 << 20))
    assert (reply.error, reply.HasField("snapshot")) == ("KeyError", False)


# The text


def test_the_text_of_everything() -> None:
    """Each kind of line, and how much is left out where only so much is wanted."""
    bare = Frame("app.py", 12, "consume", "")
    stream = dataclasses.replace(
        SNAPSHOT.streams[1],
        write=inspection.DirectionSnapshot(
            last_began_seconds=2.0, unsent=True, suspended_at=bare, last_at=Frame("b.py", 1, "", "")
        ),
    )
    whole = dataclasses.replace(SNAPSHOT, streams=(SNAPSHOT.streams[0], stream))
    text = inspect_wording.dump(whole)
    assert "  read:  thread 'reader' in next for 1.5 s, asked for by\n" in text
    assert (
        "  write: nobody; the last began 2.0 s ago; gRPC has a message that it cannot send yet\n"
        "    its generator is suspended at app.py:12\n\n"
    ) in text
    assert "joined: [stream 1] [stream 2] …" in text
    short = inspect_wording.dump(whole, most=1)
    assert "\nand 1 more streams\n" in short
    assert "stream 2:" not in short
    assert "threads in no stream:\n  'MainThread'\n    File" in short
    assert "  and 1 other\n" in short
    assert "'loop', whose event loop runs task 'Task-1'" in text
    assert "'loop'" not in short
    assert ", mode raise: 2 live streams, " in text
    wrapped = dataclasses.replace(whole, mode="off")
    assert ", mode off, of these streams raise and warn: 2 live " in inspect_wording.dump(wrapped)
    without_line = dataclasses.replace(OWNER, stack=(bare,))
    read = inspection.DirectionSnapshot(owner=without_line)
    idle = dataclasses.replace(SNAPSHOT.streams[0], read=read, origin=None)
    assert '    File "app.py", line 12, in consume\n' in inspect_wording.dump(
        dataclasses.replace(SNAPSHOT, streams=(idle,), channels=(), findings=(), deductions=())
    )
    assert inspect_wording.pool_held(2, 0, 0) == ("all 2 threads of the pool are held; 0 RPCs wait")
    assert inspect_wording.pool_held(1, 1, 1) == (
        "the only thread of the pool is held, by an RPC that is over; 1 RPC waits"
    )
    assert inspect_wording.pool_held(1, 0, 1) == (
        "the only thread of the pool is held; 1 RPC waits"
    )
    assert inspect_wording.at(HERE) == "at app.py:12"
    assert inspect_wording.at(None) == "at an unknown place"


def test_the_text_where_nothing_is_guarded() -> None:
    """It says so: otherwise no streams and no servers would seem to be the truth."""
    bare = dataclasses.replace(SNAPSHOT, mode="off", deductions=())
    nothing = dataclasses.replace(bare, streams=(), servers=())
    assert inspect_wording.UNGUARDED in inspect_wording.dump(nothing)
    for known in (bare, dataclasses.replace(nothing, mode="raise")):
        assert inspect_wording.UNGUARDED not in inspect_wording.dump(known)


def test_the_text_of_a_stack_with_a_library() -> None:
    """Frames of libraries in a row are one line, as in a report: the program's are between them."""
    ours, theirs = Frame("app.py", 12, "consume", "take()"), Frame(pytest.__file__, 1, "run", "")
    read = inspection.DirectionSnapshot(
        owner=dataclasses.replace(OWNER, stack=(theirs, theirs, ours))
    )
    stream = dataclasses.replace(SNAPSHOT.streams[0], read=read)
    text = inspect_wording.dump(dataclasses.replace(SNAPSHOT, streams=(stream,)))
    assert (
        '    … 2 frames of pytest\n    File "app.py", line 12, in consume\n      take()\n' in text
    )


def replaced(record: Any, text: str) -> Any:
    """Return `record` with `text` behind each text in it."""
    if isinstance(record, tuple):
        return tuple(replaced(one, text) for one in record)
    if not dataclasses.is_dataclass(record):
        return record + text if type(record) is str else record
    fields = {one.name: getattr(record, one.name) for one in dataclasses.fields(record)}
    return dataclasses.replace(record, **{name: replaced(fields[name], text) for name in fields})  # type: ignore[type-var]


def test_names_that_others_chose() -> None:
    """A client chooses the name of an RPC: none makes a line of its own or speaks to the terminal."""
    bare = dataclasses.replace(SNAPSHOT, findings=())  # their texts are made where they are found
    hostile = replaced(bare, "\x1b[2J\n\u202efor certain:" + 300 * "x")
    shown = [inspect_wording.dump(one).splitlines() for one in (bare, hostile)]
    shown += [list(tables.holders(one)) for one in (bare, hostile)]
    shown += [list(tables.processes([one, (1, one.program)])) for one in (bare, hostile)]
    for plain, odd in zip(shown[::2], shown[1::2], strict=True):
        assert len(plain) == len(odd)
        assert "".join(odd).isprintable()


def test_the_table_of_everything() -> None:
    """A stream in which nobody can be is in the table too."""
    nobody = dataclasses.replace(SNAPSHOT.streams[1], write=None)
    lines = list(tables.holders(dataclasses.replace(SNAPSHOT, streams=(nobody,))))
    assert "/a.B/D (server, aio): nobody inside" in lines


def test_what_cannot_be_sent_beside_who_reads() -> None:
    """The table has a line for what gRPC cannot send, with who used the direction last, if that is known."""
    last = Frame("feed.py", 7, "feed", "")
    read = inspection.DirectionSnapshot(owner=OWNER)
    for line, place in ((last, "feed.py:7"), (None, "")):
        write = inspection.DirectionSnapshot(last_began_seconds=2.0, unsent=True, last_at=line)
        stream = dataclasses.replace(SNAPSHOT.streams[0], read=read, write=write)
        shown = tables.holders(dataclasses.replace(SNAPSHOT, streams=(stream,)))
        (sends,) = (text.split() for text in shown if "cannot send" in text)
        assert sends[:5] == ["2.0", "s", "gRPC", "cannot", "send"]
        assert sends[-1] == (place or f"{stream.api})")
