"""Settings of a process, and of the blocks that run and override them: the innermost wins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Block(Generic[T]):
    """One run of a block: never equal to another, even with the same settings."""

    __slots__ = ("said",)

    def __init__(self, said: T) -> None:
        self.said = said


class Scopes(Generic[T]):
    """The settings in force, iterable: the block that was entered last comes first, `base` last.

    Blocks of several threads may be left in any order. There is no lock: each step changes the
    list at once.
    """

    def __init__(self, base: T) -> None:
        self.base = base
        self._blocks: list[Block[T]] = []

    def enter(self, said: T) -> Block[T]:
        block = Block(said)
        self._blocks.append(block)
        return block

    def leave(self, block: Block[T]) -> None:
        self._blocks.remove(block)

    def __iter__(self) -> Iterator[T]:
        for block in reversed(tuple(self._blocks)):
            yield block.said
        yield self.base
