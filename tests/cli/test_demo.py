"""The demo: its service, each half of each scenario, what it prints, and how it exits."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import io
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from inside import (
    SCENARIOS,
    Feature,
    Played,
    Rectangle,
    RouteNote,
    Scenario,
    Try,
    command,
    false_end,
    finding_to_dict,
    full_duplex,
    outage,
    player,
    scenarios,
    service,
    two_writes,
)
from support.findings import FINDING
from support.staging import PATIENCE, wait

SUMMIT = service.FEATURES[-1]
NOWHERE = service.point(1)
UPPER_HALF = Rectangle(lo=service.FEATURES[6].location, hi=SUMMIT.location)


# The service


def test_service():
    """The sync service answers all four shapes of RPC."""
    with service.serving(service.RouteGuide(), "raise") as (stub,):
        assert stub.GetFeature(SUMMIT.location, timeout=PATIENCE) == SUMMIT
        assert stub.GetFeature(NOWHERE, timeout=PATIENCE) == Feature(location=NOWHERE)
        assert list(stub.ListFeatures(UPPER_HALF, timeout=PATIENCE)) == [*service.FEATURES[6:]]
        route = stub.RecordRoute(map(service.point, range(26)), timeout=PATIENCE)
        assert (route.point_count, route.feature_count) == (26, 2)
        answers = stub.RouteChat(iter([RouteNote(message="snow")]), timeout=PATIENCE)
        assert [note.message for note in answers] == ["the ranger has read: snow"]


async def test_async_service():
    """The asyncio service answers all four shapes of RPC."""
    async with service.async_serving(service.AsyncRouteGuide(), "raise") as stub:
        assert await stub.GetFeature(SUMMIT.location, timeout=PATIENCE) == SUMMIT
        features = [one async for one in stub.ListFeatures(UPPER_HALF, timeout=PATIENCE)]
        assert features == [*service.FEATURES[6:]]
        route = await stub.RecordRoute(map(service.point, range(26)), timeout=PATIENCE)
        assert (route.point_count, route.feature_count) == (26, 2)
        answers = stub.RouteChat(iter([RouteNote(message="snow")]), timeout=PATIENCE)
        assert [note.message async for note in answers] == ["the ranger has read: snow"]


async def test_the_async_service_ends_after_its_handlers():
    """Its handlers have ended before it has: grpcio prints what the end of the loop cuts off."""
    ended = []

    class Slow(service.AsyncRouteGuide):
        async def ListFeatures(self, request, context, /):  # noqa: N802
            try:
                yield SUMMIT
                await asyncio.Event().wait()
            finally:
                for _ in range(
                    1_000
                ):  # many more turns of the loop than the end of the server takes
                    await asyncio.sleep(0)
                ended.append(request)

    async with service.async_serving(Slow(), "raise") as stub:
        assert await stub.ListFeatures(UPPER_HALF, timeout=PATIENCE).read() == SUMMIT
    assert ended == [UPPER_HALF]


# The scenarios, guarded: what is promised comes true


def split(shown: Played) -> tuple[Played, str]:
    """Return `shown` without its refusal, and the first line of that without the time."""
    assert shown.refusal is not None
    first = shown.refusal["message"]
    return dataclasses.replace(shown, refusal=None), first.partition(" has been in ")[0]


def test_guarded_false_end(found):
    """The second reader is refused, and every point is in the summary."""
    assert split(false_end.play("raise")) == (
        Played(
            "the second reader is refused at once and told why; "
            "the first reads on, and all 100 points arrive",
            harmed=False,
            findings=1,
        ),
        (
            "concurrent-read: context.read by task 'reader-2' on /grpc_guard.demo.RouteGuide/RecordRoute "
            "(server, aio) refused: task 'reader-1'"
        ),
    )
    assert [finding.rule for finding in found()] == ["concurrent-read"]


def test_guarded_two_writes(found):
    """The second writer is refused, and every note of the first is answered."""
    assert split(two_writes.play("raise")) == (
        Played(
            "the second writer is refused at once and told why; "
            "the first writes on, and all its 3 notes are answered",
            harmed=False,
            findings=1,
        ),
        (
            "concurrent-write: write by task 'hiker-2' on /grpc_guard.demo.RouteGuide/RouteChat "
            "(client, aio) refused: task 'hiker-1'"
        ),
    )
    assert [finding.rule for finding in found()] == ["concurrent-write"]


def test_guarded_outage(found):
    """In every try one reader is refused, nothing is lost, and the other client is served."""
    shown, first = split(outage.play("raise"))
    assert shown.text == (
        "in each of 5 tries the second reader is refused, all 300 points arrive, "
        "and the innocent client gets its answer"
    )
    assert not shown.harmed
    assert first.startswith("concurrent-read: next by thread 'reader_")
    found_here = found()
    assert {finding.rule for finding in found_here} == {"concurrent-read"}
    assert sum(finding.count for finding in found_here) == 5
    assert shown.findings == len(found_here)


@pytest.mark.parametrize("mode", ["off", "raise"])
def test_full_duplex(mode):
    """A reader beside a writer gets every answer, guarded or not, and nothing is found."""
    assert full_duplex.play(mode) == Played("all 12 notes are answered, in order", harmed=False)


def test_report_shows_the_lines_of_the_demo(found):
    """The report shows the demo's own lines, as it would those of an application."""
    refusal = false_end.play("raise").refusal
    assert refusal is not None
    for party in (refusal["owner"], refusal["caller"]):
        frame = party["stack"][-1]
        assert frame["file"] == false_end.__file__
        assert frame["code"] == "while (place := await context.read()) is not grpc.aio.EOF:"
    found()


