"""Every way in does the same: one program, with the same findings and the same mistakes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.sessions import ALONE, PROGRAMS, environment
from support.staging import PATIENCE

APP = """
import asyncio
import json

import collision
import grpc_guard


def main():
    asyncio.run(collision.collide())
    found = [
        [finding.rule.name, finding.rpc, finding.side, finding.caller.site.code, finding.count]
        for finding in grpc_guard.findings()
    ]
    print("found", json.dumps(found))
"""
PYTEST = ["-m", "pytest", "-s", "-p", "no:cacheprovider", *ALONE, "test_app.py"]


@dataclasses.dataclass(frozen=True)
class WayIn:
    """A command line for the program; ``{mode}`` in it, or in the environment, is the mode."""

    arguments: Sequence[str]
    source: str  # what an error calls the place where the mode was said
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ini: str = ""
    status: int = 0  # if the program succeeds but broke the contract


SAID = {"GRPC_GUARD": "{mode}"}
WAYS = {
    "enable": WayIn(
        ["-c", "import app, grpc_guard; grpc_guard.enable('{mode}'); app.main()"], "enable(mode)"
    ),
    "guarded": WayIn(
        ["-c", "import app, grpc_guard; grpc_guard.guarded('{mode}')(app.main)()"], "guarded(mode)"
    ),
    "auto": WayIn(["-c", "import grpc_guard.auto, app; app.main()"], "GRPC_GUARD", SAID),
    "run": WayIn(["-m", "grpc_guard", "run", "--mode={mode}", "start.py"], "--mode", status=66),
    "run, environment": WayIn(
        ["-m", "grpc_guard", "run", "start.py"], "GRPC_GUARD", SAID, status=66
    ),
    "pytest": WayIn([*PYTEST, "--grpc-guard={mode}"], "--grpc-guard", status=1),
    "pytest, ini": WayIn(
        PYTEST, "ini option grpc_guard", ini="[pytest]\ngrpc_guard = {mode}", status=1
    ),
    "pytest, environment": WayIn(PYTEST, "GRPC_GUARD", SAID, status=1),
}


def start(way: WayIn, mode: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program in `mode` by `way`, in a process of its own."""
    (folder / "app.py").write_text(APP)
    (folder / "start.py").write_text("import app; app.main()")
    (folder / "test_app.py").write_text("import app\n\ndef test_it():\n    app.main()")
    (folder / "pytest.ini").write_text(way.ini.format(mode=mode) or "[pytest]")
    variables = {name: text.format(mode=mode) for name, text in way.environment.items()}
    variables["PYTHONPATH"] = os.pathsep.join(map(str, (PROGRAMS, folder)))
    return subprocess.run(
        [sys.executable, *(argument.replace("{mode}", mode) for argument in way.arguments)],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        check=False,
    )


every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
def test_finding(way: WayIn, tmp_path: Path) -> None:
    """The second reader is refused and found, and the exit status is the way's own."""
    ran = start(way, "raise", tmp_path)
    lines = [line for line in ran.stdout.splitlines() if "found" in line]
    (found,) = [json.loads(line.partition("found ")[2]) for line in lines if "found [" in line]
    assert found == [
        [
            "concurrent-read",
            "/test.Program/Numbers",
            "client",
            "return await call.read()",
            1,
        ]
    ]
    assert "bytes ConcurrencyError" in ran.stdout
    assert ran.returncode == way.status, ran.stderr


@every_way
def test_off(way: WayIn, tmp_path: Path) -> None:
    """In mode off nothing is found, and nothing fails."""
    ran = start(way, "off", tmp_path)
    assert "found []" in ran.stdout, ran.stderr
    assert ran.returncode == 0


@every_way
def test_bad_mode(way: WayIn, tmp_path: Path) -> None:
    """An unknown mode is an error that names its source and the choices, before anything runs."""
    ran = start(way, "on", tmp_path)
    said = f"{way.source}: 'on' is not a mode; use off, raise, warn or serialize"
    assert said in ran.stderr + ran.stdout
    assert ran.returncode not in (0, 66)
    assert "found" not in ran.stdout
