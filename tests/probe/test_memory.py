"""The memory that one run of the probe leaves to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inside import (
    Learnt,
    Memory,
    Pair,
    Place,
    ProbeFileError,
    State,
    Totals,
    from_document,
    load,
    save,
    to_document,
)

HERE, THERE = Place("/src/app.py", 1, "here"), Place("/src/app.py", 2, "there")
ROOT = Path("/src")


def pair(state: State = State.DANGEROUS, **known: Any) -> Pair:
    return Pair((HERE, THERE), state, **{"first_run": 1, **known})


def facts(pair: Pair) -> list[Any]:
    return [getattr(pair, name) for name in Pair.__slots__]


def test_there_and_back(tmp_path: Path) -> None:
    """A saved memory can be loaded in another folder too: files below the root are relative."""
    known = pair(State.FOUND, last_run=2, stalls=1, gaps=(0.5, None))
    outside = Pair((Place("", 0, "/rpc"), Place("/lib/x.py", 3, "f")), first_run=2)
    save(Memory(2, (known, outside)), tmp_path / "probe.json", ROOT)
    memory = load(tmp_path / "probe.json", Path("/elsewhere"))
    assert memory.runs == 2
    assert [pair.places for pair in memory.pairs] == [
        (Place("/elsewhere/app.py", 1, "here"), Place("/elsewhere/app.py", 2, "there")),
        outside.places,
    ]
    assert list(map(facts, load(tmp_path / "probe.json", ROOT).pairs)) == [
        facts(known),
        facts(outside),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def test_no_file(tmp_path: Path) -> None:
    """Without a file nothing is known."""
    assert load(tmp_path / "none.json") == Memory()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that cannot be read is an error."""
    with pytest.raises(ProbeFileError, match="Is a directory"):
        load(tmp_path)


GOOD = {
    "places": [{"file": "a", "line": 1, "function": "f"}] * 2,
    "state": "dangerous",
    "first_run": 1,
    "last_run": 1,
    "stalls": 0,
    "gaps": [None, None],
}


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[" * 100_000,
        "[]",
        "{}",
        '{"schema": "grpc-guard-report/1"}',
        '{"schema": "grpc-guard-probe/1", "runs": -1, "pairs": []}',
        '{"schema": "grpc-guard-probe/1", "runs": true, "pairs": []}',
        '{"schema": "grpc-guard-probe/1", "runs": 1, "pairs": [{}]}',
        *(
            json.dumps({"schema": "grpc-guard-probe/1", "runs": 1, "pairs": [{**GOOD, **wrong}]})
            for wrong in (
                {"state": "odd"},
                {"places": [{"file": 1, "line": 1, "function": "f"}] * 2},
                {"places": []},
                {"gaps": ["x", None]},
                {"gaps": []},
                {"gaps": [-1, None]},
                {"gaps": [10**400, None]},
                {"gaps": [float("nan"), None]},
                {"gaps": ["inf", None]},
                {"stalls": 10**400},
                {"more": 1},
            )
        ),
    ],
)
def test_a_foreign_file(content: str, tmp_path: Path) -> None:
    """A file that is corrupt, or not a probe file, is refused with a reason."""
    (tmp_path / "probe.json").write_text(content)
    with pytest.raises(
        ProbeFileError, match=r"not a file of the probe|is not 'grpc-guard-probe/1'"
    ):
        load(tmp_path / "probe.json")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A failed write leaves nothing behind."""
    (tmp_path / "probe.json").mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        save(Memory(), tmp_path / "probe.json")
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]


def test_merging_a_run() -> None:
    """A run adds what it has learnt, of which its processes may know different parts."""
    memory = Memory().merged([pair(), pair(State.SYNCHRONISED, stalls=3), pair(stalls=1)])
    assert memory.runs == 1
    assert [(known.state, known.stalls) for known in memory.pairs] == [(State.SYNCHRONISED, 3)]
    memory = memory.merged([pair(State.FOUND, last_run=2)])
    assert [(known.state, known.last_run) for known in memory.pairs] == [(State.FOUND, 2)]


def test_what_is_no_longer_near() -> None:
    """A pair that was not near for twenty runs is forgotten."""
    memory = Memory().merged([pair()])
    for _ in range(19):
        memory = memory.merged(memory.copies())
    assert (memory.runs, len(memory.pairs)) == (20, 1)
    assert memory.merged([]).pairs == ()


def test_copies() -> None:
    """A run learns on copies: that two have met is for that run alone."""
    known = pair(stalls=2, gaps=(0.1, None))
    known.has_met = True
    (copied,) = Memory(1, (known,)).copies()
    copied.note_gap(HERE, 0.2)
    assert (known.gaps, copied.has_met, copied.stalls) == ([0.1, None], False, 2)


def test_telling_another_process() -> None:
    """What a process has learnt can be told in JSON."""
    learnt = Learnt(Totals(3, 2, 1, 0.1), (pair(),))
    again = Learnt.read(json.loads(json.dumps(learnt.told())))
    assert again.totals == learnt.totals
    assert list(map(facts, again.pairs)) == list(map(facts, learnt.pairs))


def test_document_is_read_back() -> None:
    """A document without a root keeps the files as they are."""
    document = to_document(Memory(1, (pair(),)))
    assert from_document(document).pairs[0].places == (HERE, THERE)


def test_name() -> None:
    """A pair's name, of which its chances are drawn, does not depend on the folder."""
    assert pair().name == "app.py:1:here app.py:2:there"
