"""The public names are typed: typed code that uses them passes mypy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import grpc_guard

PROGRAM = Path(__file__).with_name("public_api.py")
ROOT = Path(__file__).parents[2]


def test_using_every_public_name() -> None:
    """The typed program imports every public name."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "grpc_guard"
        for alias in node.names
    }
    assert imported == set(grpc_guard.__all__)


def test_checking_typed_code(tmp_path: Path) -> None:
    """mypy --strict finds nothing in it, wrong uses included."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    options = [f"--cache-dir={tmp_path}", f"--config-file={ROOT / 'pyproject.toml'}", str(PROGRAM)]
    options += ["--no-error-summary"]
    ran = subprocess.run(
        command + options, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)
