"""The records of a finding: frozen, and keeping nothing of the program alive.

Names and source lines are copied; no call, task, thread, frame or message is held.
"""

from __future__ import annotations

import dataclasses

from .._catalogue.lazy import public
from .._catalogue.rule import ADVICE, Rule

NOT_FOUND = "(not found)"  # stands for the name of a task


@public
@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack: where, in which function, and the source text there."""

    file: str
    line: int
    function: str
    code: str


@public
@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A party to a finding: its name, its operation, for how long, and where.

    ``kind`` is ``thread``, ``task`` or ``greenlet``. ``held_seconds`` is how long the
    operation had been in progress (None for a caller, which had only arrived), or how long ago it
    was, where it is over: see ``Rule.past``.
    ``stack`` runs from the outermost frame down to the user's line. ``relation`` says how it was
    found: ``inside`` is the party's own stack. If that has no line of the program, the stack is
    that of the party that waits for it (``awaited-by``), or the line that asked for the operation
    (``asked-at``), or the line that started the task or thread (``started-at``).
    ``started_at`` is the line that started it, if that was noted.
    """

    kind: str
    name: str
    operation: str
    held_seconds: float | None = None
    stack: tuple[Frame, ...] = ()
    relation: str = "inside"
    started_at: Frame | None = None

    @property
    def site(self) -> Frame | None:
        """The user's line, or None where no stack could be read."""
        return self.stack[-1] if self.stack else None


@public
@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule. The fields are those of the report schema.

    ``message`` is the first line of the report, ``remedy`` how to fix the program,
    ``time`` when it was first seen (UTC, ISO 8601), ``count`` how often the same
    two call sites broke the same rule on the same RPC, ``test`` the id of the test
    that was running, if any. ``owner`` is None if the rule has no owner.
    """

    rule: Rule
    severity: str
    rpc: str
    side: str
    api: str
    message: str
    remedy: str
    caller: Owner
    owner: Owner | None = None
    count: int = 1
    test: str | None = None
    time: str = ""

    @property
    def is_advice(self) -> bool:
        """Tell whether it is advice: a likely cost in a correct program, not counted in any total."""
        return self.severity == ADVICE

    @property
    def key(self) -> Key:
        """Findings with equal keys are one finding, counted, whichever party came first."""
        return (self.rule.name, self.rpc, self.side, self.test, self.places)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the parties were, in sorted order; a single place if a party has left."""
        owner = self.owner
        if owner is None or not owner.stack:
            return (_place(self.caller, None),)
        mine, its = _first_difference(self.caller.stack, owner.stack)
        return tuple(sorted((_place(self.caller, mine), _place(owner, its))))

    @property
    def halves(self) -> tuple[Key, ...]:
        """The keys that this finding has if one of the parties has left.

        Without a known line of the program, nothing tells that two findings are the same.
        """
        parties = (self.caller, self.owner)
        head = (self.rule.name, self.rpc, self.side, self.test)
        return tuple(
            (*head, (_place(party, None),)) for party in parties if party is not None and party.site
        )


Place = tuple[str, str, int, str, str, int]  # operation, site, and the frame that tells it apart
Key = tuple[str, str, str, str | None, tuple[Place, ...]]


def _place(party: Owner, apart: Frame | None) -> Place:
    file, line, function = _named(party.site)
    caller, called_at, _ = _named(apart)
    return (party.operation, file, line, function, caller, called_at)


def _named(frame: Frame | None) -> tuple[str, int, str]:
    return ("", 0, "") if frame is None else (frame.file, frame.line, frame.function)


def _first_difference(
    one: tuple[Frame, ...], other: tuple[Frame, ...]
) -> tuple[Frame | None, Frame | None]:
    """Return the first frames outward in which two stacks differ, if they end in the same line.

    Two parties that meet in a helper function of the program are distinguished by its callers.
    """
    if not one or not other or one[-1] != other[-1]:
        return None, None
    for mine, its in zip(reversed(one), reversed(other), strict=False):
        if mine != its:
            return mine, its
    return None, None
