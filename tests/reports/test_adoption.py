"""Adoption: the allow-list that people write, and the baseline that the guard writes."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import (
    CONCURRENT_READ,
    CONCURRENT_WRITE,
    RULES,
    Adoption,
    AdoptionError,
    Allowed,
    Frame,
    Known,
    Merged,
    allowed_from,
    allowed_from_line,
    allowed_in_pyproject,
    read_baseline,
    read_if_there,
)
from support.staging import PATIENCE

from grpc_guard import Finding, Owner

ROOT = Path("/project").absolute()
CHOICES = f"{', '.join(sorted(RULES))} or *"


def party(site: str | None) -> Owner:
    """Return a party at `site`, a file below the root and a function, or nowhere."""
    if site is None:
        return Owner("thread", "t", "next")
    file, _, function = site.partition(":")
    return Owner("thread", "t", "next", None, (Frame(str(ROOT / file), 7, function, ""),))


def finding(caller: str | None = "a.py:read", owner: str | None = "b.py:loop", **more: Any) -> Any:
    values: dict[str, Any] = {
        "rule": CONCURRENT_READ,
        "severity": "error",
        "rpc": "/x.Y/Z",
        "side": "client",
        "api": "sync",
        "message": "concurrent-read: …",
        "remedy": "",
        "caller": party(caller),
        "owner": party(owner),
    }
    return Finding(**{**values, **more})


# The allow-list


@pytest.mark.parametrize(
    ("rule", "site", "matches"),
    [
        ("concurrent-read", "a.py", True),
        ("concurrent-read", "a.py:read", True),
        ("concurrent-read", "b.py:loop", True),  # the owner's site counts as well
        ("concurrent-read", "*:read", True),
        ("*", "?.py", True),
        ("*", "*", True),
        ("concurrent-write", "a.py", False),
        ("concurrent-read", "a.py:write", False),
        ("concurrent-read", "A.py", False),
        ("concurrent-read", str(ROOT / "a.py"), False),  # names are relative to the root
    ],
)
def test_allowed(rule: str, site: str, matches: bool) -> None:
    """An entry matches by rule, and by a pattern for the file or file:function of either party."""
    assert Allowed(rule, site, "why").matches(finding(), ROOT) is matches


def test_allowed_without_a_site() -> None:
    """A finding without any line of the program is matched by no pattern, not even by *."""
    assert not Allowed("*", "*", "why").matches(finding(None, None), ROOT)


def test_lines_of_the_allow_list() -> None:
    """Entries that were used are counted, those that were not are reported as removable."""
    used, unused = Allowed("*", "a.py", "why"), Allowed("wrong-loop", "a.py:f", "because")
    adoption = Adoption(ROOT, [used, unused])
    findings = [finding(count=2), finding("a.py:other")]
    assert not any(map(adoption.is_new, findings))
    assert adoption.excuse(findings[0]) == "why"
    assert adoption.excuse(finding("c.py:f", None)) is None
    assert list(adoption.lines(findings)) == [
        "allowed, 3x: * at a.py (why)",
        "allowed but not found, removable from the allow-list: wrong-loop at a.py:f (because)",
    ]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("text", "the allow-list must be a list of tables"),
        (["text"], "entry 1: an entry has a rule, a site and a reason, each a text"),
        (
            [{"rule": "*", "site": "*", "reason": "why"}, {"rule": "*", "site": "*"}],
            "entry 2: an entry has a rule, a site and a reason, each a text",
        ),
        (
            [{"rule": "*", "site": "*", "reason": " "}],
            "entry 1: an entry has a rule, a site and a reason, each a text",
        ),
        (
            [{"rule": "*", "site": 1, "reason": "why"}],
            "entry 1: an entry has a rule, a site and a reason, each a text",
        ),
        (
            [{"rule": "*", "site": "*", "reason": "why", "more": "x"}],
            "entry 1: an entry has a rule, a site and a reason, each a text",
        ),
        (
            [{"rule": "race", "site": "*", "reason": "why"}],
            f"entry 1: 'race' is not a rule; use {CHOICES}",
        ),
    ],
)
def test_bad_allow_list(entries: object, said: str) -> None:
    """A mistake in an allow-list names its source, the entry and what an entry is."""
    with pytest.raises(AdoptionError) as caught:
        allowed_from(entries, "here")
    assert str(caught.value).removeprefix("here").lstrip(":, ") == said


def test_line_of_an_ini_file() -> None:
    """In an ini file, an entry is a line whose reason goes to its end."""
    expected = Allowed("concurrent-read", "a.py:read", "a lock of its own, see there")
    line = "concurrent-read  a.py:read a lock of its own, see there"
    assert allowed_from_line(line, "here") == expected
    with pytest.raises(AdoptionError, match=r"^here: '\* a\.py': an entry has a rule"):
        allowed_from_line("* a.py", "here")


def pyproject(folder: Path, content: str) -> list[Allowed]:
    (folder / "pyproject.toml").write_text(content)
    return allowed_in_pyproject(folder)


def test_allow_list_in_pyproject(tmp_path: Path) -> None:
    """The allow-list is tool.grpc_guard.allow; without it, nothing is allowed."""
    assert allowed_in_pyproject(tmp_path) == []
    assert pyproject(tmp_path, "[project]\ndependencies = ['grpc_guard']") == []
    assert pyproject(tmp_path, "# no tool.grpc_guard here") == []
    assert pyproject(tmp_path, "[tool.grpc_guard]") == []
    content = "[[tool.grpc_guard.allow]]\nrule = '*'\nsite = 'a.py'\nreason = 'why'\n"
    assert pyproject(tmp_path, content) == [Allowed("*", "a.py", "why")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[tool.grpc_guard", ": Expected "),
        ("tool = 1 # tool.grpc_guard", ": "),
        ("[tool]\ngrpc_guard = 'x' # tool.grpc_guard", ", tool.grpc_guard: 'x' is not a table"),
        ("[tool.grpc_guard]\nallow = " + "[" * 100_000, ": nested too deeply"),
        ("[tool.grpc_guard]\nalow = []", ", tool.grpc_guard: 'alow' is not a setting; use allow"),
        (
            "[[tool.grpc_guard.allow]]\nrule = '*'",
            ", tool.grpc_guard.allow, entry 1: an entry has a rule, a site and a reason",
        ),
    ],
)
def test_bad_pyproject(content: str, said: str, tmp_path: Path) -> None:
    """A mistake in pyproject.toml names the file and the table."""
    with pytest.raises(AdoptionError) as caught:
        pyproject(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'pyproject.toml'}{said}")


def test_pyproject_that_cannot_be_read(tmp_path: Path) -> None:
    """One that is no file at all is named."""
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(AdoptionError, match=r"pyproject\.toml: "):
        allowed_in_pyproject(tmp_path)


# The baseline


def test_baseline_survives_the_file(tmp_path: Path) -> None:
    """What is written and read back excuses the same findings, and no others."""
    file = tmp_path / "baseline.json"
    findings = [finding(), finding(None, None, rpc="/q"), finding("c.py:f", None)]
    Merged.of([], Adoption(ROOT).to_write(findings), removes=True).write(file)
    adoption = Adoption(ROOT, known=read_baseline(file, "--baseline"))
    assert [adoption.excuse(each) for each in findings] == ["known from the baseline"] * 3
    assert adoption.is_new(finding("c.py:g"))
    assert json.loads(file.read_text()) == {
        "schema": "grpc-guard-baseline/1",
        "findings": [
            {"rule": "concurrent-read", "rpc": "/q", "side": "client", "sites": []},
            {
                "rule": "concurrent-read",
                "rpc": "/x.Y/Z",
                "side": "client",
                "sites": ["a.py:read", "b.py:loop"],
            },
            {"rule": "concurrent-read", "rpc": "/x.Y/Z", "side": "client", "sites": ["c.py:f"]},
        ],
    }


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        (finding("b.py:loop", "a.py:read"), True),  # which party comes first is a matter of luck
        (finding("a.py:read", None), True),  # the owner had left by the time it was looked for
        (finding(test="tests/test_x.py::test_y", count=9), True),
        (finding(None, None), False),  # no line tells no race from another
        (finding("a.py:read", "a.py:read"), False),
        (finding("a.py:read", "c.py:loop"), False),
        (finding(rule=CONCURRENT_WRITE), False),
        (finding(rpc="/x.Y/Other"), False),
        (finding(side="server"), False),
    ],
)
def test_known(seen: Finding, known: bool) -> None:
    """A finding is known by rule, RPC, side and the sites of both parties in any order."""
    adoption = Adoption(ROOT, known=Adoption(ROOT).to_write([finding()]))
    assert adoption.is_new(seen) is not known


def test_no_line_is_like_no_line_only() -> None:
    """An entry without a line matches a finding without one and nothing else, and is said."""
    lineless = Known("concurrent-read", "/x.Y/Z", "client", ())
    adoption = Adoption(ROOT, known=[lineless])
    assert not adoption.is_new(finding(None, None))
    assert adoption.is_new(finding())
    assert adoption.is_new(finding(None, "b.py:loop"))
    assert list(adoption.lines([finding(None, None)])) == [
        "known from the baseline: 1",
        "the baseline has 1 entry without a line, which match only findings without a line",
    ]
    assert str(lineless) == "concurrent-read on /x.Y/Z (client): no line"


def test_what_no_line_can_show() -> None:
    """An entry is one line whatever its content."""
    strange = Known("concurrent-read", "/\n\x1b[31m\ud800", "client", ("ä.py:f",))
    assert str(strange) == r"concurrent-read on /\n\x1b[31m\ud800 (client): ä.py:f"


def test_lines_where_not_all_ran() -> None:
    """If not everything ran, no entry is called removable: their number is printed, and why."""
    gone = Known("concurrent-write", "/q", "server", ("c.py:f", "c.py:g"))
    adoption = Adoption(ROOT, [Allowed("*", "d.py", "why")], [Known.of(finding(), ROOT), gone])
    assert list(adoption.lines([finding()], "tests were deselected")) == [
        "known from the baseline: 1",
        "not found: 2 entries; whether they can be removed is not known: tests were deselected",
    ]
    assert next(adoption.lines([finding(), finding("d.py:f")])).startswith("allowed, 1x: ")


BOTH, LEFT, OTHER, LINELESS = (
    Known("concurrent-read", "/q", "client", sites)
    for sites in (("a.py:f", "b.py:g"), ("a.py:f",), ("c.py:h",), ())
)


@pytest.mark.parametrize(
    ("before", "found", "removes", "entries", "added", "removed"),
    [
        ([], [BOTH], True, [BOTH], [BOTH], []),
        ([BOTH], [BOTH], True, [BOTH], [], []),
        ([BOTH], [LEFT], True, [BOTH], [], []),  # seen with a party less
        ([], [LEFT, BOTH], True, [BOTH], [BOTH], []),
        ([LEFT], [BOTH], True, [BOTH], [BOTH], [LEFT]),
        ([BOTH], [OTHER], True, [OTHER], [OTHER], [BOTH]),
        ([BOTH], [OTHER], False, [BOTH, OTHER], [OTHER], []),  # not all ran
        ([LINELESS], [BOTH], True, [BOTH], [BOTH], [LINELESS]),
        ([BOTH], [LINELESS], False, [BOTH, LINELESS], [LINELESS], []),
        ([BOTH, OTHER], [], False, [BOTH, OTHER], [], []),
    ],
)
def test_merging(
    before: list[Known],
    found: list[Known],
    removes: bool,
    entries: list[Known],
    added: list[Known],
    removed: list[Known],
) -> None:
    """What was found is added once; what was not found goes only where everything ran."""
    merged = Merged.of(before, found, removes=removes)
    assert (merged.entries, merged.added, merged.removed) == (entries, added, removed)


def test_lines_of_merging() -> None:
    """Each entry that came or went is said."""
    assert list(Merged.of([BOTH], [OTHER], removes=True).lines(Path("known.json"))) == [
        "baseline written to known.json: 1 entry",
        "  added: concurrent-read on /q (client): c.py:h",
        "  removed, as it was not found: concurrent-read on /q (client): a.py:f against b.py:g",
    ]


@pytest.mark.parametrize("content", [None, b""])
def test_no_baseline_to_merge_into(content: bytes | None, tmp_path: Path) -> None:
    """A file that is missing or empty has no entries; what is in any other must be read."""
    file = tmp_path / "baseline.json"
    if content is not None:
        file.write_bytes(content)
    assert read_if_there(file, "--write-baseline") == []
    file.write_text("{}")
    with pytest.raises(AdoptionError, match="^--write-baseline: .*: not a baseline file"):
        read_if_there(file, "--write-baseline")


def test_baseline_holds_errors_that_are_not_allowed() -> None:
    """Warnings never fail, and what is allowed has a reason of its own: both stay out."""
    allowed = Allowed("*", "c.py", "why")
    adoption = Adoption(ROOT, [allowed], [Known("wrong-loop", "/q", "client", ("a.py:f",))])
    found = adoption.to_write([finding(), finding("c.py:f"), finding(severity="warning")])
    assert found == [Known.of(finding(), ROOT)]
    new = adoption.with_known(found)
    assert new.excuse(finding("c.py:f")) == "why"


def test_lines_of_the_baseline() -> None:
    """Known findings are counted, and those that are gone are reported as removable."""
    gone = Known("concurrent-write", "/q", "server", ("c.py:f", "c.py:g"))
    adoption = Adoption(ROOT, known=[Known.of(finding(), ROOT), gone])
    assert list(adoption.lines([finding(), finding(count=3)])) == [
        "known from the baseline: 1",
        (
            "known but not found, removable from the baseline: "
            "concurrent-write on /q (server): c.py:f against c.py:g"
        ),
    ]
    assert len(list(adoption.lines([]))) == 2


ENTRY = dataclasses.asdict(Known("concurrent-read", "/q", "client", ("a.py:f",)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not a baseline file ("),
        (b"{", "not a baseline file ("),
        (b"[]", "not a baseline file ("),
        (b"{}", "not a baseline file ('schema')"),
        (b'{"schema": "grpc-guard-report/1"}', "schema 'grpc-guard-report/1' is not 'grpc-"),
        (b'{"schema": "grpc-guard-baseline/1"}', "not a baseline file ('findings')"),
        (
            json.dumps({"schema": "grpc-guard-baseline/1", "findings": [{}]}).encode(),
            "not a baseline file (",
        ),
        (
            json.dumps(
                {"schema": "grpc-guard-baseline/1", "findings": [ENTRY | {"sites": [1]}]}
            ).encode(),
            "not a baseline file (rule, rpc, side and sites are texts)",
        ),
        (None, "No such file or directory"),
        (b"[" * 100_000, "not a baseline file (nested too deeply)"),
        (b'{"schema": NaN}', "not a baseline file (NaN is not a number of JSON)"),
        (b'{"schema": 1e400}', "not a baseline file (1e400 is too large a number)"),
        (b'{"schema": 1' + b"0" * 400 + b"}", f"schema 1{'0' * 79} is not 'grpc-"),
        (b'{"schema": 1' + b"0" * 9000 + b"}", "not a baseline file ("),
        (b'{"schema": "' + b"x" * 9000 + b'"}', f"schema '{'x' * 79} is not 'grpc-"),
        (
            json.dumps(
                {"schema": "grpc-guard-baseline/1", "findings": [ENTRY | {"sites": "a.py:f"}]}
            ).encode(),
            "not a baseline file (rule, rpc, side and sites are texts)",
        ),
    ],
)
def test_bad_baseline(content: bytes | None, said: str, tmp_path: Path) -> None:
    """A baseline that is missing, corrupt or another kind of file is named."""
    file = tmp_path / "baseline.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AdoptionError) as caught:
        read_baseline(file, "--baseline")
    assert str(caught.value).startswith(f"--baseline: {file}: {said}")
    assert len(str(caught.value)) < 500


# grpc-guard run

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with a program that breaks the contract once."""
    for name in ("endings.py", "collision.py"):
        (tmp_path / name).write_bytes((PROGRAMS / name).read_bytes())
    monkeypatch.delenv("GRPC_GUARD", raising=False)
    return tmp_path


