"""The guard's clock goes on while a library such as freezegun has stopped that of the program."""

from __future__ import annotations

import ast
import importlib.util
import runpy
import sys
import time
from pathlib import Path

import pytest
from inside import monotonic
from support.subjects import KINDS, Kind

import grpc_guard

FROZEN = 1.8e9  # freezegun counts seconds since 1970


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what freezegun does: replace the clock in each module that has it."""
    clock = time.monotonic
    for name, module in list(sys.modules.items()):
        if name == "time" or name.split(".")[0] == "grpc_guard":
            for key, value in list(vars(module).items()):
                if value is clock:
                    monkeypatch.setattr(module, key, lambda: FROZEN)
    assert time.monotonic() == FROZEN


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_collision_while_the_clock_is_frozen(kind: Kind, frozen, found):
    """The report says how long the owner has been inside: an hour at most, and not since 1970."""
    inside, arriving = kind.pairs[0]
    async with kind.open("raise") as subject:
        owner = await subject.begin(inside)
        with pytest.raises(grpc_guard.ConcurrencyError):
            await subject.do(arriving)
        subject.release()
        await owner
        await subject.rest()
    [finding] = found()
    assert 0.0 <= finding.owner.held_seconds < 3600


def test_clock_that_goes_on(frozen):
    """It is that of the machine, read by a function that no module of the program has."""
    assert monotonic() < FROZEN
    assert monotonic.__module__ == "time"


def test_clock_that_is_made_while_the_other_is_frozen(frozen):
    """A test may import the guard after it has stopped the clock."""
    spec = importlib.util.find_spec("grpc_guard._catalogue.clock")
    assert spec is not None
    assert spec.origin is not None
    assert runpy.run_path(spec.origin)["monotonic"]() < FROZEN


def modules_of_the_guard() -> list[Path]:
    spec = importlib.util.find_spec("grpc_guard")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    # Commands are processes of their own.
    return [one for one in folder.rglob("*.py") if "_cli" not in one.relative_to(folder).parts]


@pytest.mark.parametrize("path", modules_of_the_guard(), ids=lambda path: path.stem)
def test_no_module_reads_the_clock_of_the_program(path):
    """A wait that reads it would not end, and a thing that waits for a moment would seem stuck for years."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            assert "monotonic" not in [name.name for name in node.names]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("time", "monotonic")