# The scenarios, unguarded: what grpcio does is told and not demanded


@pytest.mark.parametrize("play", [false_end.play, two_writes.play])
def test_unguarded(play):
    """Without the guard nothing is refused and nothing found, whatever the outcome."""
    shown = play("off")
    assert (shown.refusal, shown.findings) == (None, 0)


@pytest.mark.parametrize(
    ("count", "text", "harmed"),
    [
        (
            7,
            (
                'a reader is told "end of stream" too early: 93 of 100 points are lost, '
                "nothing is raised, and the client hears OK"
            ),
            True,
        ),
        (100, "nothing happened this time: all 100 points arrive", False),
    ],
)
def test_telling_of_false_end(count, text, harmed):
    """A summary that lacks points is harm."""
    assert false_end.tell(count, [None, None]) == Played(text, harmed)


@pytest.mark.parametrize(
    ("outcomes", "answers", "status", "text", "harmed"),
    [
        (
            [OSError(), OSError()],
            1,
            'INTERNAL "Internal error from Core"',
            (
                'the RPC dies for both writers: INTERNAL "Internal error from Core"; '
                "1 of 6 notes are answered"
            ),
            True,
        ),
        ([None, None], 6, "OK", "nothing happened this time: all 6 notes are answered", False),
    ],
)
def test_telling_of_two_writes(outcomes, answers, status, text, harmed):
    """An RPC that dies is harm."""
    assert two_writes.tell(outcomes, answers, status) == Played(text, harmed)


def test_telling_of_full_duplex():
    """Answers other than those that were due are harm."""
    text = "1 answers, not the 12 that were due, in order"
    assert full_duplex.tell(["?"]) == Played(text, harmed=True)


GOOD = Try(300)
REFUSAL = finding_to_dict(FINDING)


@pytest.mark.parametrize(
    ("tries", "died", "text", "harmed"),
    [
        (
            [GOOD, Try(None, "DEADLINE_EXCEEDED")],
            ["KeyError('receive_message')"],
            (
                "in try 2 the serving thread dies of KeyError('receive_message'); an innocent client, "
                "on its own connection, waits in vain: DEADLINE_EXCEEDED"
            ),
            True,
        ),
        (
            [Try(None, "UNAVAILABLE")],
            [],
            (
                "in try 1 the server stops serving; an innocent client, on its own connection, "
                "waits in vain: UNAVAILABLE"
            ),
            True,
        ),
        (
            [GOOD, Try(299), Try(None)],
            [],
            "no outage in 3 tries, but 2 routes without their 300 points",
            True,
        ),
        (
            [GOOD, GOOD],
            [],
            (
                "no outage this time, in 2 tries: who reads when is a matter of luck, and another "
                "time the server may die"
            ),
            False,
        ),
    ],
)
def test_telling_of_outage(tries, died, text, harmed):
    """A server that answers no client is harm, and so are lost points; luck is called luck."""
    assert outage.tell(tries, died) == Played(text, harmed)


