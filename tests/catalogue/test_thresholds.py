"""Thresholds of the warnings: where they are set, which one wins, and errors for bad ones."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from inside import Thresholds, catalogue_thresholds, current_mode, thresholds
from support.enabling import restored
from support.staging import PATIENCE, path

import grpc_guard
from grpc_guard import Finding, disable, enable, guarded, is_enabled, wrap

__all__ = ["restored"]

pytest_plugins = ["pytester"]

Found = Callable[[], list[Finding]]

NAMES = (
    "slow_callback_seconds, abandoned_handler_seconds, blocked_loop_seconds, "
    "starved_server_seconds, parked_iterator_seconds, channel_churn, "
    "channel_churn_seconds, stream_limit, long_wait_seconds, kept"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say one threshold, and nothing else of the guard."""
    for name in os.environ:
        if name.startswith("GRPC_GUARD"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GRPC_GUARD_KEPT", "5")
    monkeypatch.setattr(catalogue_thresholds, "_current", None)


def in_force() -> tuple[int, int, float]:
    now = thresholds()
    return now.kept, now.stream_limit, now.channel_churn_seconds


# In Python


def test_enable_with_thresholds() -> None:
    """enable() overrides the environment, until the next enable() or disable()."""
    assert in_force() == (5, 90, 60.0)
    enable(thresholds={"stream_limit": 3})
    assert in_force() == (5, 3, 60.0)
    enable("warn")
    assert in_force() == (5, 3, 60.0)
    enable(thresholds={"kept": 6, "channel_churn_seconds": 0.5})
    assert in_force() == (6, 90, 0.5)
    enable(thresholds={})
    assert in_force() == (5, 90, 60.0)
    enable(thresholds={"kept": 7})
    disable()
    assert thresholds() == Thresholds(kept=5)


def test_guarded_with_thresholds() -> None:
    """A block decides on what it names, and restores what was before, exceptions or not."""
    enable(thresholds={"stream_limit": 3})
    with guarded(thresholds={"kept": 6}):
        assert in_force() == (6, 3, 60.0)
        with pytest.raises(KeyError), guarded("off", thresholds={"kept": 7, "stream_limit": 4}):
            assert in_force() == (7, 4, 60.0)
            raise KeyError
        enable(thresholds={"kept": 1, "channel_churn_seconds": 9})
        assert in_force() == (6, 90, 9)
    assert in_force() == (1, 90, 9)


def test_a_function_decorated_with_thresholds() -> None:
    """They hold in each run of the function, also where runs overlap, and in nothing else."""

    @guarded(thresholds={"kept": 6})
    def plain() -> int:
        return thresholds().kept

    @guarded(thresholds={"kept": 7})
    async def other(begun: asyncio.Event, end: asyncio.Event) -> int:
        begun.set()
        await end.wait()
        return thresholds().kept

    async def overlapping() -> list[int]:
        begun, end = [asyncio.Event() for _ in range(2)], [asyncio.Event() for _ in range(2)]
        tasks = [asyncio.create_task(other(*events)) for events in zip(begun, end, strict=True)]
        for event in begun:
            await event.wait()
        kept = [plain()]
        for event, task in zip(end, tasks, strict=True):
            event.set()
            kept.append(await task)
        return kept

    assert plain() == 6
    assert asyncio.run(asyncio.wait_for(overlapping(), PATIENCE)) == [6, 7, 7]
    assert (thresholds().kept, is_enabled()) == (5, False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stream_limit": -1}, "stream_limit=-1 is not a number; use a whole number, 0 or more"),
        ({"stream_limit": 1.5}, "stream_limit=1.5 is not a number; use a whole number, 0 or more"),
        ({"kept": True}, "kept=True is not a number; use a whole number, 0 or more"),
        (
            {"blocked_loop_seconds": float("nan")},
            "blocked_loop_seconds=nan is not a time; use seconds, 0 or more",
        ),
        (
            {"blocked_loop_seconds": None},
            "blocked_loop_seconds=None is not a time; use seconds, 0 or more",
        ),
        (
            {"kept": 1, "stream_limt": 2},
            (
                "'stream_limt' is not a threshold; did you mean 'stream_limit'? "
                f"The thresholds: {NAMES}"
            ),
        ),
        ({"xyzzy": 2}, f"'xyzzy' is not a threshold. The thresholds: {NAMES}"),
        ({3: 2}, f"3 is not a threshold. The thresholds: {NAMES}"),
        ("kept=1", "'kept=1' is not a mapping of thresholds to numbers"),
    ],
)
def test_a_bad_threshold_in_python(settings: Any, said: str) -> None:
    """It is an error that names its source and the choices, and all stays as it was."""
    enable("warn", thresholds={"kept": 6})
    with pytest.raises(ValueError, match=r"^enable\(thresholds\): ") as caught:
        enable(thresholds=settings)
    assert str(caught.value) == f"enable(thresholds): {said}"
    with pytest.raises(ValueError, match=r"^guarded\(thresholds\): ") as caught:
        guarded(thresholds=settings)
    assert str(caught.value) == f"guarded(thresholds): {said}"
    assert (current_mode(), in_force()) == ("warn", (6, 90, 60.0))


