"""Launchers that fork workers or run the program themselves, under ``grpc-guard run``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.staging import PATIENCE

# A module that both take for an application: it prints when it is loaded, and ends the process.
_APP = """
import os, signal
import grpc, grpc_guard

print("guarded:", grpc_guard.is_enabled(), flush=True)


def app(environ, start_response):
    raise NotImplementedError


def leave(*args, **kwargs):
    os.kill({process}, signal.SIGTERM)
"""
_CELERY = """
import celery
from celery.signals import worker_ready

worker_ready.connect(leave)
app = celery.Celery("tasks", broker="memory://")
"""

COMMANDS = {
    "gunicorn": ("gunicorn", "--bind", "127.0.0.1:0", "--workers", "1", "app:app"),
    "celery": ("celery", "-A", "app", "worker", "--pool", "solo", "--concurrency", "1"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_launcher(name: str, tmp_path: Path) -> None:
    """What serves the program is guarded."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if name == "gunicorn":
        code = _APP.format(process="os.getppid()") + "\nleave()\n"
    else:
        code = _APP.format(process="os.getpid()") + _CELERY
    (tmp_path / "app.py").write_text(code)
    process = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", sys.executable, "-m", *COMMANDS[name]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert "guarded: True" in process.stdout, process.stderr
    assert "not guarded" not in process.stderr
