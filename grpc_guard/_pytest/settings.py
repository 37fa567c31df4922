"""The settings of the pytest plugin, their sources, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from .._catalogue.modes import Mode, parse_mode
from .._catalogue.settings import MODE, Layer, Setting, environment, resolve
from .._catalogue.thresholds import resolve_thresholds
from .._catalogue.words import nearest, printable
from .._probe.settings import ProbeSettings, resolve_probe, with_seed
from .._reports.adoption import Adoption, allowed_from_line, allowed_in_pyproject
from .._reports.baseline import read_baseline, read_if_there
from .._reports.writing import check_writable

BASELINE, WRITE_BASELINE = "--grpc-guard-baseline", "--grpc-guard-write-baseline"
PROBE, PROBE_SEED = "--grpc-guard-probe", "--grpc-guard-probe-seed"
THRESHOLD = "--grpc-guard-threshold"
DUMP_AFTER = "--grpc-guard-dump-after"
_OPTIONS = ("--grpc-guard", BASELINE, WRITE_BASELINE, PROBE, PROBE_SEED, THRESHOLD, DUMP_AFTER)

SEED = "grpc_guard_probe_seed"  # sent by the controller of pytest-xdist to its workers


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
        BASELINE,
        metavar="FILE",
        help="findings known from FILE do not fail a test",
    )
    group.addoption(
        WRITE_BASELINE,
        metavar="FILE",
        help="write the findings to FILE as the baseline; no finding fails a test",
    )
    group.addoption(
        PROBE,
        action="store_true",
        help="hold operations back where two parties came near each other, so that they meet; "
        "what is learnt is kept in pytest's cache",
    )
    group.addoption(
        PROBE_SEED,
        metavar="N",
        help="repeat the choices of the session that printed this seed",
    )
    group.addoption(
        THRESHOLD,
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="threshold at which a warning is reported, as in stream_limit=50; may be repeated",
    )
    group.addoption(
        DUMP_AFTER,
        metavar="SECONDS",
        help="print what is in progress in a test that has run for this long, as grpc-guard dump does",
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
        "thresholds at which warnings are reported, one per line: NAME = NUMBER",
        type="linelist",
    )


def keep_paths(args: list[str]) -> bool:
    """Make ``--grpc-guard tests/`` work: ``tests/`` is a path and not a mode.

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


def refuse_misspelt(unknown: Iterable[str]) -> None:
    """Raise pytest.UsageError for an option that resembles one of ours.

    All others are left to pytest: they may be those of conftest files that are not loaded yet.
    """
    for argument in unknown:
        name = argument.partition("=")[0]
        meant = nearest(name, _OPTIONS, cutoff=0.9) if name.startswith("--grpc-guard-") else None
        if meant is not None:
            raise pytest.UsageError(f"unknown option {printable(name)}; did you mean {meant}?")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The effective settings of a test session."""

    mode: Mode
    source: str | None  # where the mode was set; None if nowhere
    adoption: Adoption
    write_baseline: Path | None
    probe: ProbeSettings | None = None
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Read the settings; pytest.UsageError names a wrong one and its source."""
        try:
            mode = resolve(
                Layer("--grpc-guard", config.getoption("--grpc-guard")),
                Layer("ini option grpc_guard", config.getini("grpc_guard") or None),
                environment(MODE),
                parse=parse_mode,
                default=Mode.OFF,
            )
            mode = _needed(config, mode)
            thresholds = resolve_thresholds(
                Layer(THRESHOLD, config.getoption(THRESHOLD)),
                Layer("ini option grpc_guard_thresholds", config.getini("grpc_guard_thresholds")),
            )
            return cls(
                mode.value,
                mode.source,
                write_baseline=_baseline_to_write(config),
                adoption=_adoption(config),
                probe=_probe(config),
                thresholds=thresholds,
            )
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None

    @property
    def is_on(self) -> bool:
        return self.mode is not Mode.OFF


def _needed(config: pytest.Config, mode: Setting[Mode]) -> Setting[Mode]:
    """Return the mode, so that every given option of the guard has an effect.

    If no mode is set, an option that needs the guard sets ``raise``, as --grpc-guard does.
    Raises ValueError if the guard is switched off.
    """
    for option in (BASELINE, WRITE_BASELINE, PROBE, PROBE_SEED, THRESHOLD):
        if mode.value is Mode.OFF and config.getoption(option):
            if mode.source is not None:
                raise ValueError(f"{option} needs the guard, which {mode.source} has switched off")
            mode = Setting(Mode.RAISE, option)
    return mode


def _probe(config: pytest.Config) -> ProbeSettings | None:
    probe = resolve_probe(
        Layer(PROBE, config.getoption(PROBE)),
        Layer(PROBE_SEED, config.getoption(PROBE_SEED)),
    )
    of_controller = getattr(config, "workerinput", {}).get(SEED)
    if probe is not None and of_controller is not None:
        probe = dataclasses.replace(probe, seed=of_controller)
    return None if probe is None else with_seed(probe)


def _adoption(config: pytest.Config) -> Adoption:
    root = config.rootpath
    lines = config.getini("grpc_guard_allow")
    allowed = [allowed_from_line(line, "ini option grpc_guard_allow") for line in lines]
    baseline = config.getoption(BASELINE)
    known = read_baseline(Path(baseline), BASELINE) if baseline is not None else []
    return Adoption(root, [*allowed, *allowed_in_pyproject(root)], known)


def _baseline_to_write(config: pytest.Config) -> Path | None:
    target = config.getoption(WRITE_BASELINE)
    if target is None:
        return None
    if not hasattr(config, "workerinput"):  # else the controller of pytest-xdist has checked it
        try:
            check_writable(Path(target))
        except OSError as error:
            raise pytest.UsageError(f"{WRITE_BASELINE}: {target}: {error.strerror}") from None
        read_if_there(Path(target), WRITE_BASELINE)  # its content must not be lost
    return Path(target)
