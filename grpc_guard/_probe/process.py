"""The probe of this process: switched on and off, and asked for what it learnt.

Modules that need grpc are imported with the first stream: the guard can be on before the program
has imported grpc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._catalogue.clock import monotonic
from .._catalogue.forks import start_clean
from .._core import fields, stream
from .memory import Document, Learnt, Memory
from .settings import ProbeSettings, with_seed

if TYPE_CHECKING:
    from .watch import Prober, Watch


class _Probe:
    """One prober for the process, as long as its settings stay the same."""

    def __init__(self) -> None:
        self._asked: ProbeSettings | None = None
        self._settings = ProbeSettings()
        self._memory = Memory()
        self._began = 0.0
        self._probers: dict[str, Prober] = {}  # one at most, from the first stream on

    def remember(self, memory: Memory) -> None:
        """Let the probe begin with what earlier runs have learnt, when it is switched on next."""
        self._asked, self._probers, self._memory = None, {}, memory

    def use(self, settings: ProbeSettings | None) -> None:
        """Probe streams that start from now on as `settings` say; None switches the probe off."""
        if settings is not None and settings != self._asked:
            self._asked = settings
            self._settings = with_seed(settings)
            self._began = monotonic()
            self._probers = {}
        fields.watch = None if settings is None else self._watch

    def _watch(self, stream: stream.Stream, step: Any) -> Watch:
        return self.prober().watch(stream, step)

    def prober(self) -> Prober:
        """Return the prober; make it at the first call."""
        made = self._probers.get("")
        if made is not None:
            return made
        from .policy import ProbePolicy
        from .watch import Prober

        run = self._memory.runs + 1
        core = ProbePolicy(self._settings, began=self._began, pairs=self._memory.copies(), run=run)
        return self._probers.setdefault("", Prober(core))  # of two threads, one was first

    def learnt(self) -> Learnt | None:
        """Return what was done and learnt so far; None if nothing was probed."""
        prober = self._probers.get("")
        if prober is None:
            return None
        return Learnt(prober.core.totals, tuple(prober.core.pairs.copy().values()))

    def told(self) -> Document | None:
        """Return :meth:`learnt` as data for another process."""
        learnt = self.learnt()
        return None if learnt is None else learnt.told()

    def after_fork(self) -> None:
        """A forked child starts clean: with what earlier runs have learnt."""
        self._probers = {}


probe = _Probe()
start_clean(probe)
