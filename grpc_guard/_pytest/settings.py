"""What the pytest plugin was told, by whom, and what follows from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from .._catalogue.modes import Mode, parse_mode
from .._catalogue.thresholds import parse_settings, thresholds
from .._probe.settings import ProbeSettings, parse_probe, parse_seed, with_seed
from .._reports.adoption import Adoption, allowed_from_line, allowed_in_pyproject, read_baseline
from .._reports.writing import check_writable

ENVIRONMENT = "GRPC_GUARD"
ENVIRONMENT_PROBE = "GRPC_GUARD_PROBE"
SEED = "grpc_guard_probe_seed"  # what the controller of pytest-xdist tells its workers


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("grpc_guard", "guard of gRPC streams")
    group.addoption(
        "--grpc-guard",
        metavar="MODE",
        nargs="?",
        const="raise",
        help="guard the gRPC streams of all tests: raise (default), warn, serialize or off",
    )
    group.addoption(
        "--grpc-guard-baseline",
        metavar="FILE",
        help="findings known from FILE do not fail a test",
    )
    group.addoption(
        "--grpc-guard-write-baseline",
        metavar="FILE",
        help="write what is found to FILE as the baseline; no finding fails a test",
    )
    group.addoption(
        "--grpc-guard-probe",
        action="store_true",
        help="hold operations back where two parties came near each other, so that they meet; "
        "what is learnt is kept in pytest's cache",
    )
    group.addoption(
        "--grpc-guard-probe-seed",
        metavar="N",
        help="repeat the choices of the session that printed this seed",
    )
    group.addoption(
        "--grpc-guard-threshold",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="from when on a warning is given, as in stream_limit=50; may be repeated",
    )
    group.addoption(
        "--grpc-guard-dump-after",
        metavar="SECONDS",
        help="say what is in progress in a test that has run for so long, as grpc-guard dump does",
    )
    parser.addini("grpc_guard", "mode of the guard for all tests, as --grpc-guard")
    parser.addini(
        "grpc_guard_allow",
        "findings that do not fail a test, one per line: RULE SITE REASON, where SITE is a "
        "pattern for file or file:function",
        type="linelist",
    )
    parser.addini(
        "grpc_guard_thresholds",
        "from when on warnings are given, one per line: NAME = NUMBER",
        type="linelist",
    )


def keep_paths(args: list[str]) -> bool:
    """Let ``--grpc-guard tests/`` mean what it says: what follows is no mode but a path.

    Return whether `args` were changed.
    """
    modes = {mode.value for mode in Mode}
    changed = False
    for index, argument in enumerate(args):
        follows = args[index + 1 : index + 2]
        if argument == "--grpc-guard" and follows and follows[0] not in modes:
            args[index] = "--grpc-guard=raise"
            changed = True
    return changed


@dataclasses.dataclass(frozen=True)
class Settings:
    """The effective settings of a test session."""

    mode: Mode
    source: str | None  # who said so; None if nobody did
    adoption: Adoption
    write_baseline: Path | None
    probe: ProbeSettings | None = None
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the settings; pytest.UsageError names what is wrong and where it came from."""
        try:
            mode, source = _mode(config)
            told = _told(config)
            baseline = _baseline_to_write(config)
            return cls(mode, source, _adoption(config), baseline, _probe(config), told)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None

    @property
    def is_on(self) -> bool:
        return self.mode is not Mode.OFF


def _mode(config: pytest.Config) -> tuple[Mode, str | None]:
    """Return the mode and its source: command line, ini file, environment, in that order."""
    for value, source in (
        (config.getoption("--grpc-guard"), "--grpc-guard"),
        (config.getini("grpc_guard") or None, "ini option grpc_guard"),
        (os.environ.get(ENVIRONMENT) or None, ENVIRONMENT),
    ):
        if value is not None:
            return parse_mode(value, source=source), source
    return Mode.OFF, None


def _told(config: pytest.Config) -> dict[str, float]:
    """Return the thresholds that are said here; of those in the environment a bad one is an error."""
    thresholds()
    return {
        **parse_settings(
            config.getini("grpc_guard_thresholds"), source="ini option grpc_guard_thresholds"
        ),
        **parse_settings(
            config.getoption("--grpc-guard-threshold"), source="--grpc-guard-threshold"
        ),
    }


def _probe(config: pytest.Config) -> ProbeSettings | None:
    """Return the settings of the probe: numbers by the environment, the rest by options."""
    probe = parse_probe(os.environ.get(ENVIRONMENT_PROBE) or "off", source=ENVIRONMENT_PROBE)
    if config.getoption("--grpc-guard-probe") and probe is None:
        probe = ProbeSettings()
    seed = config.getoption("--grpc-guard-probe-seed")
    if seed is not None:
        if probe is None:
            raise ValueError("--grpc-guard-probe-seed needs --grpc-guard-probe")
        chosen = parse_seed(seed, source="--grpc-guard-probe-seed")
        probe = dataclasses.replace(probe, seed=chosen)
    of_controller = getattr(config, "workerinput", {}).get(SEED)
    if probe is not None and of_controller is not None:
        probe = dataclasses.replace(probe, seed=of_controller)
    return None if probe is None else with_seed(probe)


def _adoption(config: pytest.Config) -> Adoption:
    root = config.rootpath
    lines = config.getini("grpc_guard_allow")
    allowed = [allowed_from_line(line, "ini option grpc_guard_allow") for line in lines]
    baseline = config.getoption("--grpc-guard-baseline")
    known = read_baseline(Path(baseline)) if baseline is not None else []
    return Adoption(root, [*allowed, *allowed_in_pyproject(root)], known)


def _baseline_to_write(config: pytest.Config) -> Path | None:
    target = config.getoption("--grpc-guard-write-baseline")
    if target is None:
        return None
    if not hasattr(config, "workerinput"):  # the controller of pytest-xdist has tried it
        try:
            check_writable(Path(target))
        except OSError as error:
            raise pytest.UsageError(
                f"--grpc-guard-write-baseline: {target}: {error.strerror}"
            ) from None
    return Path(target)
