"""What ``import grpc_guard.auto`` does."""

from __future__ import annotations

from .._catalogue.misspelt import report_misspelt
from .._catalogue.modes import Mode, parse_mode
from .._catalogue.settings import MODE, environment, resolve
from .._probe.settings import resolve_probe
from .switch import enable


def enable_by_environment() -> None:
    """Switch the guard on as the environment says; ValueError for a bad value there."""
    report_misspelt()
    mode = resolve(environment(MODE), parse=parse_mode, default=Mode.OFF).value
    probe = resolve_probe()
    if mode is not Mode.OFF:
        enable(mode, probe=probe is not None and str(probe))