def test_a_bad_environment_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the environment is invalid, no other setting takes effect."""
    monkeypatch.setenv("GRPC_GUARD_KEPT", "x")
    for switch_on in (enable, lambda **told: guarded(**told).__enter__()):
        with pytest.raises(ValueError, match=r"^GRPC_GUARD_KEPT: 'x' is not a number; use a whole"):
            switch_on(thresholds={"stream_limit": 3})
    assert not is_enabled()
    monkeypatch.setenv("GRPC_GUARD_KEPT", "5")
    assert in_force() == (5, 90, 60.0)


def crowd(channel: Any) -> None:
    """Keep two streams alive on a channel to a server that does not exist."""
    calls = [channel.unary_stream(path("Crowd"))(b"", wait_for_ready=True) for _ in range(2)]
    for call in calls:
        call.cancel()


@pytest.mark.parametrize("by_hand", [False, True], ids=["enable", "wrap"])
def test_a_threshold_that_is_reached(by_hand: bool, found: Found) -> None:
    """The warning is given from the number on that was said, also for what is wrapped by hand."""
    for limit, rules in ((3, []), (2, ["stream-limit"])):
        with (
            guarded("off" if by_hand else "raise", thresholds={"stream_limit": limit}),
            grpc.insecure_channel("127.0.0.1:1") as channel,
        ):
            crowd(wrap(channel, mode="raise") if by_hand else channel)
        assert [finding.rule for finding in found()] == rules


# grpc-guard run


PROGRAM = """
import grpc
print(__import__("os").environ.get("GRPC_GUARD_STREAM_LIMIT"))
with grpc.insecure_channel("127.0.0.1:1") as channel:
    calls = [channel.unary_stream("/a.B/C")(b"", wait_for_ready=True) for _ in range(2)]
    for call in calls:
        call.cancel()
"""


def launch(folder: Path, *arguments: str) -> Any:
    (folder / "app.py").write_text(PROGRAM, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", *arguments, "app.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "variable", "seen", "times"),
    [
        ([], "2", "2", 1),
        (["--threshold", "stream_limit=2"], "9", "2", 1),
        (["--threshold", "stream_limit = 3"], "2", "3", 0),
        (["--threshold", "stream_limit=3", "--threshold=stream_limit=2"], "", "2", 1),
        (["--threshold", "kept=3"], "2", "2", 1),
        (["--mode", "off"], "9", "9", 0),
    ],
)
def test_run_with_thresholds(
    arguments: list[str],
    variable: str,
    seen: str,
    times: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command line wins over the environment, and the program's processes have it from there."""
    monkeypatch.setenv("GRPC_GUARD_STREAM_LIMIT", variable)
    process = launch(tmp_path, *arguments)
    assert (process.returncode, process.stdout) == (0, f"{seen}\n")
    assert process.stderr.count("advice: stream-limit") == times


