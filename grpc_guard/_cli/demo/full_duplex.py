"""One task reads while another writes, on both sides: what the contract allows."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from grpc_guard import findings

from ..._catalogue.modes import ModeName
from .played import Played
from .route_guide_pb2 import RouteNote
from .service import FEATURES, PATIENCE, AsyncRouteGuide, answer, async_serving

NOTES = [
    RouteNote(location=feature.location, message=f"greetings from {feature.name}")
    for feature in FEATURES
]


async def write_notes(call: Any) -> None:
    for note in NOTES:
        await call.write(note)
    await call.done_writing()


async def read_answers(call: Any) -> list[str]:
    answers = []
    while (note := await call.read()) is not grpc.aio.EOF:
        answers.append(note.message)
    return answers


async def chat(mode: ModeName) -> list[str]:
    """Return the answers, read while the notes are being written."""
    async with async_serving(AsyncRouteGuide(), mode) as stub:
        call = stub.RouteChat(timeout=2 * PATIENCE)
        reader = asyncio.create_task(read_answers(call), name="reader")
        writer = asyncio.create_task(write_notes(call), name="writer")
        await writer
        return await reader


def tell(answers: list[str]) -> Played:
    """Say what came of it."""
    harmed = answers != [answer(note).message for note in NOTES]
    if harmed:
        text = f"{len(answers)} answers, not the {len(NOTES)} that were due, in order"
    else:
        text = f"all {len(NOTES)} notes are answered, in order"
    return Played(text, harmed, None, len(findings()))


def play(mode: ModeName) -> Played:
    """Let a hiker read and write at once; anything but every answer, in order, is the harm."""
    return tell(asyncio.run(chat(mode)))
