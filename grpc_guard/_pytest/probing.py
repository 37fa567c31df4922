"""The probe in a test session: its memory, in pytest's cache, and its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from .._findings import wording
from .._probe.memory import Learnt, Memory, ProbeFileError, from_document, to_document
from .._probe.pairs import Pair
from .._probe.settings import ProbeSettings

_CACHED = "grpc_guard/probe"


class Probing:
    """The probe of a session and of its workers; `settings` is None if the probe is off."""

    def __init__(self, config: pytest.Config, settings: ProbeSettings | None) -> None:
        self._settings = settings
        self._root = config.rootpath
        self._cache: Any = getattr(config, "cache", None)  # none with -p no:cacheprovider
        self._memory = Memory()
        self._error: str | None = None
        if settings is not None:
            self._recall()

    @property
    def setting(self) -> str | None:
        """The argument for guarded(probe=...); None for none."""
        return None if self._settings is None else str(self._settings)

    def _recall(self) -> None:
        from .._probe.process import probe

        try:
            document = None if self._cache is None else self._cache.get(_CACHED, None)
            if document is not None:
                self._memory = from_document(document, self._root)
        except (ProbeFileError, RecursionError) as error:
            self._error = (
                f"{_CACHED} in pytest's cache is not used, and left as it is: {error!s:.200}"
            )
        probe.remember(self._memory)

    def header(self) -> list[str]:
        """Return the line of the report header about the probe."""
        if self._settings is None:
            return []
        said = wording.probing(self._settings.seed, self._memory.runs + 1)
        return [said if self._error is None else f"{said}; {self._error}"]

    def learnt(self) -> Learnt | None:
        """Return what the probe did and learnt in this process, None if it did nothing."""
        if self._settings is None:
            return None
        from .._probe.process import probe

        return probe.learnt()

    def save(self, pairs: Sequence[Pair]) -> None:
        """Keep what was learnt, by the workers too, for the next session."""
        is_ours = self._error is None
        if self._settings is not None and self._cache is not None and is_ours:
            self._cache.set(_CACHED, to_document(self._memory.merged(pairs), self._root))
