"""The probe in a test session: what it remembers, in pytest's cache, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from .._findings import wording
from .._probe.memory import Learnt, Memory, ProbeFileError, from_document, to_document
from .._probe.settings import ProbeSettings, Totals

_CACHED = "grpc_guard/probe"


class Probing:
    """The probe of a session and of its workers; `settings` None for a session without."""

    def __init__(self, config: pytest.Config, settings: ProbeSettings | None) -> None:
        self._settings = settings
        self._root = config.rootpath
        self._cache: Any = getattr(config, "cache", None)  # none with -p no:cacheprovider
        self._memory = Memory()
        self._error: str | None = None
        self._of_workers: list[Learnt] = []
        if settings is not None:
            self._recall()

    @property
    def setting(self) -> str | None:
        """What guarded(probe) is told; None for nothing."""
        return None if self._settings is None else str(self._settings)

    def _recall(self) -> None:
        from .._probe.process import probe

        document = None if self._cache is None else self._cache.get(_CACHED, None)
        try:
            if document is not None:
                self._memory = from_document(document, self._root)
        except ProbeFileError as error:
            self._error = f"{_CACHED} in pytest's cache is not used: {error}"
        probe.remember(self._memory)

    def header(self) -> list[str]:
        """Return what the report header says of it."""
        if self._settings is None:
            return []
        said = wording.probing(self._settings.seed, self._memory.runs + 1)
        return [said if self._error is None else f"{said}; {self._error}"]

    def learnt(self) -> Learnt:
        """Return what was done and learnt, by the workers too."""
        from .._probe.process import probe

        mine = probe.learnt()
        parts = self._of_workers if mine is None else [mine, *self._of_workers]
        totals = Totals()
        for part in parts:
            totals = totals.plus(part.totals)
        return Learnt(totals, tuple(pair for part in parts for pair in part.pairs))

    def lines(self) -> list[str]:
        """Return what the summary says of it."""
        return [] if self._settings is None else [wording.probed(*self.learnt().totals)]

    def save(self) -> None:
        """Keep what was learnt for the next session."""
        if self._settings is not None and self._cache is not None:
            memory = self._memory.merged(self.learnt().pairs)
            self._cache.set(_CACHED, to_document(memory, self._root))

    # Workers of pytest-xdist

    def to_controller(self) -> Any:
        return None if self._settings is None else self.learnt().told()

    def from_worker(self, told: Any) -> None:
        if told is not None:
            self._of_workers.append(Learnt.read(told))
