"""Real agents beside the guard: every message, code and span as without it, and races are found.

Each conversation runs in a process of its own, tests/programs/agents/chat.py, with the agent's
writers sending nothing. What is not installed is skipped: the extra ``agents`` has them all.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from support.staging import PATIENCE

PROGRAMS = Path(__file__).parents[2] / "programs" / "agents"
SCRIPTS = sysconfig.get_path("scripts")

_spec = importlib.util.spec_from_file_location("setups", PROGRAMS / "setups.py")
assert _spec is not None
assert _spec.loader is not None
setups: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setups)

# What has to be importable, and the agent's own launcher, if it has one.
MODULES = {
    "ddtrace": "ddtrace",
    "sentry": "sentry_sdk",
    "newrelic": "newrelic",
    "elasticapm": "elasticapm",
    "opentelemetry": "opentelemetry.instrumentation.grpc",
    "logfire": "logfire",
    "prometheus": "py_grpc_prometheus",
}
LAUNCHERS = {
    "ddtrace": ("ddtrace-run",),
    "newrelic": ("newrelic-admin", "run-program"),
    "elasticapm": ("elasticapm-run",),
    "opentelemetry": ("opentelemetry-instrument",),
}
GUARD = (sys.executable, "-m", "grpc_guard", "run")


def needs(agent: str) -> None:
    try:
        found = importlib.util.find_spec(MODULES[agent])
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{MODULES[agent]} is not installed")


def chat(agent: str, order: str, *launchers: str) -> Any:
    """Run the conversation; return what it told."""
    process = subprocess.run(
        [*launchers, sys.executable, str(PROGRAMS / "chat.py"), agent, order],
        env=os.environ
        | {"GRPC_VERBOSITY": "NONE", "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
        | setups.ENVIRONMENT.get(agent, {}),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    told = [line for line in process.stdout.splitlines() if line.startswith("RESULT")]
    assert len(told) == 1, process.stderr
    return json.loads(told[0].removeprefix("RESULT"))


@functools.cache
def plain(agent: str, order: str = "never", *launchers: str) -> Any:
    """Return what the conversation tells without the guard."""
    told = chat(agent, order, *launchers)
    assert not told["guarded"]
    assert told["sync"]["spans"]
    return told


def launcher_of(agent: str) -> tuple[str, ...]:
    program, *arguments = LAUNCHERS[agent]
    found = shutil.which(program, path=SCRIPTS)
    assert found is not None
    return (found, *arguments)


def check(agent: str, told: Any, expected: Any) -> None:
    assert told["guarded"]
    assert told["false"] == []
    for style in ("sync", "aio"):
        if style not in expected:
            continue
        assert told[style]["seen"] == expected[style]["seen"]
        assert told[style]["spans"] == expected[style]["spans"]
        readers = ("first_reader", "second_reader") if style == "sync" else (
            "first_task", "second_task"
        )  # fmt: skip
        _, found = told[f"{style} race"]
        assert found == [["concurrent-read", *(["chat.py", reader] for reader in readers)]]


@pytest.mark.parametrize("order", ["first", "last", "run"])
@pytest.mark.parametrize("agent", MODULES)
def test_agent(agent: str, order: str) -> None:
    """The guard goes on before the agent, after it, or by ``grpc-guard run``."""
    needs(agent)
    told = chat(agent, "never", *GUARD) if order == "run" else chat(agent, order)
    check(agent, told, plain(agent))


@pytest.mark.parametrize("nesting", ["around", "inside"])
@pytest.mark.parametrize("agent", LAUNCHERS)
def test_launcher(agent: str, nesting: str) -> None:
    """``grpc-guard run`` works around the agent's own launcher, and inside it."""
    needs(agent)
    if agent == "opentelemetry":  # whose launcher configures by the distribution's settings
        pytest.importorskip("opentelemetry.distro")
    launcher = launcher_of(agent)
    order = (*GUARD, *launcher) if nesting == "around" else (*launcher, *GUARD)
    check(agent, chat(agent, "launched", *order), plain(agent, "launched", *launcher))


def test_import_after_the_agents_watchdog() -> None:
    """``import grpc`` works after both, the agent and the guard, have hooked imports."""
    needs("ddtrace")
    code = (
        "import ddtrace.auto, grpc_guard, sys; grpc_guard.enable(); "
        "assert 'grpc' not in sys.modules; "
        "import grpc._channel; start = grpc._channel._UnaryStreamMultiCallable.__call__; "
        "print(start.__code__.co_filename)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | setups.ENVIRONMENT["ddtrace"],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert process.stdout.rstrip().endswith("patches.py"), process.stderr
