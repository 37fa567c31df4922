"""Chains of awaits of who runs at that moment: up to 3.12, CPython does not survive all questions."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from inside import chains, guard_owners, inspect_lines, waiters

KINDS, ROUNDS = 50, 20  # instructions have caches, and what these hold differs from time to time

Ask = Callable[[Any], object]


class Asking:
    """Has a question asked by reading any attribute, which is the answer."""

    def __init__(self, ask: Ask, of: Any) -> None:
        self._ask, self._of = ask, of

    def __getattr__(self, name: str) -> object:
        return self._ask(self._of)


def askers(ask: Ask, of: Any) -> Iterator[Asking]:
    """Yield objects of many classes, which an instruction sees in turn."""
    kinds = [type(f"Asking{number}", (Asking,), {}) for number in range(KINDS)]
    for _ in range(ROUNDS):
        yield from (kind(ask, of) for kind in kinds)


# Of a task: no comprehension below, as the attributes have to be read by the party itself.


def groups(task: Any) -> object:
    return list(chains.groups([task], inspect_lines.Lines(), ()))


def groups_in_python(task: Any) -> object:
    return list(chains.groups_in_python([task], inspect_lines.Lines(), ()))


def await_chain(task: Any) -> object:
    return list(waiters.await_chain(task.get_coro()))


def frames_of_running(task: Any) -> object:
    return waiters.frames_of_running(task.get_coro())


def is_in_operation(task: Any) -> object:
    return guard_owners._is_in_operation(task.get_coro(), object)


@pytest.mark.parametrize(
    "ask", [groups, groups_in_python, await_chain, frames_of_running, is_in_operation]
)
async def test_a_task_that_runs(ask: Ask) -> None:
    for asker in askers(ask, asyncio.current_task()):
        assert asker.attribute is not None
        assert asker.other is not None


# Of one link of a chain.


def awaited_by(link: Any) -> object:
    return waiters.awaited_by(link)


def read(link: Any) -> object:
    return waiters.reader_of(link)[1](link)


LINKS = pytest.mark.parametrize("ask", [awaited_by, read])


@LINKS
async def test_an_async_generator_that_runs(ask: Ask) -> None:
    """As a handler's is, which is asked by itself: at a yield it is in no chain."""

    async def running() -> AsyncIterator[bool]:
        for asker in askers(ask, itself[0]):
            assert asker.attribute is None
            yield asker.other is None

    itself = [running()]
    async for is_right in itself[0]:
        assert is_right


@LINKS
async def test_a_coroutine_of_a_generator_that_runs(ask: Ask) -> None:
    @types.coroutine
    def running() -> Iterator[None]:
        for asker in askers(ask, itself[0]):
            assert asker.attribute is None
            assert asker.other is None
        yield

    itself: list[Any] = [running()]
    await itself[0]


@LINKS
def test_a_class_that_does_not_tell_whether_it_runs(ask: Ask) -> None:
    class Coroutine:
        cr_code = (lambda: None).__code__
        cr_await = asyncio.Future

    class Generator:
        gi_code = (lambda: None).__code__
        gi_yieldfrom = asyncio.Future

    class AsyncGenerator:
        ag_code = (lambda: None).__code__
        ag_await = asyncio.Future

    for kind in (Coroutine, Generator, AsyncGenerator):
        assert ask(kind()) is asyncio.Future