def test_outage_where_not_every_try_was_refused():
    """A guard that refuses in some tries only has no refusal to show."""
    assert outage.tell([GOOD, Try(300, "OK", REFUSAL)], []).refusal is None


def test_outage_ends_the_tries(monkeypatch):
    """Once the server is dead no other try is made."""
    tries = iter([GOOD, Try(None, "DEADLINE_EXCEEDED"), GOOD])
    monkeypatch.setattr(outage, "attempt", lambda *_: next(tries))
    assert outage.play("off").text.startswith("in try 2 the server stops serving;")
    assert next(tries) is GOOD


def test_outage_that_does_not_happen(monkeypatch):
    """After the last try it is said that nothing happened."""
    monkeypatch.setattr(outage, "attempt", lambda *_: GOOD)
    shown = outage.play("off")
    assert shown.text.startswith(f"no outage this time, in {outage.TRIES} tries: ")
    assert not shown.harmed


def test_route_stays_open(monkeypatch):
    """After the last point the route waits for a reader to leave, as long as it is told to."""
    guide = outage.HastyRouteGuide()
    waits: list[float] = []
    monkeypatch.setattr(guide.somebody_left, "wait", waits.append)
    assert list(outage.walk(guide, 7.0)) == [service.point(step) for step in range(300)]
    assert waits == [7.0]


class Broken(outage.HastyRouteGuide):
    """Answers no client."""

    def GetFeature(self, request, context):  # noqa: N802
        context.abort(grpc.StatusCode.UNAVAILABLE, "closed for the winter")

    RecordRoute = GetFeature


def test_try_that_nobody_answers():
    """A try without an answer counts nothing, and says what became of the innocent client."""
    guide = Broken()
    with service.serving(guide, "raise", clients=2) as stubs:
        assert outage.attempt(guide, *stubs, 0.0, threading.Event()) == Try(None, "UNAVAILABLE")


def test_death_of_a_thread():
    """While the block runs, what a thread dies of is noted; afterwards the old hook is back."""
    before = threading.excepthook
    news = threading.Event()
    with outage.deaths(news) as died:
        thread = threading.Thread(target=lambda: {}["receive_message"])
        thread.start()
        wait(news)
        thread.join(PATIENCE)
    assert died == ["KeyError('receive_message')"]
    assert threading.excepthook is before


# Processes


@pytest.fixture
def exits(monkeypatch):
    """Return the list of statuses with which the process would have exited at once."""
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    return statuses


def test_half_is_printed_as_json(exits, capsys):
    """The process that plays one half prints what it showed, and is gone without a farewell."""
    player.main(["full_duplex", "raise"])
    shown = {"harmed": False, "findings": 0, "refusal": None}
    text = "all 12 notes are answered, in order"
    assert json.loads(capsys.readouterr().out) == {"text": text, **shown}
    assert exits == [0]


def test_half_as_module(exits, capsys, monkeypatch):
    """``python -m grpc_guard._cli.demo.play`` takes scenario and mode from the command line."""
    monkeypatch.setattr(sys, "argv", ["play", "full_duplex", "off"])
    runpy.run_path(player.__file__, run_name="__main__")
    assert json.loads(capsys.readouterr().out)["text"] == "all 12 notes are answered, in order"
    assert exits == [0]


def test_half_in_a_process_of_its_own():
    """What the process showed comes back."""
    text = "all 12 notes are answered, in order"
    assert scenarios.Halves().play(SCENARIOS[-1], "raise") == Played(text, harmed=False)


def test_half_that_dies():
    """A process that dies is harm, with its status and its last words."""
    missing = Scenario("missing", "", "")
    assert scenarios.Halves().play(missing, "raise") == Played(
        "the whole program dies (status 1): "
        "ModuleNotFoundError: No module named 'grpc_guard._cli.demo.missing'",
        harmed=True,
    )


def test_half_that_hangs(monkeypatch):
    """A process that does not end is ended, and is harm."""
    monkeypatch.setattr(scenarios, "_TIMEOUT", 1e-9)
    text = "the whole program hangs: it was ended after 1e-09 s"
    assert scenarios.Halves().play(SCENARIOS[-1], "raise") == Played(text, harmed=True)


