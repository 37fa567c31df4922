"""Reports for a person: they fit the terminal, have their lines of source, and colours where wanted."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from pathlib import Path

import pytest
from inside import RULES, Frame, blocks, layout, looks, page
from support.findings import CALLER, FINDING, OWNER, ROOT

from grpc_guard import Finding, Rule

DEEP = str(ROOT.joinpath(*(f"package_{number}" for number in range(9)), "handlers.py"))
LONG = Frame(DEEP, 1234, "consume", f"message = await {'call.' * 30}read(timeout=1, of='all')")
SAMPLES: dict[str, Finding] = {
    "usual": FINDING,
    "without an owner": dataclasses.replace(FINDING, owner=None),
    "without a line": dataclasses.replace(FINDING, caller=dataclasses.replace(CALLER, stack=())),
    "long names": dataclasses.replace(
        FINDING,
        message=f"concurrent-read: read by task '{'reader' * 30}' on {'/package.name' * 9}/Chat: …",
        caller=dataclasses.replace(CALLER, stack=(LONG,), started_at=LONG),
    ),
    "wide letters": dataclasses.replace(
        FINDING, message="concurrent-read: " + "読む 書く " * 20, remedy="z\u030c" * 99
    ),
    "advice": dataclasses.replace(FINDING, severity="advice"),
    "warning": dataclasses.replace(FINDING, severity="warning"),
}


def shown(finding: Finding, width: int, *, has_colours: bool = False) -> str:
    return looks.text_of(blocks.of_finding(finding), looks.Look(width, has_colours))


# What is shown


def test_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parties have their lines, with those around the last one; the whole, in 60 columns."""
    monkeypatch.chdir(tmp_path)
    source = "class Chat:\n    async def read(self):\n\tmessage = next(call)\n        return\n"
    (tmp_path / "app.py").write_text(source)
    inner = Frame(str(tmp_path / "app.py"), 3, "read", "message = next(call)")
    outer = Frame(str(tmp_path / "app.py"), 1, "<module>", "class Chat:")
    start = Frame(str(tmp_path / "start.py"), 1, "main", "")
    owner = dataclasses.replace(
        OWNER, stack=(outer, inner), relation="awaited-by", started_at=start
    )
    caller = dataclasses.replace(CALLER, stack=(inner,))
    assert shown(dataclasses.replace(FINDING, owner=owner, caller=caller), 60).splitlines() == [
        "concurrent-read: next by thread 'reader-2' on /x.Y/Z",
        "  (client, sync) refused: …",
        "",
        "  owner: task 'reader-1' in read for 250 ms, awaited by",
        "    app.py:1 in <module>",
        "    > 1 | class Chat:",
        "    app.py:3 in read",
        "      2 | async def read(self):",
        "    > 3 | message = next(call)",
        "      4 |     return",
        "    started at start.py:1",
        "",
        "  caller: thread 'reader-2' in next",
        "    app.py:3 in read (as above)",
        "",
        "  without the guard: the second reader gets 'ValueError:",
        "    Internal gRPC call error 8', and messages can go to the",
        "    wrong reader",
        "",
        "  how to fix it: let one read",
        "",
        "  rule: concurrent-read (a read began while another of the",
        "    same stream was in progress)",
        "  more: grpc-guard explain concurrent-read",
    ]


def test_source_that_has_changed(tmp_path: Path) -> None:
    """Where the file says something else by now, the line is shown as it was, alone."""
    (tmp_path / "app.py").write_text("one\ntwo\nthree\n")
    frame = Frame(str(tmp_path / "app.py"), 2, "read", "message = next(call)")
    finding = dataclasses.replace(
        FINDING, owner=None, caller=dataclasses.replace(CALLER, stack=(frame,))
    )
    code = [line for line in shown(finding, 80).splitlines() if " | " in line]
    assert code == ["    > 2 | message = next(call)"]


def test_source_that_is_nowhere() -> None:
    """A line with unknown source is shown by its place alone."""
    caller = dataclasses.replace(CALLER, stack=(Frame("<string>", 3, "read", ""),))
    printed = shown(dataclasses.replace(FINDING, owner=None, caller=caller), 80)
    assert "    <string>:3 in read\n\n" in printed


