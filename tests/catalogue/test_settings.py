"""The reader of settings: which layer wins, and what it says of an environment variable."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from inside import Layer, Mode, catalogue_misspelt, environment, parse_mode, resolve
from support.staging import PATIENCE

pytest_plugins = ["pytester"]

misspelt = catalogue_misspelt.misspelt


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without any setting, and without earlier messages about settings."""
    for name in os.environ:
        if name.startswith("GRPC_GUARD"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(catalogue_misspelt, "_were_reported", False)


# Layers


def mode(*values: str | None) -> tuple[Mode, str | None]:
    layers = [Layer(source, value) for source, value in zip("abc", values, strict=True)]
    setting = resolve(*layers, parse=parse_mode, default=Mode.OFF)
    return setting.value, setting.source


def test_first_layer_that_says_something() -> None:
    """The first layer with a value wins and is the source; the default has none."""
    assert mode("warn", "raise", None) == (Mode.WARN, "a")
    assert mode(None, "raise", "warn") == (Mode.RAISE, "b")
    assert mode(None, None, None) == (Mode.OFF, None)


def test_layer_that_is_wrong() -> None:
    """A bad value is an error that names its source; below one that wins it does not matter."""
    with pytest.raises(ValueError, match="^b: 'x' is not a mode; use off, raise, warn or serial"):
        mode(None, "x", "warn")
    assert mode("warn", "x", "y") == (Mode.WARN, "a")


def test_layer_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is its own source; an empty one says nothing."""
    assert environment("GRPC_GUARD") == ("GRPC_GUARD", None)
    monkeypatch.setenv("GRPC_GUARD", "")
    assert environment("GRPC_GUARD") == ("GRPC_GUARD", None)
    monkeypatch.setenv("GRPC_GUARD", "warn")
    assert environment("GRPC_GUARD") == ("GRPC_GUARD", "warn")


# Misspelt variables


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GRPC_GUARD_MODE", "; did you mean GRPC_GUARD?"),
        ("GRPC_GUARD_STREAM_LIMT", "; did you mean GRPC_GUARD_STREAM_LIMIT?"),
        ("GRPC_GUARD_PROB", "; did you mean GRPC_GUARD_PROBE?"),
        (
            "GRPC_GUARD_XYZZY",
            (
                ". The variables: GRPC_GUARD, GRPC_GUARD_ABANDONED_HANDLER_SECONDS, "
                "GRPC_GUARD_BLOCKED_LOOP_SECONDS, "
                "GRPC_GUARD_CHANNEL_CHURN, GRPC_GUARD_CHANNEL_CHURN_SECONDS, GRPC_GUARD_COLOR, "
                "GRPC_GUARD_INSPECT, "
                "GRPC_GUARD_KEPT, GRPC_GUARD_LONG_WAIT_SECONDS, "
                "GRPC_GUARD_PARKED_ITERATOR_SECONDS, GRPC_GUARD_PROBE, "
                "GRPC_GUARD_PURE, GRPC_GUARD_SLOW_CALLBACK_SECONDS, "
                "GRPC_GUARD_STARVED_SERVER_SECONDS, GRPC_GUARD_STREAM_LIMIT"
            ),
        ),
    ],
)
def test_misspelt_variable(name: str, hint: str) -> None:
    """It is named, with the nearest that is one or with all; its value is not."""
    (said,) = misspelt({name: "hunter2"})
    assert said == f"the environment variable {name} is not a setting of grpc_guard{hint}"


def test_variables_that_are_not_misspelt() -> None:
    """Our own are known, those of others are not looked at."""
    ours = [
        *("GRPC_GUARD", "GRPC_GUARD_PROBE", "GRPC_GUARD_SPOOL", "GRPC_GUARD_INSPECT"),
        *("GRPC_GUARD_PURE", "GRPC_GUARD_KEPT", "GRPC_GUARD_STREAM_LIMIT"),
    ]
    assert list(misspelt(dict.fromkeys([*ours, "GRPC_VERBOSITY", "GRPC_GUARDS"], ""))) == []


def test_misspelt_variables_are_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is one log record; starting the guard again in this process logs nothing."""
    monkeypatch.setenv("GRPC_GUARD_B", "")
    monkeypatch.setenv("GRPC_GUARD_A", "")
    for _ in range(2):
        catalogue_misspelt.report_misspelt()
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("grpc_guard", logging.WARNING)
    ] * 2
    assert [record.getMessage().split()[3] for record in caplog.records] == [
        "GRPC_GUARD_A",
        "GRPC_GUARD_B",
    ]


# Where the guard starts

PYTEST = ["-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "test_it.py"]
SAID = "the environment variable GRPC_GUARD_MODE is not a setting of grpc_guard; did you mean"


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-c", "import grpc_guard.auto"], id="auto"),
        pytest.param(["-m", "grpc_guard", "run", "children.py"], id="run"),
        pytest.param(PYTEST, id="pytest"),
        pytest.param([*PYTEST, "-n", "1"], id="xdist"),
        pytest.param(["-m", "grpc_guard", "run", *PYTEST], id="both"),
    ],
)
def test_misspelt_variable_in_a_way_in(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way in says it once, for all its processes, and fails for it not even with -W error."""
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    (tmp_path / "children.py").write_text(
        "import subprocess, sys; import grpc_guard.auto\n"
        "subprocess.run([sys.executable, '-c', 'import grpc_guard.auto'], check=True)"
    )
    monkeypatch.setenv("GRPC_GUARD_MODE", "warn")
    ran = python(*arguments, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout + ran.stderr).count(SAID) == 1
    assert SAID in ran.stderr


def test_misspelt_variable_of_the_enabled_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """enable() is no reader of the environment's mode, and says nothing of it."""
    monkeypatch.setenv("GRPC_GUARD_MODE", "warn")
    ran = python("-c", "import grpc_guard; grpc_guard.enable()", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