# The verdict

BREAKS = Scenario("m", "Two readers", "two tasks read one stream")
LEGAL = Scenario("m", "Chat", "a reader beside a writer", breaks=False)
HARM = Played("all is lost", harmed=True)
LUCK = Played("nothing happened", harmed=False)
REFUSED = Played("the second is refused", False, REFUSAL, findings=1)
FINE = Played("all arrive", harmed=False)


@pytest.mark.parametrize(
    ("scenario", "without", "guarded", "expected"),
    [
        (BREAKS, HARM, REFUSED, []),
        (BREAKS, LUCK, REFUSED, []),
        (BREAKS, HARM, FINE, ["with the guard nothing was refused"]),
        (
            BREAKS,
            HARM,
            dataclasses.replace(REFUSED, findings=0),
            ["with the guard nothing was refused"],
        ),
        (
            BREAKS,
            HARM,
            dataclasses.replace(REFUSED, harmed=True),
            ["with the guard something was lost"],
        ),
        (LEGAL, FINE, FINE, []),
        (LEGAL, HARM, FINE, ["with the guard a correct program does something else"]),
        (LEGAL, HARM, HARM, ["with the guard something was lost"]),
        (
            LEGAL,
            FINE,
            dataclasses.replace(FINE, findings=1),
            ["the guard found something in a correct program"],
        ),
        (
            LEGAL,
            FINE,
            dataclasses.replace(FINE, refusal=REFUSAL),
            ["the guard found something in a correct program"],
        ),
    ],
)
def test_verdict(scenario, without, guarded, expected):
    """The guarded half must hold; what grpcio does without the guard is not demanded."""
    complaints = [f"{scenario.title}: {what}" for what in expected]
    assert scenarios.complaints(scenario, without, guarded) == complaints


# What is shown


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Take from the environment what the demo looks at."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "GRPC_GUARD_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


REPORT = [  # of FINDING, in 100 columns
    "concurrent-read: next by thread 'reader-2' on /x.Y/Z (client, sync) refused: …",
    "",
    "  owner: task 'reader-1' in read for 250 ms",
    "    /lib/grpc_app.py:9 in consume",
    "    > 9 | message = next(call)",
    "",
    "  caller: thread 'reader-2' in next",
    "    /project/app/main.py:3 in consume",
    "    > 3 | message = next(call)",
    "    /project/app/main.py:7 in consume",
    "    > 7 | message = next(call)",
    "",
    "  without the guard: the second reader gets 'ValueError: Internal gRPC call error 8', and messages",
    "    can go to the wrong reader",
    "",
    "  how to fix it: let one read",
    "",
    "  rule: concurrent-read (a read began while another of the same stream was in progress)",
    "  more: grpc-guard explain concurrent-read",
]


def show(stream, *halves: tuple[Scenario, Played, Played], color: str | None = None) -> int:
    """Show scenarios whose halves are known beforehand."""
    known = {
        (scenario.title, mode): half
        for scenario, *both in halves
        for mode, half in zip(("off", "raise"), both, strict=True)
    }
    return command.show(
        stream,
        [scenario for scenario, *_ in halves],
        lambda one, mode: known[one.title, mode],
        color,
    )


def table(printed: str) -> str:
    """Return what was printed from the table's head on."""
    return printed[printed.index("SCENARIO") :]


def test_page():
    """The table, one report, and the verdict, plain where it is no terminal."""
    stream = io.StringIO()
    assert show(stream, (BREAKS, HARM, REFUSED), (LEGAL, FINE, FINE)) == 0
    rule = "  ".join("─" * width for width in (26, 35, 35))
    assert table(stream.getvalue()) == "\n".join(
        [
            "SCENARIO                    WITHOUT THE GUARD                    WITH THE GUARD",
            rule,
            (
                "Two readers                 ✗ all is lost                        "
                "✓ the second is refused"
            ),
            "two tasks read one stream",
            rule,
            "Chat                        ✓ all arrive                         ✓ all arrive",
            "a reader beside a writer",
            rule,
            "",
            "What the ConcurrencyError in 'Two readers' says:",
            "",
            *REPORT,
            "",
            "Everything went as expected.",
            "",
            "To guard a program of your own:",
            "  grpc-guard run app.py       a program as it is",
            "  pytest --grpc-guard         the tests of a project",
            "  grpc_guard.wrap(channel)    one channel, server or call; grpc_guard.enable() takes all",
            "",
        ]
    )


