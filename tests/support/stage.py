"""One direction of one live stream, staged: the interface behind which subjects.py has them all.

The stream runs on a real connection to a plain peer that holds still until it is released:
a party that begins an operation before that stays inside it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from support.staging import PATIENCE, AsyncGate, Gate, in_thread, inside_grpc, path, settle, within

MESSAGES = [b"0", b"1", b"2", b"3", b"4"]
RPC = path("Stream")
EOF = grpc.aio.EOF

# A message that the flow control window of such a peer does not take in: its write stays in
# progress until the peer reads.
BULK = bytes(4 << 20)
NARROW = [("grpc.max_receive_message_length", -1), ("grpc.http2.bdp_probe", 0)]

Carried = list[bytes]  # the first bytes of the messages that an operation carried
Operation = Callable[[], Any]  # a function for the sync api, a coroutine function for aio


@dataclasses.dataclass
class Subject:
    """One direction of one live stream.

    ``guarded``: the object with that direction; ``call``: the call or context it belongs to.
    ``operations``: what can be done in that direction; each returns what it carried.
    ``gate``: where the peer is parked, or what it is that holds up the operation.
    ``rest``: end the RPC in the regular way and return what that carried.
    ``carried``: what went over the wire, in order, as the peer has it.
    ``begun``: for operations that other code does for us, tells that they have begun.
    """

    guarded: Any
    call: Any
    operations: Mapping[str, Operation]
    gate: Gate | AsyncGate
    rest: Callable[[], Awaitable[Carried]]
    carried: Callable[[], Awaitable[Carried]]
    begun: Mapping[str, Gate | AsyncGate] = dataclasses.field(default_factory=dict)

    def release(self) -> None:
        """Let the peer take part, from now on."""
        self.gate.open()

    def lose(self) -> None:
        """Let the peer, or what holds up the operation, fail."""
        self.gate.destroy()

    async def begin(self, name: str) -> asyncio.Future[Carried]:
        """Start an operation by a party of its own called ``owner``; it is inside on return."""
        operation, gate = self.operations[name], self.begun.get(name)
        if asyncio.iscoroutinefunction(operation):
            owner = asyncio.create_task(operation(), name="owner")
            await (settle() if gate is None else gate.wait())
            return owner
        if gate is None:
            return inside_grpc(operation, name="owner").as_future()
        party = in_thread(operation, name="owner")
        gate.wait()
        return party.as_future()

    async def start(self, name: str, party: str = "caller") -> asyncio.Future[Carried]:
        """Start an operation by a party of its own, which may be refused or made to wait."""
        operation = self.operations[name]
        if asyncio.iscoroutinefunction(operation):
            return asyncio.create_task(operation(), name=party)
        return in_thread(operation, name=party).as_future()

    async def do(self, name: str, party: str = "caller") -> Carried:
        """Do an operation by a party of its own, to its end."""
        return await within(await self.start(name, party))


def label(message: bytes) -> bytes:
    return message[:1]


def one(step: Callable[[], Any]) -> Carried:
    """Return what one step of an iterator carried; a StopIteration fits in no future."""
    try:
        return [step()]
    except StopIteration:
        return [EOF]


async def one_async(step: Awaitable[Any]) -> Carried:
    try:
        return [await step]
    except StopAsyncIteration:
        return [EOF]


def numbered() -> Callable[[], bytes]:
    """Return a function that returns the next message to write: the first is bulky."""
    messages = iter([MESSAGES[0] + BULK, *MESSAGES[1:], *(b"%c" % code for code in range(65, 91))])
    return functools.partial(next, messages)


def withheld(gate: Gate) -> Any:
    gate.park()
    yield from MESSAGES


async def withheld_async(gate: AsyncGate) -> Any:
    await gate.park()
    for message in MESSAGES:
        yield message


async def everything() -> Carried:
    return MESSAGES


def handler(shape: str, behavior: Any, **options: Any) -> Any:
    return getattr(grpc, f"{shape}_rpc_method_handler")(behavior, **options)


async def ended(future: asyncio.Future[Any]) -> BaseException | None:
    """Wait for `future`; return what it raised."""
    await asyncio.wait([future], timeout=PATIENCE)
    assert future.done()
    return asyncio.CancelledError() if future.cancelled() else future.exception()
