"""Output for a person: the same with and without rich; on a terminal, or on request."""

from __future__ import annotations

import io
import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import blocks, cli_console, cli_explain, cli_main, layout, looks, page, rule_named
from support.findings import FINDING
from support.staging import PATIENCE

PROGRAMS = Path(__file__).parents[1] / "programs"
COLOURED = looks.Look(60, has_colours=True)
COLLIDE = ["-c", "import asyncio, collision; asyncio.run(collision.collide())"]
RUN = ["-m", "grpc_guard", "run"]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without any setting."""
    for name in os.environ:
        if name.startswith(("GRPC_GUARD", "PYTHON")) or name.endswith("_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")


def bare(text: str) -> str:
    """Return `text` without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# Printers


def printed(*, by_rich: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the report of a finding and the page of a rule, in colours."""
    if not by_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = io.StringIO()
    report = [*blocks.of_finding(FINDING), *blocks.of_page(page(rule_named("wrong-loop")))]
    cli_console.show(report, stream, COLOURED)
    return stream.getvalue()


def test_rich_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both printers write the same lines, and colour the rule; only rich tells the words of Python."""
    pytest.importorskip("rich")
    rich = printed(by_rich=True, monkeypatch=monkeypatch)
    plain = printed(by_rich=False, monkeypatch=monkeypatch)
    assert bare(rich) == bare(plain) != plain != rich
    for text in (rich, plain):
        assert text.startswith("\x1b[1;31mconcurrent-read:\x1b[0m")
    await_in_colour = re.compile(r"\x1b\[[0-9;]*mawait\x1b")
    assert await_in_colour.search(rich)
    assert not await_in_colour.search(plain)


def test_rich_on_a_stream_that_cannot_encode_signs() -> None:
    """A character that cannot be encoded is replaced by a plain one."""
    pytest.importorskip("rich")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    cli_console.show([layout.Text((layout.Span("✗ ü", "red"),))], stream, COLOURED)
    assert bare(raw.getvalue().decode("ascii")) == "x ?\n"


# Commands


def test_explain_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is broken as it fits, without the signs of Markdown; in a file it has them."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli_main.main(["explain", "--color", "always", "wrong-loop"]) == 0
    shown = bare(sys.stdout.getvalue())  # type: ignore[attr-defined]
    assert shown.startswith("wrong-loop\n\n")
    assert max(map(len, shown.splitlines())) <= 60
    assert "```" not in shown
    stream = io.StringIO()
    assert cli_explain.explain("wrong-loop", stream, "never") == 0
    assert stream.getvalue() == page(rule_named("wrong-loop"))


def test_rules_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is as wide as the terminal."""
    stream = io.StringIO()
    assert cli_explain.list_rules(stream, "always") == 0
    assert max(map(len, bare(stream.getvalue()).splitlines())) <= 60


@pytest.mark.parametrize("command", [["rules"], ["explain", "wrong-loop"], ["demo"], ["run", "x"]])
def test_bad_colors(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad choice is a usage error that names where it was made, and what was meant."""
    choices = "is not a choice; use auto, always or never. Did you mean 'never'?"
    with pytest.raises(SystemExit) as left:
        cli_main.main([command[0], "--color", "nver", *command[1:]])
    assert left.value.code == 2
    assert f"error: argument --color: 'nver' {choices}" in capsys.readouterr().err
    monkeypatch.setenv("GRPC_GUARD_COLOR", "nver")
    with pytest.raises(SystemExit) as left:
        cli_main.main(command)
    assert left.value.code == 2
    assert f"error: GRPC_GUARD_COLOR: 'nver' {choices}" in capsys.readouterr().err


def test_the_nearest_option_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The error for a misspelt option or command names the one that was meant."""
    for argv, hint in (
        (["run", "--exitcode=3", "app.py"], "unrecognized arguments: --exitcode=3. Did you mean"),
        (["dump", "--jsn", "1"], "unrecognized arguments: --jsn. Did you mean '--json'?"),
        (["ruls"], "Did you mean 'rules'?"),
    ):
        with pytest.raises(SystemExit) as left:
            cli_main.main(argv)
        assert left.value.code == 2
        assert hint in capsys.readouterr().err


# Runs


def test_run_in_colours() -> None:
    """With --color always, report and summary fit COLUMNS and have colours, even in a pipe."""
    ran = subprocess.run(
        [sys.executable, *RUN, "--color", "always", "--", sys.executable, *COLLIDE],
        cwd=PROGRAMS,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    check_report(ran.stderr)
    assert ran.returncode == 66


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs POSIX")
def test_run_on_a_terminal() -> None:
    """On a terminal the same comes by itself."""
    ours, its = os.openpty()
    ran: Any = subprocess.Popen(
        [sys.executable, *RUN, "--", sys.executable, *COLLIDE],
        cwd=PROGRAMS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    told = b""
    try:
        while select.select([ours], [], [], PATIENCE)[0]:
            try:
                data = os.read(ours, 4096)
            except OSError:  # how Linux reports that no writer is left
                break
            if not data:
                break
            told += data
        assert ran.wait(PATIENCE) == 66
    finally:
        os.close(ours)
        ran.kill()
        ran.wait(PATIENCE)
    check_report(told.decode().replace("\r\n", "\n"))


def check_report(told: str) -> None:
    """See the report of one finding and the summary, in 60 columns and in colours."""
    assert told.startswith("\x1b[1;31mconcurrent-read:\x1b[0m \x1b[1mread by task 'reader-2' on")
    lines = bare(told).splitlines()
    assert max(map(len, lines)) <= 60
    assert [line for line in lines if line.startswith("    > ")] == [
        "    > 28 |     return await call.read()"
    ]
    assert "  concurrent-read (error)" in lines
    assert "\x1b[31mconcurrent-read (error)\x1b[0m" in told


# A standard output that takes nothing


class Broken(io.StringIO):
    """A file that raises the error when it is flushed."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    "argv", [("rules",), ("explain", "wrong-loop"), ("rules", "--color=never")]
)
@pytest.mark.parametrize(
    ("stdout", "said"),
    [
        (None, "grpc-guard {}: the standard output is closed\n"),
        (OSError(28, "No space left on device"), "grpc-guard {}: the standard output: No space left on device\n"),
        (BrokenPipeError(32, "Broken pipe"), ""),
    ],
    ids=["closed", "full", "left"],
)  # fmt: skip
def test_a_standard_output_that_takes_nothing(
    argv: tuple[str, ...],
    stdout: OSError | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is told in a line, and not where its reader wants no more, as ``head`` does."""
    monkeypatch.setattr(sys, "stdout", None if stdout is None else Broken(stdout))
    assert cli_main.main(argv) == 1
    assert sys.stdout is None  # what is left in it is not tried again at the end
    assert capsys.readouterr().err == said.format(argv[0])


@pytest.mark.parametrize("stderr", [None, Broken(OSError(28, "No space left on device"))])
def test_a_standard_error_that_takes_nothing(
    stderr: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said there is lost, and nothing else: it does not come to the standard output."""
    monkeypatch.setattr(sys, "stderr", stderr)
    assert cli_main.main(["explain", "nothing"]) == 2
    assert sys.stderr is None
    assert capsys.readouterr().out == ""
