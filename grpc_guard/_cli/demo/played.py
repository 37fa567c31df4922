"""What a scenario showed, as plain data: it travels from the process that played to the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from grpc_guard import ConcurrencyError

from ..._reports.document import finding_to_dict


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """One half of a scenario, as the program that played it saw it.

    ``text`` is for the table. ``harmed`` tells whether something was lost, died or hung.
    ``refusal`` is the finding of the ConcurrencyError that refused the one call too many, as a
    report has it; None if none did. ``findings`` counts what the guard found.
    """

    text: str
    harmed: bool
    refusal: dict[str, Any] | None = None
    findings: int = 0


def refusals_in(outcomes: Iterable[object]) -> list[dict[str, Any]]:
    """Return the findings of those of `outcomes` that are refusals."""
    return [
        finding_to_dict(error.finding) for error in outcomes if isinstance(error, ConcurrencyError)
    ]
