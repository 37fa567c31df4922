"""Where the generator of a stream's messages is suspended, and whether gRPC is sending for it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
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
from .._core.steps import IteratorFromFunction
from .._core.stream import Stream
from .sight import Sight

# What may stand between a direction and the generator that it advances: counting, for one.
_BETWEEN = (IteratorFromFunction, FunctionType, MethodType, MethodWrapperType, CellType, tuple)
_DEPTH = 8


def suspended(stream: Stream) -> Iterator[FrameType]:
    """Yield the frame of the generator that the messages of `stream` come from, if it waits."""
    writing: Any = stream.write
    held: list[Any] = [getattr(writing, "iterator", None) or getattr(writing, "step", None)]
    for _ in range(_DEPTH):
        for one in held:
            if type(one) is GeneratorType and not one.gi_running and one.gi_frame is not None:
                yield one.gi_frame
                return
            if type(one) is AsyncGeneratorType and not one.ag_running and one.ag_frame is not None:
                yield one.ag_frame
                return
        held = gc.get_referents(*(one for one in held if type(one) in _BETWEEN))


def is_sending(stream: Stream, sight: Sight) -> bool:
    """Tell whether gRPC has a message of the stream that it cannot send yet.

    For a stream with many messages to send: see grpcio_rpcs.is_sending().
    """
    call = stream.call()
    return grpcio_rpcs.is_sending(call) or id(call) in sight.sending
