"""Two tasks write notes to one call; the second write ends the RPC for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from grpc_guard import findings

from ..._catalogue.modes import ModeName
from .played import Played, refusals_in
from .route_guide_pb2 import RouteNote
from .service import PATIENCE, AsyncRouteGuide, answer, async_serving, point

NOTES = 3
_LONG = 1 << 20  # characters: a note that does not fit into the connection's buffers


class BusyRouteGuide(AsyncRouteGuide):
    """Lets the writers wait until it is ready to read."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    async def RouteChat(  # noqa: N802
        self, request_iterator: AsyncIterator[RouteNote], context: Any
    ) -> AsyncIterator[RouteNote]:
        await self.ready.wait()
        async for note in request_iterator:
            yield answer(note)


async def write_notes(call: Any, name: str) -> None:
    for number in range(NOTES):
        text = f"{name}, note {number}".ljust(_LONG)
        await call.write(RouteNote(location=point(number), message=text))


async def chat(mode: ModeName) -> tuple[list[Any], int, str]:
    """Return the outcomes of both writers, how many answers came, and the RPC's status."""
    guide = BusyRouteGuide()
    async with async_serving(guide, mode) as stub:
        call = stub.RouteChat(timeout=2 * PATIENCE)
        writers = [
            asyncio.create_task(write_notes(call, name), name=name)
            for name in ("hiker-1", "hiker-2")
        ]
        await asyncio.wait(writers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        guide.ready.set()
        outcomes = await asyncio.gather(*writers, return_exceptions=True)
        answers = 0
        try:
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                answers += 1
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the RPC is dead: its status says of what
        code, details = await call.code(), await call.details()
        return outcomes, answers, f'{code.name} "{details}"' if details else code.name


def tell(outcomes: list[Any], answers: int, status: str) -> Played:
    """Say what came of it."""
    refusals = refusals_in(outcomes)
    written = NOTES * outcomes.count(None)
    harmed = status != "OK" or answers < written or written == 0
    if harmed:
        text = (
            f"the RPC dies for both writers: {status}; {answers} of {2 * NOTES} notes are answered"
        )
    elif refusals:
        text = (
            "the second writer is refused at once and told why; "
            f"the first writes on, and all its {answers} notes are answered"
        )
    else:
        text = f"nothing happened this time: all {answers} notes are answered"
    return Played(text, harmed, refusals[0] if refusals else None, len(findings()))


def play(mode: ModeName) -> Played:
    """Let two hikers write to one chat; an RPC that dies is the harm."""
    return tell(*asyncio.run(chat(mode)))