@pytest.mark.parametrize(
    ("arguments", "variable", "said"),
    [
        (
            ["--threshold", "stream_limit=x"],
            "",
            "--threshold: stream_limit='x' is not a number; use a whole number, 0 or more",
        ),
        (
            ["--threshold", "stream_limit"],
            "",
            f"--threshold: 'stream_limit' is not NAME=NUMBER; the thresholds: {NAMES}",
        ),
        (
            ["--threshold", "Kept=2"],
            "",
            f"--threshold: 'Kept' is not a threshold; did you mean 'kept'? The thresholds: {NAMES}",
        ),
        (
            [],
            "x",
            "GRPC_GUARD_STREAM_LIMIT: 'x' is not a number; use a whole number, 0 or more",
        ),
    ],
)
def test_run_with_a_bad_threshold(
    arguments: list[str],
    variable: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is said, with source and choices, and the program is not started."""
    monkeypatch.setenv("GRPC_GUARD_STREAM_LIMIT", variable)
    process = launch(tmp_path, *arguments)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == f"grpc-guard run: {said}\n"


# pytest


TEST = """
import grpc, pytest
from grpc_guard._catalogue.thresholds import thresholds

def told():
    now = thresholds()
    print("told", now.kept, now.stream_limit)

def test_plain(): told()

@pytest.mark.grpc_guard(thresholds={"kept": 1})
class TestMarked:
    def test_of_class(self): told()

    @pytest.mark.grpc_guard("off", thresholds={"stream_limit": 2})
    def test_nearest(self): told()

def test_fixture(grpc_guard): told()
"""


def session(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:asyncio", *arguments)


@pytest.mark.parametrize(
    ("arguments", "ini", "plain", "header"),
    [
        ([], "", "5 90", None),
        ([], "kept = 6\n  stream_limit=7", "6 7", None),
        (
            ["--grpc-guard-threshold=kept=8"],
            "kept = 6\n  stream_limit=7",
            "8 7",
            "grpc_guard: raise (from --grpc-guard-threshold), kept=8, stream_limit=7",
        ),
        (
            ["--grpc-guard", "--grpc-guard-threshold", "kept=8", "--grpc-guard-threshold=kept=9"],
            "stream_limit=7",
            "9 7",
            "grpc_guard: raise (from --grpc-guard), stream_limit=7, kept=9",
        ),
    ],
)
def test_session_with_thresholds(
    arguments: list[str], ini: str, plain: str, header: str | None, pytester: pytest.Pytester
) -> None:
    """Marker, command line, ini file and environment, in this order; then all is as before."""
    pytester.makeini(f"[pytest]\ngrpc_guard_thresholds =\n  {ini}")
    pytester.makepyfile(TEST)
    result = session(pytester, "-s", *arguments)
    result.assert_outcomes(passed=4)
    kept, limit = plain.split()
    told = [line.partition("told ")[2] for line in result.outlines if "told " in line]
    assert told == [plain, f"1 {limit}", f"{kept} 2", plain]
    said = [line for line in result.outlines if line.startswith("grpc_guard: ")]
    assert said[:-1] == ([] if header is None else [header])  # the last is the summary
    assert in_force() == (5, 90, 60.0)


def test_session_with_workers(pytester: pytest.Pytester) -> None:
    """The workers of pytest-xdist have what the session was told."""
    pytester.makeini("[pytest]\ngrpc_guard_thresholds = stream_limit = 7")
    pytester.makepyfile(
        "from grpc_guard._catalogue.thresholds import thresholds\n"
        "def test_it(): assert (thresholds().kept, thresholds().stream_limit) == (8, 7)"
    )
    result = pytester.runpytest_subprocess("-n1", "--grpc-guard-threshold=kept=8")
    result.assert_outcomes(passed=1)


LEFT = """
import grpc, pytest
kept = []

@pytest.mark.{marker}
def test_ends():
    for _ in range(2):
        kept.append(grpc.insecure_channel("127.0.0.1:1"))
        kept.append(kept[-1].unary_stream("/a.B/C")(b"", wait_for_ready=True))

def test_cleans_up():
    for call in kept[1::2]:
        call.cancel()
    for channel in kept[::2]:
        channel.close()
"""


@pytest.mark.parametrize(
    ("arguments", "markers"),
    [
        (["--grpc-guard"], {"plain": "usefixtures", "told": "grpc_guard(thresholds={'kept': 1})"}),
        (["--grpc-guard", "--grpc-guard-threshold=kept=1"], {"told": "usefixtures"}),
        (["--grpc-guard-threshold=kept=1"], {"told": "usefixtures('grpc_guard')"}),
    ],
    ids=["marker", "command line", "fixture"],
)
def test_thresholds_at_the_end_of_a_test(
    arguments: list[str], markers: dict[str, str], pytester: pytest.Pytester
) -> None:
    """They still hold when it is looked for what the test has left open."""
    for name, marker in markers.items():
        pytester.makepyfile(**{f"test_{name}": LEFT.format(marker=marker)})
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:asyncio", *arguments)
    result.assert_outcomes(passed=2 * len(markers))
    lines = [line.strip() for line in result.outlines]
    told = lines[lines.index("unclosed-channel (warning)") + 1 :]
    assert told[0].startswith("test_told.py:7 ")
    assert not any(line.startswith("test_plain.py:") for line in told)


@pytest.mark.parametrize(
    ("arguments", "ini", "variable", "said"),
    [
        (
            ["--grpc-guard-threshold", "kept=x"],
            "",
            "5",
            "--grpc-guard-threshold: kept='x' is not a number; use a whole number, 0 or more",
        ),
        (
            [],
            "kept",
            "5",
            f"ini option grpc_guard_thresholds: 'kept' is not NAME=NUMBER; the thresholds: {NAMES}",
        ),
        (
            ["--grpc-guard-threshold", "kept=1"],
            "keep = 1",
            "5",
            (
                "ini option grpc_guard_thresholds: 'keep' is not a threshold; did you mean 'kept'? "
                f"The thresholds: {NAMES}"
            ),
        ),
        (
            ["--grpc-guard-threshold", "kept=1"],
            "",
            "x",
            "GRPC_GUARD_KEPT: 'x' is not a number; use a whole number, 0 or more",
        ),
    ],
)
def test_session_with_a_bad_threshold(
    arguments: list[str],
    ini: str,
    variable: str,
    said: str,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A usage error names its source and the choices."""
    pytester.makeini(f"[pytest]\ngrpc_guard_thresholds = {ini}")
    monkeypatch.setenv("GRPC_GUARD_KEPT", variable)
    result = session(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {said}" in result.errlines


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (
            "thresholds={'keep': 1}",
            (
                "marker grpc_guard: 'keep' is not a threshold; did you mean 'kept'?"
                f" The thresholds: {NAMES}"
            ),
        ),
        ("thresholds=3", "marker grpc_guard: 3 is not a mapping of thresholds to numbers"),
    ],
)
def test_a_bad_threshold_in_a_marker(marker: str, said: str, pytester: pytest.Pytester) -> None:
    """The test fails before it runs; source and choices are named."""
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.grpc_guard({marker})\ndef test_it(): print('ran')"
    )
    result = session(pytester, "-s")
    result.assert_outcomes(errors=1)
    assert said in result.outlines
    assert "ran" not in result.outlines
    assert not grpc_guard.is_enabled()
