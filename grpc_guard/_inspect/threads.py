"""The frames of all threads, and which threads may be inside of something."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import FrameType

from .._core import which
from .._core.records import key_of
from .._findings.stacks import outward
from .._guard.noted import Noted

Chains = dict[int, list[FrameType]]  # innermost first, by the ident of the thread

# A thread and its frames, the indexes of those that called what is noted, and whether some code is marked.
Met = tuple[int, list[FrameType], list[int], bool]

_code = operator.attrgetter("f_code")


def look_at_threads(
    frames: dict[int, FrameType], noted: Noted, marked: set[int]
) -> tuple[Chains, list[Met]]:
    """Return the chains of the threads with these innermost `frames`, and which threads are met.

    A thread is met if it may be in one of the `noted` directions, or runs code with an identity that is
    `marked`.
    """
    compiled = which.compiled()
    if compiled is None:
        return look_at_threads_in_python(frames, noted, marked)
    found: tuple[Chains, list[Met]] = compiled.look_at_threads(frames, noted, marked)
    return found


def look_at_threads_in_python(
    frames: dict[int, FrameType], noted: Noted, marked: set[int]
) -> tuple[Chains, list[Met]]:
    """Return the same without the compiled core."""
    chains = {ident: list(outward(innermost)) for ident, innermost in frames.items()}
    met: list[Met] = []
    for ident, chain in chains.items():
        callers = [at for at, key in enumerate(map(key_of, chain)) if key in noted] if noted else []
        is_marked = not marked.isdisjoint(map(id, map(_code, chain)))
        if callers or is_marked or None in noted:
            met.append((ident, chain, callers, is_marked))
    return chains, met


def places_of(frames: Sequence[FrameType]) -> tuple[int, ...]:
    """Return where `frames` are: the identity of each one's code, and the index of its instruction."""
    compiled = which.compiled()
    if compiled is None:
        return places_in_python(frames)
    found: tuple[int, ...] = compiled.places_of(frames)
    return found


def places_in_python(frames: Sequence[FrameType]) -> tuple[int, ...]:
    """Return the same without the compiled core."""
    places: list[int] = []
    for frame in frames:
        places += id(frame.f_code), frame.f_lasti
    return tuple(places)
