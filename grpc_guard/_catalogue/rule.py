"""What a rule is: a named, documented check, frozen, with every text about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

from .lazy import public

ANY = "any"  # a text that holds for both sides and both apis
CLIENTS_ONLY = "cannot happen: only clients have channels"
ADVICE = "advice"  # a severity: see Rule
SERVERS_ONLY = "cannot happen: only servers have handlers"


@public
class Rule(str):
    """A named, documented check: a frozen record that equals its own name.

    ``severity`` is ``error`` (goes through the mode), ``warning`` (never raises) or ``advice``
    (a likely cost in a correct program: listed separately, and not counted in any total).
    ``waitable`` tells whether waiting for a turn helps, as in mode ``serialize``, and ``past`` that
    the owner has done before what the finding is about, and is inside of nothing.
    ``source`` says where the rule is written down.
    """

    severity: str
    summary: str
    remedy: str
    source: str
    waitable: bool
    past: bool
    _unguarded: Mapping[str, str]

    def __new__(
        cls,
        name: str,
        *,
        severity: str,
        summary: str,
        unguarded: Mapping[str, str],
        remedy: str,
        source: str,
        waitable: bool = False,
        past: bool = False,
    ) -> Rule:
        self = super().__new__(cls, name)
        vars(self).update(
            severity=severity,
            summary=summary,
            remedy=remedy,
            source=source,
            waitable=waitable,
            past=past,
            _unguarded=MappingProxyType(dict(unguarded)),
        )
        _known.setdefault(name, self)
        return self

    @property
    def name(self) -> str:
        """The rule's name as plain text."""
        return str.__str__(self)

    def unguarded(self, side: str, api: str) -> str:
        """Return what happens without the guard on this side (client, server) and api (sync, aio)."""
        return self._unguarded.get(f"{side} {api}") or self._unguarded[ANY]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a rule is frozen: {name!r} cannot be set on {self.name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a rule is frozen: {name!r} cannot be deleted from {self.name!r}")

    def __reduce__(self) -> tuple[Any, tuple[str, dict[str, Any]]]:
        fields = {name: getattr(self, name) for name in _FIELDS}
        return _unpickled, (self.name, {**fields, "unguarded": dict(self._unguarded)})


class Evidence:
    """What was seen where a rule was broken.

    Each is a frozen record that knows its rule. Its ``str()`` is a sentence, which the first line
    of a report has after its colon.
    """

    __slots__ = ()

    rule: ClassVar[Rule]

    @property
    def severity(self) -> str:
        """How grave it is: as the rule says."""
        return self.rule.severity

    @property
    def remedy(self) -> str:
        """How to fix what was seen: in general, as the rule has it."""
        return self.rule.remedy


_FIELDS = ("severity", "summary", "remedy", "source", "waitable", "past")
_known: dict[str, Rule] = {}  # the first of each name, which is the catalogue's


def _unpickled(name: str, fields: dict[str, Any]) -> Rule:
    known = _known.get(name)
    return Rule(name, **fields) if known is None else known