def test_page_where_it_does_not_come_as_said():
    """An unexpected outcome is named, and the exit status is 1."""
    stream = io.StringIO()
    assert show(stream, (BREAKS, LUCK, FINE)) == 1
    row, *_, verdict = table(stream.getvalue()).splitlines()[2:]
    assert row == "Two readers                 · nothing happened                   ✗ all arrive"
    assert verdict == "Not as expected. Two readers: with the guard nothing was refused."


@pytest.mark.parametrize("width", [40, 65, 66, 80, 100, 200])
def test_width(width, monkeypatch):
    """No line is wider than the terminal, however long a word is, and nothing is left out."""
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    long = Played("%" * 300, harmed=True)
    show(stream, (BREAKS, long, REFUSED), color="never")
    lines = [line.rpartition("\x1b[K")[2] for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert sum(line.count("%") for line in lines) == 300


def test_narrow_table(monkeypatch):
    """If there is no room for three columns, they stand below each other, each below its head."""
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    show(stream, (LEGAL, FINE, FINE), color="never")
    printed = stream.getvalue()
    row = printed[printed.rindex("\x1b[K") + 3 :].splitlines()[:7]
    assert row == [
        "Chat",
        "a reader beside a writer",
        "  WITHOUT THE GUARD",
        "  ✓ all arrive",
        "  WITH THE GUARD",
        "  ✓ all arrive",
        "─" * 60,
    ]


def test_colours_on_a_terminal(monkeypatch):
    """On a terminal harm is red, what holds is green, and the words are the same."""
    monkeypatch.setenv("COLUMNS", "100")
    coloured, plain = Terminal(), io.StringIO()
    halves = [(BREAKS, HARM, REFUSED), (LEGAL, FINE, FINE)]
    assert [show(stream, *halves) for stream in (coloured, plain)] == [0, 0]
    shown = coloured.getvalue()
    assert "\033[31m✗ all is lost\033[0m" in shown
    assert "\033[32m✓ the second is refused\033[0m" in shown
    assert "\033[1;32mEverything went as expected.\033[0m" in shown
    shown = re.sub(r"\r\x1b\[K(… [^\r\n]*)?", "", shown)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain.getvalue()


def test_progress_on_a_terminal(monkeypatch):
    """On a terminal it is said what is being played, and for how long, until its row is there."""
    monkeypatch.setattr(command, "_LOOK", 0)
    looked = threading.Event()

    class Watched(Terminal):
        def write(self, text):
            if "Chat" in text and "playing" in text:
                looked.set()
            return super().write(text)

    def play(scenario, mode):
        wait(looked)
        return FINE

    stream = Watched()
    assert command.show(stream, [LEGAL], play, "never") == 0
    playing, *_ = re.findall(r"\r\x1b\[K(… .*?)\r", stream.getvalue())
    assert playing == "… playing 1 of 1 for 0 s: Chat, a reader beside a writer"
    assert re.search(r"\r\x1b\[KChat\b", stream.getvalue())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_none_are_wanted(monkeypatch, name, value):
    """NO_COLOR and a dumb terminal get no colours."""
    monkeypatch.setenv(name, value)
    stream = Terminal()
    assert show(stream, (BREAKS, HARM, REFUSED)) == 0
    assert "\033[" not in stream.getvalue().replace("\r\033[K", "")


def test_signs_that_cannot_be_encoded():
    """Signs that the output cannot encode are replaced by plain ones."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    odd = Played("lost in Zürich", harmed=True)
    assert show(stream, (BREAKS, odd, REFUSED), (LEGAL, FINE, FINE)) == 0
    lines = table(raw.getvalue().decode("ascii")).splitlines()
    assert lines[1] == "  ".join("-" * width for width in (26, 35, 35))
    row = "Two readers                 x lost in Z?rich                     + the second is refused"
    assert lines[2] == row


def test_interrupted_demo(monkeypatch):
    """A demo that is interrupted begins nothing more."""
    interrupted = threading.Event()
    begun = []

    class Players(ThreadPoolExecutor):
        def shutdown(self, **how):
            super().shutdown(**{**how, "wait": False})
            interrupted.set()
            super().shutdown()

    def play(scenario: Scenario, mode: str) -> Played:
        begun.append(scenario.title)
        if (scenario.title, mode) == ("first", "off"):
            raise KeyboardInterrupt
        wait(interrupted)
        return FINE

    monkeypatch.setattr(command, "ThreadPoolExecutor", Players)
    titles = ["first", "second", "third"]
    with pytest.raises(KeyboardInterrupt):
        command.show(io.StringIO(), [Scenario("m", title, "") for title in titles], play)
    assert "third" not in begun


def test_demo_after_ctrl_c(monkeypatch, capsys):
    """Ctrl-C ends the demo with the status that a shell gives it, and without a traceback."""

    def interrupted(stream, color):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "show", interrupted)
    assert command.main(argparse.Namespace(color=None)) == 130
    assert capsys.readouterr() == ("", "grpc-guard demo: interrupted\n")


def test_ended_halves():
    """An interrupt ends what the demo is playing, and what was about to begin."""
    halves = scenarios.Halves()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        halves._children.add(child)
        halves.end()
        assert child.wait(PATIENCE) != 0
    shown = halves.play(SCENARIOS[-1], "raise")
    assert shown.harmed
    assert shown.text.startswith("the whole program dies (status ")


# The whole


def columns(printed: str) -> list[list[str]]:
    """Return the table's rows, each the text of its three columns."""
    lines = table(printed).splitlines()[1:]
    rows: list[list[str]] = []
    for line in lines[: len(lines) - lines[::-1].index(lines[0])]:
        if line.startswith("─"):
            rows.append(["", "", ""])
            continue
        cells = (line[:26], line[28:63], line[65:])
        rows[-1] = [
            f"{old} {new.strip()}".strip() for old, new in zip(rows[-1], cells, strict=True)
        ]
    return rows[:-1]


def test_demo():
    """The demo plays all four scenarios on real servers, goes as expected, and exits 0."""
    child = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "demo"],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=55,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    rows = columns(child.stdout)
    assert [row[0] for row in rows] == [
        "False end of stream asyncio server: two tasks of a handler read one stream",
        "RPC killed by two writes asyncio client: two tasks write to one call",
        "Server outage sync server: two threads of a handler read one stream",
        "Legal full-duplex chat asyncio client: one task reads while another writes",
    ]
    assert [row[2] for row in rows] == [
        (
            "✓ the second reader is refused at once and told why; the first reads on, "
            "and all 100 points arrive"
        ),
        (
            "✓ the second writer is refused at once and told why; the first writes on, "
            "and all its 3 notes are answered"
        ),
        (
            "✓ in each of 5 tries the second reader is refused, all 300 points arrive, "
            "and the innocent client gets its answer"
        ),
        "✓ all 12 notes are answered, in order",
    ]
    assert rows[3][1] == rows[3][2]
    assert "\nconcurrent-read: context.read by task 'reader-2' on " in child.stdout
    assert "\nEverything went as expected.\n" in child.stdout
    assert max(map(len, child.stdout.splitlines())) <= 100


def test_beside_the_tutorial_of_grpc() -> None:
    """A program that has loaded the service of gRPC's own tutorial can load the demo's."""
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_guard._cli.demo import route_guide_pb2

file = descriptor_pb2.FileDescriptorProto.FromString(route_guide_pb2.DESCRIPTOR.serialized_pb)
file.name, file.package = "route_guide.proto", "routeguide"
for message in file.message_type:
    for field in message.field:
        if field.type_name:  # a message
            field.type_name = field.type_name.replace(".grpc_guard.demo.", ".routeguide.")
for method in file.service[0].method:
    method.input_type = method.input_type.replace(".grpc_guard.demo.", ".routeguide.")
    method.output_type = method.output_type.replace(".grpc_guard.demo.", ".routeguide.")
pool = descriptor_pool.Default()
pool.AddSerializedFile(file.SerializeToString())
print(pool.FindServiceByName("routeguide.RouteGuide").full_name)
print(pool.FindServiceByName("grpc_guard.demo.RouteGuide").full_name)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.stdout.split(), ran.stderr) == (
        ["routeguide.RouteGuide", "grpc_guard.demo.RouteGuide"],
        "",
    )