def launch(project: Path, *options: str) -> tuple[int, str, list[str]]:
    """Run the program; return its status, what is said before the summary, and the summary."""
    process = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", *options, "endings.py", "return"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said, found, summary = process.stderr.partition("grpc_guard: ")
    # How many messages the server has sent when its client leaves is grpcio's own race.
    summary = re.sub(r"and \d+ operations", "and some operations", found + summary)
    return process.returncode, said, summary.splitlines()


def test_run_with_a_baseline(project: Path) -> None:
    """A baseline that a run writes makes the next one succeed; its report marks what is known."""
    status, _, summary = launch(project, "--write-baseline", "known.json")
    guarded = "grpc_guard: 2 streams and some operations guarded"
    known = [f"{guarded}, 0 findings", "  known from the baseline: 1"]
    assert (status, summary) == (
        0,
        [
            *known,
            "  baseline written to known.json: 1 entry",
            (
                "    added: concurrent-read on /test.Program/Numbers (client): "
                "collision.py:read against collision.py:read"
            ),
        ],
    )
    status, said, summary = launch(project, "--baseline", "known.json", "--report", "r.sarif")
    assert (status, summary) == (0, known)
    assert said.startswith("concurrent-read: ")
    (result,) = json.loads((project / "r.sarif").read_text())["runs"][0]["results"]
    assert result["suppressions"] == [
        {"kind": "external", "justification": "known from the baseline"}
    ]


