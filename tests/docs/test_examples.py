"""The programs of docs/examples, each run as a program, with all that it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.staging import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

PRINTED = {
    "helloworld": """\
Hello, Ada!
Hello, Edsger!
Hello, Grace!
Hello, Alan!
Hello, Barbara!
Hello, Donald!
Hello, Frances!
Hello, Ken!
8 RPCs, 1 channel, 1 connection seen by the server
""",
    "multiplex": """\
echo: first
greeter: Hello, Ada
echo: hello again
same connection: True
echo: last
3 RPCs of two services on one channel
""",
    "route_guide": """\
one in, one out: Old Mill
one in, many out: Old Mill, Stone Bridge
many in, one out: 10 points, 2 features
many in, many out:
chat: noted: snow on the pass
chat: noted: hut is open
chat: noted: nice view
""",
}


@pytest.mark.parametrize("program", ["threads", "tasks"])
@pytest.mark.parametrize("example", PRINTED)
def test_running_an_example(example: str, program: str) -> None:
    """It prints what it should, warns of nothing, and leaves nothing for the guard to report."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / example / f"{program}.py")],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == (PRINTED[example], "", 0)


def test_the_examples_are_all_run() -> None:
    """Each folder with such a program has both, and is run here; test_docs_examples.py has the rest."""
    for program in ("threads", "tasks"):
        folders = sorted(path.parent.name for path in EXAMPLES.glob(f"*/{program}.py"))
        assert folders == sorted(PRINTED)
