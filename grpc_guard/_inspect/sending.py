"""Where the generator of a stream's messages is suspended, and whether gRPC is sending for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import (
    AsyncGeneratorType,
    CellType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
)
from typing import Any

from .._catalogue import grpcio_rpcs
from .._catalogue.heap import held_by
from .._catalogue.nouns import AIO
from .._core.steps import IteratorFromFunction
from .._core.stream import Direction, Stream
from .sight import Sight

# What may stand between a direction and the generator that it advances: counting, for one.
_BETWEEN = (IteratorFromFunction, FunctionType, MethodType, MethodWrapperType, CellType, tuple)
_DEPTH = 8


def suspended(direction: Direction | None) -> Iterable[FrameType]:
    """Return the frame of the generator that a direction takes messages from, if it waits."""
    if direction is None or (direction.is_shared and direction.loop_thread is not None):
        return ()  # tasks write by themselves
    return _suspended(direction)


def _suspended(taking: Any) -> Iterator[FrameType]:
    held: list[Any] = [getattr(taking, "iterator", None) or getattr(taking, "step", None)]
    for _ in range(_DEPTH):
        for one in held:
            if type(one) is GeneratorType and not one.gi_running and one.gi_frame is not None:
                yield one.gi_frame
                return
            if type(one) is AsyncGeneratorType and not one.ag_running and one.ag_frame is not None:
                yield one.ag_frame
                return
        held = [one for one in held if any(type(one) is kind for kind in _BETWEEN)]
        if not held:
            return
        held = held_by(*held)


def is_sending(stream: Stream, sight: Sight) -> bool:
    """Tell whether gRPC has a message of the stream that it cannot send yet.

    For a stream with many messages to send: see grpcio_rpcs.is_sending().
    """
    if stream.api != AIO:
        return grpcio_rpcs.is_sending(stream.call())
    return bool(sight.sending) and id(stream.call()) in sight.sending
