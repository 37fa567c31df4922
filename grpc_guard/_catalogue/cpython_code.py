"""What a function does, read off its operations, which are those of CPython 3.11 to 3.14."""

from __future__ import annotations

import dis
import sys
from collections.abc import Collection, Iterator
from itertools import islice, pairwise
from types import CodeType

_MOST = 2_000  # operations of a function that are looked at, and of those in it

_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_SUPER_ATTR")
_OF_NAMES = (*_GLOBALS, *_ATTRIBUTES, "LOAD_METHOD")
_OF_CLOSURES = ("LOAD_DEREF",)
_OF_VARIABLES = ("LOAD_FAST", "LOAD_FAST_BORROW", *_OF_CLOSURES)
_RUNS = ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "SEND", "FOR_ITER", "GET_ANEXT", "YIELD_VALUE")
_ENTERS = ("BEFORE_WITH", "BEFORE_ASYNC_WITH", "LOAD_SPECIAL")


class Operations:
    """The operations of a function and of those that are in it, which it may hand to others.

    ``names`` are all that it loads by a name, ``globals`` those of its module; ``enters`` tells whether
    it has a ``with`` statement.
    """

    def __init__(self, code: CodeType) -> None:
        inner = (each for one in _codes_in(code) for each in dis.get_instructions(one))
        self._code = code
        self._own = list(islice(dis.get_instructions(code), _MOST))
        self._every = [*self._own, *islice(inner, _MOST)]
        self.names = frozenset(one.argval for one in self._every if one.opname in _OF_NAMES)
        self.globals = frozenset(one.argval for one in self._every if one.opname in _GLOBALS)
        self.enters = any(one.opname in _ENTERS for one in self._own)

    def call_variable(self) -> bool:
        """Tell whether something is called that is in a variable."""
        return any(_called(self._every, _OF_VARIABLES))

    def call_here(self, names: Collection[str]) -> bool:
        """Tell whether the function itself calls one of `names`, or what is in a variable around it."""
        return any(self._calls(names))

    def call_unheld(self, names: Collection[str]) -> bool:
        """Tell whether it does so, and calls, awaits and iterates nothing under its ``with`` statements."""
        return self.call_here(names) and not any(
            start <= one.offset < end and one.opname in _RUNS
            for start, end in self._held()
            for one in self._own
        )

    def _calls(self, names: Collection[str]) -> Iterator[dis.Instruction]:
        yield from _called(self._own, _OF_CLOSURES)
        for one in self._own:
            if one.opname in _OF_NAMES and one.argval in names and _loads_to_call(one):
                yield one

    def _held(self) -> Iterator[tuple[int, int]]:
        """Yield the stretches under a ``with``, and perhaps more: what it does lies in pieces."""
        if not self.enters:
            return
        ends = {
            before.offset
            for before, one in pairwise(self._own)
            if one.opname == "WITH_EXCEPT_START"
        }
        pieces = getattr(dis.Bytecode(self._code), "exception_entries", ())
        stretches = [[piece for piece in pieces if piece.target == end] for end in ends]
        are_seen = stretches and all(stretches) and len(self._own) < _MOST
        if not are_seen:  # it may be all
            yield 0, len(self._code.co_code)
            return
        for mine in stretches:
            yield min(piece.start for piece in mine), max(piece.end for piece in mine)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if type(inner) is CodeType:
            yield inner
            yield from _codes_in(inner)


def _called(operations: list[dis.Instruction], loads: Collection[str]) -> Iterator[dis.Instruction]:
    """Yield the `loads` of what is called: beside each, a null is pushed."""
    for before, one in pairwise(operations):
        # First the null before CPython 3.13, and then the other way round.
        if before.opname == "PUSH_NULL" and one.opname in loads:
            yield one
        if one.opname == "PUSH_NULL" and before.opname in loads:
            yield before


def _loads_to_call(one: dis.Instruction) -> bool:
    """Tell whether the load of a name is that of what is called: one bit says so."""
    if one.opname == "LOAD_METHOD":
        return True
    has_bit = one.opname == "LOAD_GLOBAL" or sys.version_info >= (3, 12)
    return has_bit and bool((one.arg or 0) & 1)
