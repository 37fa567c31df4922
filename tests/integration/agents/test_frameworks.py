"""The programs of docs/examples/frameworks: they do what they say, and the guard finds nothing.

What is not installed is skipped: the extra ``agents`` has it all.
"""

from __future__ import annotations

import ast
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from inside import route_guide_pb2_grpc, service
from support.staging import PATIENCE

TOP = Path(__file__).parents[3]
EXAMPLES = TOP / "docs" / "examples" / "frameworks"
NAMES = [feature.name for feature in service.FEATURES]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Serve the route guide; return the environment in which a program finds it."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        route_guide_pb2_grpc.add_RouteGuideServicer_to_server(service.RouteGuide(), server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield os.environ | {"ROUTE_GUIDE": target, "PYTHONPATH": str(EXAMPLES)}
        finally:
            server.stop(None).wait(PATIENCE)


def guarded(
    environment: dict[str, str], *command: str, folder: Path = EXAMPLES
) -> tuple[list[str], str]:
    """Run `command` under the guard; return the lines it printed, and what stderr says."""
    process = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines(), process.stderr


def test_fastapi(environment: dict[str, str]) -> None:
    """An endpoint and a websocket share one channel of the loop."""
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")  # of which FastAPI's client is made
    program = str(TOP / "tests/programs/agents/frameworks.py")
    printed, told = guarded(environment, program, "fastapi")
    answers = [f"the ranger has read: {note}" for note in ("snow", "fog")]
    assert printed == [str(NAMES), *answers]
    assert "grpc_guard: 2 streams" in told
    assert "0 findings" in told


def test_django(environment: dict[str, str]) -> None:
    """Views share the channels of the process; an async view has one for each loop it runs on."""
    pytest.importorskip("django")
    program = str(TOP / "tests/programs/agents/frameworks.py")
    printed, told = guarded(environment, program, "django")
    assert [ast.literal_eval(line)["features"] for line in printed] == [NAMES] * 3
    assert "grpc_guard: 4 streams" in told
    assert "0 findings" in told


_ONE_TASK = """
import os, signal
from pathlib import Path
from celery.signals import task_success, worker_ready
from celery_tasks import app, count_features

worker_ready.connect(lambda **kwargs: count_features.delay(), weak=False)


@task_success.connect
def leave(result, **kwargs):
    Path("counted").write_text(str(result))
    os.kill(os.getppid(), signal.SIGTERM)  # a warm shutdown
"""


def test_celery(environment: dict[str, str], tmp_path: Path) -> None:
    """A task in a forked worker makes a stub there, and is guarded."""
    pytest.importorskip("celery")
    (tmp_path / "one_task.py").write_text(_ONE_TASK)
    worker = ("-m", "celery", "-A", "one_task", "worker", "--pool", "prefork", "--concurrency", "1")
    _, told = guarded(environment, *worker, folder=tmp_path)
    assert (tmp_path / "counted").read_text() == str(len(NAMES)), told
    assert "grpc_guard: 1 stream" in told
    assert "0 findings" in told


def test_metrics(environment: dict[str, str]) -> None:
    """Findings are a metric of Prometheus, with the rule as a label."""
    pytest.importorskip("prometheus_client")
    process = subprocess.run(
        [sys.executable, str(EXAMPLES / "metrics.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    last = process.stdout.splitlines()[-1]
    assert last == 'grpc_guard_findings_total{rule="concurrent-read",severity="error"} 1.0'


def test_datadog(environment: dict[str, str]) -> None:
    """The agent and the guard are switched on by one line each."""
    pytest.importorskip("ddtrace", exc_type=ImportError)
    for sender in ("TRACE", "INSTRUMENTATION_TELEMETRY", "REMOTE_CONFIGURATION"):
        environment[f"DD_{sender}_ENABLED"] = "false"  # there is no agent to send to
    printed, told = guarded(environment, str(EXAMPLES / "datadog.py"))
    assert printed == ["read: 12"]
    assert "0 findings" in told


def test_every_program_is_run() -> None:
    """Each program with a framework has a test here."""
    programs = {path.stem.partition("_")[0] for path in EXAMPLES.glob("*.py")}
    assert programs == {
        "celery",
        "datadog",
        "django",
        "fastapi",
        "gunicorn.conf",
        "metrics",
        "wsgi",
    }


def test_gunicorn(environment: dict[str, str], tmp_path: Path) -> None:
    """A worker that is forked from a preloaded application asks the server."""
    pytest.importorskip("gunicorn")
    path = str(tmp_path / "socket")
    options = ("-c", str(EXAMPLES / "gunicorn.conf.py"), "--workers", "1", "--bind", f"unix:{path}")
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "wsgi:app"],
        cwd=EXAMPLES,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any("Listening at" in line for line in process.stderr)  # or it has ended
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.read().decode().splitlines() == NAMES
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "Error" not in told
