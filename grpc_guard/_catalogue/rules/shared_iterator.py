"""The rule shared-iterator: one generator feeds two RPCs at the same time."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from ..rule import ANY, Evidence, Rule

SHARED_ITERATOR = Rule(
    "shared-iterator",
    severity="error",
    summary="one generator feeds two RPCs at the same time",
    unguarded={
        "client sync": "one of the RPCs fails with UNKNOWN 'Exception iterating requests!', or "
        "each silently gets a part of the messages",
        "client aio": "the second RPC is cancelled without a hint, or each RPC silently gets a "
        "part of the messages",
        ANY: "one of the RPCs fails, or each silently gets a part of the messages",
    },
    remedy="make a new generator for each RPC, or share an iterator that is safe to share (an "
    "object around a queue)",
    source="Python reference, generators: a generator must not be advanced while it runs",
)


@dataclasses.dataclass(frozen=True, slots=True)
class SharedGenerator(Evidence):
    """A generator of this name feeds `rpc` already, which is alive."""

    rule = SHARED_ITERATOR
    name: str
    rpc: str

    def __str__(self) -> str:
        return f"generator {self.name!r} already feeds a live RPC, {self.rpc}"


@dataclasses.dataclass(frozen=True, slots=True)
class SenderInside(Evidence):
    """The sender of `rpc`, which is over, is still inside a generator of this name."""

    rule = SHARED_ITERATOR
    name: str
    rpc: str

    def __str__(self) -> str:
        return f"the sender of {self.rpc}, an RPC that is over, is still inside generator {self.name!r}"


class Feeding(Protocol):
    """The RPC that a generator feeds."""

    @property
    def is_inside(self) -> bool:
        """Whether a thread or task advances the generator at this moment."""

    def is_over(self) -> bool: ...


def first_rpc_is_over(feeding: Feeding) -> bool:
    """The RPC that had the generator has ended, and it is not running: using it again is legal."""
    return feeding.is_over() and not feeding.is_inside
