"""Chains of awaits of coroutines that run at that moment: CPython does not survive all questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from inside import chains, guard_owners, inspect_lines, waiters

KINDS, ROUNDS = 50, 20  # instructions have caches, and what these hold differs from time to time

Ask = Callable[[asyncio.Task[Any]], object]


def _groups(task: asyncio.Task[Any]) -> object:
    return list(chains.groups([task], inspect_lines.Lines(), ()))


def _groups_in_python(task: asyncio.Task[Any]) -> object:
    return list(chains.groups_in_python([task], inspect_lines.Lines(), ()))


def _chain(task: asyncio.Task[Any]) -> object:
    return list(waiters.await_chain(task.get_coro()))


def _running(task: asyncio.Task[Any]) -> object:
    return waiters.frames_of_running(task.get_coro())


def _is_in_operation(task: asyncio.Task[Any]) -> object:
    return guard_owners._is_in_operation(task.get_coro(), object)


ASKS = [_groups, _groups_in_python, _chain, _running, _is_in_operation]


class Asking:
    """Has the party that reads any attribute of it asked for what it awaits."""

    def __init__(self, ask: Ask, task: asyncio.Task[Any]) -> None:
        self._ask, self._task = ask, task

    def __getattr__(self, name: str) -> bool:
        return bool(self._ask(self._task)) or True


def _askers(ask: Ask, task: asyncio.Task[Any]) -> Iterator[Asking]:
    kinds = [type(f"Asking{number}", (Asking,), {}) for number in range(KINDS)]
    for _ in range(ROUNDS):
        yield from (kind(ask, task) for kind in kinds)


# No comprehension: the attributes have to be read by the party itself.


@pytest.mark.parametrize("ask", ASKS)
async def test_a_task_that_runs(ask: Ask) -> None:
    task = asyncio.current_task()
    assert task is not None
    for asker in _askers(ask, task):
        assert asker.attribute
        assert asker.other


@pytest.mark.parametrize("ask", ASKS)
async def test_a_generator_that_runs(ask: Ask) -> None:
    task = asyncio.current_task()
    assert task is not None

    async def asked() -> AsyncIterator[bool]:
        for asker in _askers(ask, task):
            assert asker.attribute
            yield asker.other

    async for one in asked():
        assert one
