"""The contract as a model: one direction of one stream, and what its guard must do."""

from __future__ import annotations

import dataclasses
import enum

from grpc_guard import Mode


class Verdict(enum.Enum):
    """What happens to a party that begins an operation."""

    ENTERS = "enters"
    REFUSED = "refused"
    WAITS = "waits"


@dataclasses.dataclass(frozen=True)
class Party:
    """A party with an operation in the direction."""

    name: str
    operation: str


class Model:
    """A direction is free or owned; beside its owner there may be guests, let through or late."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.owner: Party | None = None
        self.guests: list[Party] = []
        self.line: list[Party] = []
        self.is_over = False  # the RPC has ended: nothing is reported

    def begin(
        self, party: Party, *, owner_leaves: bool = False, owner_wakes: bool = False
    ) -> tuple[Verdict, bool]:
        """Let `party` begin; return what becomes of it, and whether that is a finding.

        With `owner_leaves` the owner is being cancelled just now, with `owner_wakes` it has
        not yet begun: the direction is free, and promised to it.
        """
        if self.owner is None:
            self.owner = party
            return Verdict.ENTERS, False
        both_close = self.owner.operation == party.operation == "done_writing" and not owner_wakes
        is_finding = not (self.is_over or owner_leaves or both_close)
        if self.mode is Mode.SERIALIZE:
            self.line.append(party)
            return Verdict.WAITS, is_finding
        if self.mode is Mode.RAISE and is_finding:
            return Verdict.REFUSED, True
        self.guests.append(party)
        return Verdict.ENTERS, is_finding

    def end(self, name: str) -> Party | None:
        """Let `name` leave, in any way; return the party that enters in its place, if any."""
        self.guests = [party for party in self.guests if party.name != name]
        self.line = [party for party in self.line if party.name != name]
        if self.owner is None or self.owner.name != name:
            return None
        self.owner = self.line.pop(0) if self.line else None
        return self.owner

    @property
    def inside(self) -> list[Party]:
        return ([] if self.owner is None else [self.owner]) + self.guests

    @property
    def names_inside(self) -> list[str]:
        return sorted(party.name for party in self.inside)

    @property
    def names_busy(self) -> list[str]:
        return sorted(party.name for party in self.inside + self.line)