def test_a_working_directory_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are then named as they are."""

    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert "    /lib/grpc_app.py:9 in consume\n" in shown(FINDING, 80)


# Width


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_width(sample: str) -> None:
    """No line is wider than it may be, no word is lost, and those that fit are whole."""
    finding = SAMPLES[sample]
    for width in range(looks.NARROWEST, looks.WIDEST + 1, 7):
        printed = shown(finding, width)
        assert max(map(layout.columns, printed.splitlines())) <= width
        assert f"grpc-guard explain {finding.rule}" in " ".join(printed.split())
        for word in finding.message.split():
            if layout.columns(word) <= width - 2:
                assert word in printed.split()


def test_columns_of_letters() -> None:
    """Letters of the East take two columns, accents that join the letter before none."""
    assert [layout.columns(text) for text in ("abc", "読む", "z\u030c", "…")] == [3, 4, 1, 1]


def test_paths_lose_their_beginning() -> None:
    """A path that is too long loses its beginning, up to a folder if most of it remains."""
    assert layout.shortened("/work/project/app/main.py:12", 20) == "…/app/main.py:12"
    assert layout.shortened("(/work/project/app/main.py:12", 20) == "(…/app/main.py:12"
    assert layout.shortened("/a.package.Service/Method", 20) == "…kage.Service/Method"
    assert layout.shortened("/work/" + "x" * 40, 20) == "…" + "x" * 19


def test_addresses_keep_their_beginning() -> None:
    """The address of a page goes on in the next line."""
    text = layout.Text((layout.Span("see https://example.org/a/page/with/a/long/name"),), hang=0)
    lines = ["".join(span.text for span in line) for line in text.lines(20)]
    assert lines == ["see", "https://example.org/", "a/page/with/a/long/n", "ame"]


def test_columns_side_by_side_and_below_each_other() -> None:
    """Cells with room stand side by side; without, below each other and further in."""
    cells = tuple((layout.Text((layout.Span(text),)),) for text in ("one", "two and three", "四"))
    table = layout.Columns(cells, (6, 9, 40))

    def lines(width: int) -> list[str]:
        return ["".join(span.text for span in line).rstrip() for line in table.lines(width)]

    assert lines(60) == ["one     two and    四", "          three"]
    assert lines(30) == ["one", "  two and three", "  四"]


def test_code_is_broken_at_spaces() -> None:
    """A long line of source goes on further in, below its margin; a word without end is broken."""
    rows = (
        layout.Row(8, "gather(one(1),two(2),any(3))"),
        layout.Row(9, "    for name in names:"),
        layout.Row(10, "x" * 30, is_site=True),
    )
    lines = ["".join(span.text for span in line) for line in layout.Code(rows).lines(24)]
    assert lines == [
        "   8 | gather(one(1),",
        "     |   two(2),any(3))",
        "   9 |     for name in",
        "     |       names:",
        "> 10 | xxxxxxxxxxxxxxxxx",
        "     |   xxxxxxxxxxxxx",
    ]


# Pages and summaries


@pytest.mark.parametrize("rule", RULES.values(), ids=str)
def test_a_page_loses_no_word(rule: Rule) -> None:
    """The page of each rule has, in any width, all of its words but for the signs of Markdown."""
    whole = page(rule)

    def words(text: str) -> str:
        return "".join(character for character in text if character.isalnum())

    expected = words(whole.replace("```python", ""))
    for width in (40, 77, 200):
        printed = looks.text_of(blocks.of_page(whole), looks.Look(width, has_colours=False))
        assert words(printed.replace("…", "")) == expected
        assert max(map(len, printed.splitlines())) <= width


def test_a_summary_in_colours() -> None:
    """Titles have the colour of their severity."""
    lines = ["grpc_guard: 1 finding", "  x (error)", "  y (warning)", "  advice: z", "    a:1  x2"]
    printed = looks.text_of(blocks.of_summary(lines), looks.Look(80, has_colours=True))
    assert printed.splitlines() == [
        "\x1b[1mgrpc_guard: 1 finding\x1b[0m",
        "  \x1b[31mx (error)\x1b[0m",
        "  \x1b[33my (warning)\x1b[0m",
        "  \x1b[36madvice: z\x1b[0m",
        "    a:1 x2",
    ]


def test_colours_change_no_word() -> None:
    """With colours it is the same text."""
    for finding in SAMPLES.values():
        coloured = shown(finding, 80, has_colours=True)
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == shown(finding, 80)
        assert "\x1b[" in coloured


# How a stream looks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


FILE, TERMINAL = io.StringIO(), Terminal()
CLOSED = io.StringIO()
CLOSED.close()
NONE = None
PLAIN, COLOURED = looks.Look(80, has_colours=False), looks.Look(80, has_colours=True)


@pytest.mark.parametrize(
    ("stream", "color", "environ", "look"),
    [
        (FILE, "auto", {}, NONE),
        (FILE, "never", {"FORCE_COLOR": "1"}, NONE),
        (FILE, "always", {"NO_COLOR": "1"}, COLOURED),
        (FILE, "auto", {"FORCE_COLOR": "1"}, COLOURED),
        (FILE, "auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, NONE),
        (TERMINAL, "auto", {}, COLOURED),
        (TERMINAL, "auto", {"NO_COLOR": "1"}, PLAIN),
        (TERMINAL, "auto", {"NO_COLOR": ""}, COLOURED),
        (TERMINAL, "auto", {"TERM": "dumb"}, PLAIN),
        (TERMINAL, "always", {"TERM": "dumb"}, COLOURED),
        (TERMINAL, "never", {"FORCE_COLOR": "1"}, PLAIN),
        (TERMINAL, "never", {"COLUMNS": "120"}, looks.Look(120, has_colours=False)),
        (TERMINAL, "never", {"COLUMNS": "12"}, looks.Look(40, has_colours=False)),
        (TERMINAL, "never", {"COLUMNS": "1200"}, looks.Look(200, has_colours=False)),
        (TERMINAL, "never", {"COLUMNS": "wide"}, PLAIN),
        (CLOSED, "auto", {}, NONE),
        (None, "auto", {}, NONE),
    ],
)
def test_look(stream: object, color: str, environ: dict[str, str], look: looks.Look | None) -> None:
    """A person sits before a terminal, or where colours were asked for; NO_COLOR goes first."""
    assert looks.look_of(stream, color, environ) == look


def test_color_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --color it is GRPC_GUARD_COLOR that says; a bad value is an error."""
    monkeypatch.setenv("GRPC_GUARD_COLOR", "always")
    assert looks.look_of(FILE, None, {}) == COLOURED
    monkeypatch.setenv("GRPC_GUARD_COLOR", "allways")
    said = "GRPC_GUARD_COLOR: 'allways' is not a choice; use auto, always or never. "
    with pytest.raises(ValueError, match=f"^{said}Did you mean 'always'\\?$"):
        looks.look_of(FILE)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs POSIX")
def test_width_of_a_terminal() -> None:
    """It is the width of the very terminal that is written to."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, its = os.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, (40).to_bytes(2, "little") + bytes([99]) + bytes(5))
        with open(its, "w", closefd=False) as stream:
            assert looks.width_of(stream, {}) == 99
    finally:
        os.close(ours)
        os.close(its)
