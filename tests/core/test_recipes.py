"""Proxies made in C by the recipe of their class beside those that their constructors make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from inside import Mode, Stream, aio_calls, aio_given, core_which
from support.operating import Plain

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

Make = Callable[[type, Any, Stream], Any]

_SLOTS = (
    "_self_stream",
    "_self_read",
    "_self_write",
    "_self_messages",
    "_self_anext",
    "_self_keeps",
)


def alone(cls: Any, plain: Any, stream: Stream) -> Any:
    return cls(plain, stream)


def with_direction(cls: Any, plain: Any, stream: Stream) -> Any:
    kept = aio_given.Context(plain, stream)
    proxy = cls(plain, stream, kept._self_read)
    assert proxy._self_read is kept._self_read
    return proxy


def with_keeper(cls: Any, plain: Any, stream: Stream) -> Any:
    kept = aio_given.Context(plain, stream)
    proxy = cls(plain, stream, kept._self_read, kept)
    assert proxy._self_keeps is kept
    return proxy


MADE: list[tuple[Any, Make]] = [
    (aio_calls.ReadingCall, alone),
    (aio_calls.DuplexCall, alone),
    (aio_calls.QueuedDuplexCall, alone),
    (aio_calls.AwaitableCall, alone),
    (aio_calls.WritingCall, alone),
    (aio_calls.QueuedWritingCall, alone),
    (aio_calls.Messages, with_direction),
    (aio_calls.Messages, with_keeper),
    (aio_given.Context, alone),
    (aio_given.RequestIterator, with_direction),
]


class Bare:
    """An object without any method."""


def told(cls: Any, make: Make, plain: Any, mode: Mode) -> Any:
    """Return what can be seen of a proxy of `cls`, or the error of making one."""
    stream = Stream("/test/Recipes", "client", "aio", mode, asyncio.get_running_loop())  # type: ignore[arg-type]
    try:
        proxy = make(cls, plain, stream)
    except (AttributeError, TypeError) as error:
        return type(error), str(error)
    assert proxy._self_stream is stream
    seen: list[Any] = [type(proxy), proxy.__wrapped__ is plain, stream.call() is plain]
    for slot in _SLOTS:
        value = proxy.__wrapped__ if slot == "_self_keeps" else getattr(proxy, slot, "no slot")
        fields = ("way", "step", "taken", "owner", "since", "loop_thread", "is_free")
        seen.append([slot, type(value), *(getattr(value, field, None) for field in fields)])
    for way in ("read", "write"):
        direction = getattr(proxy, f"_self_{way}", None)
        seen.append(direction is None or direction is getattr(stream, way))
    return seen


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.SERIALIZE])
@pytest.mark.parametrize(("cls", "make"), MADE)
async def test_what_is_made(
    cls: Any, make: Make, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe makes what the constructor makes, and fails as that does."""
    assert cls._self_recipe is not None
    plains = Plain(), Bare()
    in_c = [told(cls, make, plain, mode) for plain in plains]
    monkeypatch.setattr(cls, "_self_recipe", None)
    assert in_c == [told(cls, make, plain, mode) for plain in plains]


async def test_other_arguments() -> None:
    """The constructor is there for all that the recipe is not for."""
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, asyncio.get_running_loop())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'direction'"):
        aio_calls.Messages(Plain(), stream)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 3 positional arguments but 4 were given"):
        aio_calls.DuplexCall(Plain(), stream, 1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="track_call"):
        aio_calls.DuplexCall(Plain(), 7)  # type: ignore[arg-type]
