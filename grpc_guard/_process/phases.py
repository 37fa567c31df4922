"""The guard of the whole process: its phase, and how it gets from there to the wanted one.

Switching on applies patches to grpcio (patches.py). The patched functions read the mode once
per RPC. So a patch that cannot be removed, because other code has put one on top of it, does
nothing while the guard is off.
"""

from __future__ import annotations

import enum
import sys
import threading
from collections.abc import Mapping
from typing import Literal, NamedTuple

from .._catalogue import thresholds as limits
from .._catalogue.boundary import overlooked
from .._catalogue.cpython import is_being_imported
from .._catalogue.forks import start_clean
from .._catalogue.modes import Mode, in_force
from .._catalogue.scopes import Block, Scopes
from .._inspect.switch import switch
from .._probe.settings import ProbeSettings
from .import_hook import after_import

Probing = ProbeSettings | Literal[False] | None  # None: as it was


class Phase(enum.Enum):
    """How far the guard of the process has got."""

    OFF = enum.auto()
    AWAITING_GRPC = enum.auto()  # on, and the program has not imported grpc yet
    PATCHED = enum.auto()  # on, in grpcio


class Wanted(NamedTuple):
    """What enable(), or a block, asks for."""

    mode: Mode
    probe: Probing = None


class _Process:
    def __init__(self) -> None:
        self._mutex = threading.RLock()  # for patching and the choice of the mode
        self._scopes = Scopes(Wanted(Mode.OFF))
        self._phase = Phase.OFF
        self._is_hooked = False  # whether the import of grpc will call us

    def set_base(
        self,
        mode: Mode,
        probe: Probing = None,
        told: Mapping[str, float] | None = None,
        inspect: bool | None = None,
    ) -> None:
        with self._mutex:
            before = self._scopes.base
            if probe is None and mode is not Mode.OFF:
                probe = before.probe
            self._scopes.base = Wanted(mode, probe or False)
            try:
                self._apply_desired_mode()
            except BaseException:
                self._scopes.base = before
                raise
            if told is not None or mode is Mode.OFF:
                limits.set_base(told or {})
            if inspect is not None or mode is Mode.OFF:
                switch.want(bool(inspect))

    def enter(self, wanted: Wanted, thresholds: limits.holding) -> Block[Wanted]:
        with self._mutex:
            block = self._scopes.enter(wanted)
            try:
                self._apply_desired_mode()
            except BaseException:
                self._scopes.leave(block)
                raise
            thresholds.__enter__()
            return block

    def leave(self, block: Block[Wanted], thresholds: limits.holding) -> None:
        with self._mutex:
            thresholds.__exit__()
            self._scopes.leave(block)
            self._apply_desired_mode()

    def _apply_desired_mode(self) -> None:
        """Apply the mode of the innermost scope, and the probe of the innermost that sets one."""
        mode = next(wanted.mode for wanted in self._scopes)
        phase = self._phase_for(mode)
        if phase is not Phase.OFF:
            self._go_to(phase)  # if that fails, nothing is changed
        in_force.mode = mode
        self._set_probe()
        if phase is Phase.OFF:
            self._go_to(phase)

    def _phase_for(self, mode: Mode) -> Phase:
        """Return the phase for `mode`, coming from the current one.

        grpc is not imported here, which could be too early: the program may first have to set
        environment variables that grpc reads, or to patch the standard library.
        """
        if mode is Mode.OFF:
            return Phase.OFF
        if self._phase is not Phase.OFF:
            return self._phase
        grpc = sys.modules.get("grpc")
        if grpc is None:
            return Phase.AWAITING_GRPC
        if self._is_hooked and is_being_imported(grpc):
            return Phase.AWAITING_GRPC  # another thread imports it, and will call us
        return Phase.PATCHED

    def _go_to(self, phase: Phase) -> None:
        if phase is not self._phase:
            before, self._phase = self._phase, Phase.OFF  # if the step fails, the next begins again
            _STEPS[before, phase](self)
            self._phase = phase

    def _await_grpc(self) -> None:
        limits.thresholds()  # a bad one is an error here, and not where an RPC would find out
        if not self._is_hooked:
            self._is_hooked = True
            after_import("grpc", self._on_import)

    def _await_no_more(self) -> None:
        """Leave the hook in place: it does nothing in this phase, and serves the next."""

    def _patch(self) -> None:
        limits.thresholds()  # as above
        from . import patches

        patches.apply()

    def _unpatch(self) -> None:
        from . import patches

        patches.remove()

    def _on_import(self) -> None:
        with self._mutex:
            if self._phase is not Phase.AWAITING_GRPC:
                return
            try:
                self._go_to(Phase.PATCHED)
                self._set_probe()
            except Exception as error:  # the program's import must not fail for it
                in_force.mode, self._phase = Mode.OFF, Phase.OFF
                if not overlooked(error, "grpc could not be patched: the guard is off"):
                    raise

    def _set_probe(self) -> None:
        """Set the probe, once the guard is in grpcio: the probe's module is not imported before."""
        said = (wanted.probe for wanted in self._scopes if wanted.probe is not None)
        settings = (next(said, None) or None) if in_force.mode is not Mode.OFF else None
        is_needed = (
            "grpc_guard._probe.process" in sys.modules
            if settings is None
            else self._phase is Phase.PATCHED
        )
        if is_needed:
            from .._probe.process import probe

            probe.use(settings)

    def after_fork(self) -> None:
        self._mutex = threading.RLock()


_STEPS = {
    (Phase.OFF, Phase.AWAITING_GRPC): _Process._await_grpc,
    (Phase.OFF, Phase.PATCHED): _Process._patch,
    (Phase.AWAITING_GRPC, Phase.PATCHED): _Process._patch,
    (Phase.AWAITING_GRPC, Phase.OFF): _Process._await_no_more,
    (Phase.PATCHED, Phase.OFF): _Process._unpatch,
}


process = _Process()
start_clean(process)
