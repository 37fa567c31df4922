"""The records of a finding: frozen, and keeping nothing of the program alive.

Names and source lines are copied; no call, task, thread, frame or message is held.
"""

from __future__ import annotations

import dataclasses

from .._catalogue.rule import Rule


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack: where, in which function, and the source text there."""

    file: str
    line: int
    function: str
    code: str


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A party to a finding: who, in which operation, for how long, and where.

    ``kind`` is ``thread``, ``task`` or ``greenlet``. ``held_seconds`` is how long the
    operation had been in progress (None for a caller, which had only arrived).
    ``stack`` runs from the outermost frame down to the user's line. ``relation`` says how it was
    found: ``inside`` is the party's own stack; where that has no line of the program it is that
    of whoever waits for the party (``awaited-by``), or the line that asked for the operation
    (``asked-at``), or the one that started the task or thread (``started-at``).
    ``started_at`` is the line that started it, where that was noted.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule. The fields are those of the report schema.

    ``message`` is the first line of the report, ``remedy`` how to mend the program,
    ``time`` when it was first seen (UTC, ISO 8601), ``count`` how often the same
    two call sites broke the same rule on the same RPC, ``test`` the id of the test
    that was running, if any. ``owner`` is None where a rule has none.
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
    def key(self) -> tuple[object, ...]:
        """Findings with equal keys are one finding, counted."""
        owner = self.owner.site if self.owner is not None else None
        operations = (self.caller.operation, self.owner.operation if self.owner else None)
        return (self.rule, self.rpc, self.side, operations, self.caller.site, owner, self.test)