def test_run_with_an_allow_list(project: Path) -> None:
    """The allow-list of the pyproject.toml in the current folder counts for a run as well."""
    entry = '[[tool.grpc_guard.allow]]\nrule = "{}"\nsite = "collision.py:read"\nreason = "why"\n'
    (project / "pyproject.toml").write_text(
        entry.format("concurrent-read") + entry.format("wrong-loop")
    )
    status, _, summary = launch(project)
    assert status == 0
    assert summary == [
        "grpc_guard: 2 streams and some operations guarded, 0 findings",
        "  allowed, 1x: concurrent-read at collision.py:read (why)",
        (
            "  not found: 1 entry; whether they can be removed is not known: "
            "a run of one program need not find all"
        ),
    ]


def test_run_that_merges(project: Path) -> None:
    """A run adds to the baseline that is there, and takes nothing away: it need not find all."""
    gone = {"rule": "concurrent-write", "rpc": "/q", "side": "client", "sites": ["a.py:f"]}
    file = project / "known.json"
    file.write_text(json.dumps({"schema": "grpc-guard-baseline/1", "findings": [gone]}))
    file.chmod(0o640)
    link = project / "link.json"
    link.symlink_to(file)
    status, _, summary = launch(project, "--write-baseline", "link.json")
    assert status == 0
    assert summary[2:4] == [
        (
            "  not found: 1 entry; whether they can be removed is not known: "
            "a run of one program need not find all"
        ),
        "  baseline written to link.json: 2 entries",
    ]
    assert len(json.loads(file.read_text())["findings"]) == 2
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)
    assert {path.name for path in project.glob("*.part")} == set()


def test_run_that_cannot_merge(project: Path) -> None:
    """A file that is no baseline is said at start and left; one that is broken on the way, at the end."""
    file = project / "known.json"
    file.write_text("{}")
    status, said, _ = launch(project, "--write-baseline", "known.json")
    assert (status, file.read_text()) == (2, "{}")
    assert said.startswith("grpc-guard run: --write-baseline: known.json: not a baseline file (")
    file.unlink()
    (project / "endings.py").write_text("open('known.json', 'w').write('{}')\nimport grpc")
    status, _, summary = launch(project, "--write-baseline", "known.json")
    assert (status, file.read_text()) == (0, "{}")
    assert summary[0].startswith("grpc_guard: --write-baseline: known.json: not a baseline file (")
    assert summary[0].endswith("; it is left as it is")


def test_run_with_a_bad_allow_list(project: Path) -> None:
    """A mistake in the allow-list is said at start."""
    (project / "pyproject.toml").write_text('[tool.grpc_guard]\nallow = "all"')
    status, said, summary = launch(project)
    assert (status, summary) == (2, [])
    assert said.startswith("grpc-guard run: ")
    assert said.endswith("tool.grpc_guard.allow: the allow-list must be a list of tables\n")
