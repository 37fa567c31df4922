"""What is read off the operations of functions: on each Python, from what its compiler makes."""

from __future__ import annotations

import contextlib
import dis
from collections.abc import Callable
from typing import Any

import pytest
from inside import Operations

ASKS = frozenset({"next", "read", "write"})
lock: Any = contextlib.nullcontext()
inner: Any = iter(())


count = 0


def beside() -> Any:
    global count
    with lock:
        count += 1
    return next(inner)


def before() -> Any:
    request = next(inner)
    with lock:
        return request


async def awaited_beside() -> Any:
    global count
    async with lock:
        count += 1
    return await inner.read()


def without() -> Any:
    return next(inner)


def within() -> Any:
    with lock:
        return next(inner)


def within_a_try() -> Any:
    with lock:
        try:
            return next(inner)
        except StopIteration:
            return None


def within_two() -> Any:
    with lock, contextlib.suppress(KeyError):
        return next(inner)


def within_the_second() -> Any:
    global count
    with lock:
        count += 1
    with lock:
        return next(inner)


def both() -> Any:
    with lock:
        next(inner)
    return next(inner)


async def awaited_within() -> Any:
    async with lock:
        return await inner.read()


def another_within() -> Any:
    """What it calls may lead anywhere."""
    next(inner)
    with lock:
        return before()


def iterated_within() -> Any:
    next(inner)
    with lock:
        for one in inner:
            return one
    return None


async def awaits_within() -> Any:
    await inner.read()
    async with lock:
        return await inner


def asks_nothing() -> Any:
    with lock:
        return inner


UNHELD = [beside, before, awaited_beside, without]
HELD = [
    *(within, within_a_try, within_two, within_the_second, both, awaited_within),
    *(another_within, iterated_within, awaits_within, asks_nothing),
]


@pytest.mark.parametrize("function", UNHELD)
def test_what_is_called_outside_of_with(function: Callable[[], Any]) -> None:
    assert Operations(function.__code__).call_unheld(ASKS)


@pytest.mark.parametrize("function", HELD)
def test_what_is_called_within_or_not_at_all(function: Callable[[], Any]) -> None:
    assert not Operations(function.__code__).call_unheld(ASKS)


def test_what_is_in_a_variable_around_a_function() -> None:
    """As a decorator calls what it decorates."""

    def outside(function: Any) -> Any:
        def decorated() -> Any:
            global count
            with lock:
                count += 1
            return function()

        return decorated

    def inside(function: Any) -> Any:
        def decorated() -> Any:
            with lock:
                return function()

        return decorated

    assert Operations(outside(without).__code__).call_unheld(ASKS)
    assert not Operations(inside(without).__code__).call_unheld(ASKS)


def test_where_the_stretches_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all of a function with a `with` may be under that: one too long to be read, or of another Python."""
    long = "def function():\n    with lock:\n        pass\n    next(inner)\n"
    long += "    print()\n" * 1_000
    names: dict[str, Any] = {}
    exec(long, names)
    assert not Operations(names["function"].__code__).call_unheld(ASKS)
    known = Operations(beside.__code__)
    monkeypatch.delattr(dis.Bytecode, "exception_entries", raising=False)
    monkeypatch.setattr(dis.Bytecode, "__init__", lambda self, code: None)
    assert not known.call_unheld(ASKS)
