"""The storm, a small one: what it counts, and that it says where something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import storm
from support.storm import Figure

TOP = Path(__file__).parents[2]
SMALL = {
    "interrupts": 3,
    "tracers": 3,
    "starts": 3,
    "handlers": 3,
    "cancellations": 1,
    "forks": 1,
    "streams": 100,
    "refusals": 40,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_small_storm(tmp_path: Path) -> None:
    """Every part runs, and all is as it has to be."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks: storm -->\n<!-- end -->\nafter\n")
    sizes = [text for part, size in SMALL.items() for text in (f"--{part}", str(size))]
    ran = subprocess.run(
        [sys.executable, "-m", "support.storm", *sizes, "--update", str(page)],
        cwd=TOP,
        env={**os.environ, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    assert {row.split(" | ")[0] for row in rows[1:]} == {f"| {part}" for part in SMALL}
    assert all(row in page.read_text() for row in rows)


@pytest.mark.parametrize(("count", "status"), [(0, 0), (1, 1)])
def test_what_is_not_as_it_has_to_be(
    count: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One wrong figure is enough for another exit status; one that may be anything is never wrong."""

    def part(size: int) -> list[Figure]:
        return [Figure("anything", size), Figure("lost", count, 0)]

    monkeypatch.setattr(storm, "PARTS", {part: 5})
    monkeypatch.setattr(sys, "argv", ["storm"])
    with pytest.raises(SystemExit) as ended:
        storm.main()
    assert ended.value.code == status
    assert capsys.readouterr().out.endswith(
        f"| part | anything | 5 |  |\n| part | lost | {count} | 0 |\n"
    )
