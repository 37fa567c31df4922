"""What a scenario showed, as plain data: it travels from the process that played to the table."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """One half of a scenario, as the program that played it saw it.

    ``text`` is for the table. ``harmed`` tells whether something was lost, died or hung.
    ``report`` is the text of the ConcurrencyError that refused the one call too many, ""
    if none did. ``findings`` counts what the guard found.
    """

    text: str
    harmed: bool
    report: str = ""
    findings: int = 0
