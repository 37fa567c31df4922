"""``grpc-guard rules`` and ``explain``: the texts, and the truth of every example in them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
import os
import queue
import re
import runpy
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
from inside import (
    RULES,
    Rule,
    catalogue_pages,
    cli_explain,
    finding_from_dict,
    ledger,
    lifecycle_churn,
    lifecycle_handlers,
    lifecycle_leaks,
    route_guide_pb2,
    route_guide_pb2_grpc,
)
from support.sharing import until
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    outcome,
    run,
    sync_channel,
    sync_server,
    wait,
)

import grpc_guard
from grpc_guard import ConcurrencyError, Finding

TOP = Path(__file__).parents[2]
Found = Callable[[], list[Finding]]

EVERY_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=str)


# The texts


def test_rules() -> None:
    """rules prints each rule with its severity and what it finds, and says what to type next."""
    out = io.StringIO()
    assert cli_explain.list_rules(out) == 0
    *table, blank, hint = out.getvalue().splitlines()
    assert " ".join(" ".join(table).split()) == " ".join(
        f"{rule.name} {rule.severity} {rule.summary}" for rule in RULES.values()
    )
    assert blank == ""
    assert "grpc-guard explain RULE" in hint


def test_rules_are_aligned_within_100_columns() -> None:
    """What is found begins in the same column on every line of the table."""
    out = io.StringIO()
    cli_explain.list_rules(out)
    *table, _, _ = out.getvalue().splitlines()
    column = table[0].index(RULES["concurrent-read"].summary)
    assert all(len(line) <= 100 for line in table)
    assert {line[column - 2 : column] for line in table} == {"  "}
    assert all(line[column] != " " for line in table)


@EVERY_RULE
def test_explain(rule: Rule) -> None:
    """explain prints the page of a rule, in which the rule's own texts stand."""
    out = io.StringIO()
    assert cli_explain.explain(rule.name, out) == 0
    text = " ".join(out.getvalue().split())
    assert text.startswith(f"# {rule.name} {rule.severity}: {rule.summary}. ## What it means ")
    assert f"## Why Source: {rule.source}. " in text
    assert f"## How to fix it {rule.remedy[0].upper()}{rule.remedy[1:]}. " in text
    for side in ("client", "server"):
        for api in ("sync", "aio"):
            assert f"{rule.unguarded(side, api)}." in text


@EVERY_RULE
def test_page_is_for_terminals_too(rule: Rule) -> None:
    """A page is plain ASCII, nothing is left to put in, and its paragraphs are not wide."""
    page = catalogue_pages.page(rule)
    assert page.isascii()
    assert "$" not in page
    prose = [line for line in page.splitlines() if not line.startswith("    ") and "<" not in line]
    assert [line for line in prose if len(line) > 88] == []


def test_page_tells_where_the_rule_says_something_else() -> None:
    """Sides and apis of which the rule says the same stand together, in the rule's order."""
    rule = Rule(
        "concurrent-read",
        severity="warning",
        summary="s",
        unguarded={"client sync": "this", "server aio": "that", "any": "this"},
        remedy="fix it",
        source="a book",
    )
    assert (
        "## What happens without the guard\n\n"
        "- client sync, client aio, server sync: this.\n- server aio: that.\n\n"
    ) in catalogue_pages.page(rule)


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("concurrent-read", "In mode `serialize` the second caller waits for its turn instead."),
        ("wrong-loop", "Waiting cannot help: mode `serialize` acts as `raise` here."),
        ("blocked-loop", "A warning refuses nothing, in any mode. It is recorded and shown."),
        (
            "stream-limit",
            "Advice refuses and fails nothing. It is listed separately, and not counted in any total.",
        ),
    ],
)
def test_page_tells_what_serialize_does(name: str, effect: str) -> None:
    """The page says whether waiting for one's turn heals what the rule finds."""
    assert effect in " ".join(catalogue_pages.page(RULES[name]).split())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Internal gRPC call error 8", ["concurrent-read"]),
        ("GRPC_CALL_ERROR_TOO_MANY_OPERATIONS", ["concurrent-read", "concurrent-write"]),
        ("Internal error from Core", ["concurrent-write"]),
        ("RPC already finished", ["concurrent-write", "handler-returned"]),
        (
            "anext(): asynchronous generator is already running",
            ["concurrent-read", "shared-iterator"],
        ),
        ("Exception iterating requests!", ["shared-iterator"]),
        ("attached to a different loop", ["wrong-loop"]),
    ],
)
def test_page_shows_what_people_search_for(text: str, names: list[str]) -> None:
    """The words that grpcio uses for a broken rule stand on the rule's page, on one line."""
    assert all(text in catalogue_pages.page(RULES[name]) for name in names)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("concurent-read", "is not a rule; did you mean 'concurrent-read'?"),
        ("loop", "is not a rule; did you mean 'wrong-loop'?"),
        ("xyzzy", "is not a rule."),
        ("", "is not a rule."),
    ],
)
def test_explain_an_unknown_rule(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For an unknown rule, explain prints the nearest one and all rules on stderr."""
    out = io.StringIO()
    assert cli_explain.explain(name, out) == 2
    assert out.getvalue() == ""
    assert capsys.readouterr() == (
        "",
        f"grpc-guard explain: {name!r} {hint} The rules: {', '.join(RULES)}\n",
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_docs_are_up_to_date(tmp_path: Path) -> None:
    """docs/rules/ holds what docs/make_rules.py makes of it now, and nothing else."""
    (tmp_path / "of-old.md").write_text("a rule that is no more")
    runpy.run_path(str(TOP / "docs/make_rules.py"))["main"](tmp_path)
    assert contents(TOP / "docs/rules") == contents(tmp_path) == catalogue_pages.pages()


def test_index_links_every_page() -> None:
    """The index of docs/rules/ leads to the page of every rule."""
    pages = catalogue_pages.pages()
    assert set(re.findall(r"\]\((.+?)\)", pages["README.md"])) == set(pages) - {"README.md"}


def test_every_text_has_a_rule() -> None:
    """The package holds a text for each rule, and no text without one."""
    texts = Path(catalogue_pages.__file__).parent / "rules"
    assert {path.name for path in texts.glob("*.md")} == {f"{name}.md" for name in RULES}


@pytest.mark.parametrize(
    "command", ["list_rules(sys.stdout)", "explain('concurrent-read', sys.stdout)"]
)
def test_grpc_is_not_imported(command: str) -> None:
    """Neither command pays for importing grpc or protobuf."""
    program = (
        "import sys\n"
        "from grpc_guard._cli import explain as _explain\n"
        f"status = _explain.{command}\n"
        "assert not {'grpc', 'google.protobuf', 'wrapt'} & set(sys.modules), sorted(sys.modules)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=TOP
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "concurrent-read" in done.stdout


# The examples


class Example(NamedTuple):
    rule: str
    title: str
    code: str

    @property
    def is_wrong(self) -> bool:
        return self.title.startswith("Wrong")

    @property
    def api(self) -> str:
        return "sync" if "(sync" in self.title else "aio"

    def __str__(self) -> str:
        return f"{self.rule}: {self.title}"


def examples() -> Iterator[Example]:
    """Yield every example of every page: a heading, and the code below it."""
    for name, rule in RULES.items():
        for part in catalogue_pages.page(rule).split("\n### ")[1:]:
            title, text = part.split("\n", 1)
            for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                yield Example(name, title, code)


EXAMPLES = list(examples())


def of_severity(*severities: str, is_wrong: bool) -> list[Example]:
    return [
        one
        for one in EXAMPLES
        if RULES[one.rule].severity in severities and one.is_wrong is is_wrong
    ]


MESSAGES = ("Feature", "Point", "Rectangle", "RouteNote", "RouteSummary")
FEATURES = ("bridge", "ford", "mill")

# What the right examples print, sorted: threads print in any order.
PRINTED = {
    "concurrent-read: Right (sync)": [*FEATURES],
    "concurrent-read: Right (sync, with a Receiver)": [*FEATURES],
    "concurrent-read: Right (aio, with a Receiver)": [*FEATURES],
    "concurrent-read: Right (aio)": [*FEATURES],
    "concurrent-read: Right (aio, with a lock)": [*FEATURES],
    "concurrent-write: Right (sync)": ["[1, 2]"],
    "concurrent-write: Right (sync, with a Sender)": ["[1, 2]"],
    "concurrent-write: Right (aio, with a Sender)": [
        "['ann 0', 'ann 1', 'ann 2', 'ben 0', 'ben 1', 'ben 2']"
    ],
    "concurrent-write: Right (aio)": ["['ann 0', 'ben 0', 'ann 1', 'ben 1', 'ann 2', 'ben 2']"],
    "shared-iterator: Right (sync)": ["3 3"],
    "shared-iterator: Right (sync, shared on purpose)": ["6"],
    "shared-iterator: Right (aio)": ["3 3"],
    "wrong-loop: Right (aio)": ["3", "3"],
    "wrong-loop: Right (aio, from sync code)": ["3"],
    "handler-returned: Right (sync)": ["3"],
    "handler-returned: Right (aio)": ["['bye']", "note 0", "note 1", "note 2"],
    "closed-channel: Right (sync)": [*FEATURES],
    "closed-channel: Right (aio)": ["3 3"],
    "cancelled-read: Right (aio)": ["anybody there?"],
    "cancelled-read: Right (aio, with a Receiver)": ["anybody there?"],
    "blocked-loop: Right (sync)": [*FEATURES],
    "blocked-loop: Right (aio)": [*FEATURES],
    "channel-churn: Right (sync)": ["60"],
    "parked-request-iterator: Right (sync)": ["hello"],
    "parked-request-iterator: Right (sync, with a Sender)": ["hello"],
    "starved-server: Right (sync)": ["hello 0", "hello 1", "hello 2"],
    "starved-server: Right (sync, a handler that waits for other things than its requests)": [
        "hello 0",
        "hello 1",
        "hello 2",
    ],
    "message-mutated: Right (aio)": ["5"],
    "lost-exception: Right (aio)": ["2 and a row without latitude: 1"],
    "dead-server: Right (sync)": ["hello 0", "hello 1", "hello 2", "warmed up"],
    "blocked-grpc-thread: Right (sync)": ["3"],
    "abandoned-handler: Right (sync)": ["welcome"],
    "starved-server: Right (aio)": ["hello 0", "hello 1", "hello 2"],
    "stream-limit: Right (aio)": ["285"],
    "unclosed-channel: Right (sync)": [*FEATURES],
    "unfinished-stream: Right (aio)": ["hello"],
    "use-after-fork: Right (sync)": sorted(FEATURES * 2),  # of parent and child
    "use-after-fork: Right (sync, a parent with a channel)": sorted(FEATURES * 2),
    "use-after-fork: Right (aio)": sorted(FEATURES * 2),
}


class Servicer(route_guide_pb2_grpc.RouteGuideServicer):
    """The server of the examples that are clients."""

    def ListFeatures(self, request, context):  # noqa: N802
        for name in FEATURES:
            yield route_guide_pb2.Feature(name=name)

    def RecordRoute(self, points, context):  # noqa: N802
        return route_guide_pb2.RouteSummary(point_count=sum(1 for _ in points))

    def RouteChat(self, notes, context):  # noqa: N802
        yield from notes


class Stage(grpc.ServerInterceptor):
    """Keeps back every answer of a sync server until a rule has been broken.

    The first reader is then still in its read when the next one comes, and the first writer in
    its write; and a handler that has an answer to send has ended.
    """

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.broken = threading.Event()

    def found(self, finding: Finding) -> None:
        self.broken.set()

    def intercept_service(self, continuation, details):
        handler = continuation(details)

        def serialize(response):
            self.answering.set()
            wait(self.broken)
            return handler.response_serializer(response)

        return handler._replace(response_serializer=serialize)


def thresholds_for(example: Example) -> dict[str, float]:
    """Let no time be too short for a wrong example, nor for a right one of the other rules.

    A right one may take what time it needs to let go of what it has.
    """
    if RULES[example.rule].severity == "error":
        return {}
    patience = 0.0 if example.is_wrong else PATIENCE
    of_rules = {
        "starved-server": {"starved_server_seconds": 0.0},
        "parked-request-iterator": {"parked_iterator_seconds": patience},
        "abandoned-handler": {"abandoned_handler_seconds": patience},
    }
    return {"blocked_loop_seconds": 0.0, **of_rules.get(example.rule, {})}


@contextmanager
def staged(example: Example, is_staged: bool) -> Iterator[Stage | None]:
    """Guard the process; where the example is wrong, set the stage for it."""
    with grpc_guard.guarded(thresholds=thresholds_for(example)):
        if not (example.is_wrong and is_staged):
            yield None
            return
        stage = Stage()
        ledger.add_sink(stage.found)
        try:
            yield stage
        finally:
            ledger.remove_sink(stage.found)


def play_process(example: Example) -> list[str]:
    """Run an example that forks under grpc-guard run; record here what is found there."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with sync_server(registering(Servicer()), mode=None) as address, TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "grpc_guard", "run", "--report", report),
                TOP / "tests/programs/forks.py",
            ],
            input=json.dumps([str(example), example.code, address]),
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=True,
        )
        for told in json.loads(report.read_text(encoding="utf-8"))["findings"]:
            ledger.record(finding_from_dict(told))
    return done.stdout.splitlines()


def play_main(main: Callable[[], Any]) -> Any:
    return main()


async def play_main_async(main: Callable[[], Any]) -> None:
    await main()


def play(example: Example, is_staged: bool = True) -> list[str]:
    """Run an example as what it is, a client or a server, sync or aio; return what it prints."""
    if example.rule == "use-after-fork":
        return play_process(example)
    printed: list[str] = []
    queues: list[AskedQueue] = []
    queue_namespace = SimpleNamespace(Queue=lambda: queues.append(AskedQueue()) or queues[-1])
    names: dict[str, Any] = {
        **{name: getattr(route_guide_pb2, name) for name in MESSAGES},
        "add_RouteGuideServicer_to_server": route_guide_pb2_grpc.add_RouteGuideServicer_to_server,
        "RouteGuideServicer": route_guide_pb2_grpc.RouteGuideServicer,
        "RouteGuideStub": route_guide_pb2_grpc.RouteGuideStub,
        "ThreadPoolExecutor": ThreadPoolExecutor,
        "asyncio": asyncio,
        "grpc": grpc,
        "grpc_guard": grpc_guard,
        "print": lambda *values: printed.append(" ".join(map(str, values))),
        "queue": queue_namespace,
        "threading": threading,
    }
    exec(compile(example.code, str(example), "exec"), names)
    try:
        with staged(example, is_staged) as stage:
            if "main" in names:
                play_client(names["main"], stage)
            elif "make_server" in names and example.is_wrong and example.rule == "dead-server":
                play_dead(names["make_server"])
            elif "make_server" in names:
                play_crowd(names["make_server"], example, names["print"])
            elif example.rule == "abandoned-handler":
                play_abandoned(names["RouteGuide"](), example, queues, names["print"])
            else:
                play_server(names["RouteGuide"], stage, names["print"])
    finally:
        for each in queues:
            each.put(None)  # no thread is left waiting there
    return printed


def play_client(main: Callable[[Any], Any], stage: Stage | None) -> None:
    """Call `main` with what it asks for: the address of a server, or a stub of its own api."""
    with sync_server(registering(Servicer()), **staging(stage)) as address:
        if "target" in inspect.signature(main).parameters:
            play_main(lambda: main(address))
        elif inspect.iscoroutinefunction(main):
            run(play_aio_client(main, address))
        else:
            with sync_channel(address, mode=None) as channel:
                stub = route_guide_pb2_grpc.RouteGuideStub(channel)
                play_main(lambda: main(stub))


async def play_aio_client(main: Callable[[Any], Any], address: str) -> None:
    async with aio_channel(address, mode=None) as channel:
        stub = route_guide_pb2_grpc.RouteGuideStub(channel)
        await play_main_async(lambda: main(stub))


def play_server(kind: type, stage: Stage | None, tell: Callable[[object], None]) -> None:
    """Serve with an object of `kind`, and call the one method that it has."""
    if inspect.iscoroutinefunction(kind.RouteChat):
        run(play_aio_server(kind, tell))
        return
    with ThreadPoolExecutor(1) as pool:
        if stage is not None:
            pool.submit(wait, stage.answering)  # it is busy until the handler has ended
        servicer = kind(pool) if inspect.signature(kind).parameters else kind()
        with sync_server(registering(servicer), **staging(stage)) as address:
            visit(address, kind, tell)


async def play_aio_server(kind: type, tell: Callable[[object], None]) -> None:
    # A task that a wrong handler leaves behind fails unseen; the finding is what counts.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with aio_server(registering(kind()), mode=None) as address:
        await asyncio.to_thread(visit, address, kind, tell)


def play_dead(make_server: Callable[[], Any]) -> None:
    """Ask a server that dies of it; it cannot be stopped."""
    died: queue.Queue[Any] = queue.Queue()
    plain, threading.excepthook = threading.excepthook, died.put
    try:
        server = make_server()
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        with sync_channel(address, mode=None) as channel:
            chat = route_guide_pb2_grpc.RouteGuideStub(channel).RouteChat(iter([]))
            died.get(timeout=PATIENCE)
            chat.cancel()
    finally:
        threading.excepthook = plain


class AskedQueue(queue.Queue[Any]):
    """A queue that signals when a thread begins to wait because it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def get(self, *args: Any, **kwargs: Any) -> Any:
        if self.empty():
            self.asked.set()
        return super().get(*args, **kwargs)


def play_abandoned(
    servicer: Any, example: Example, queues: list[Any], tell: Callable[[object], None]
) -> None:
    """Serve a client that goes after the first message; if it is wrong, until that is told."""
    seen = threading.Event()

    def found(finding: Finding) -> None:
        if finding.rule == "abandoned-handler":
            seen.set()

    ledger.add_sink(found)
    try:
        with sync_server(registering(servicer), mode=None) as address:
            with sync_channel(address, mode=None) as channel:
                chat = route_guide_pb2_grpc.RouteGuideStub(channel).RouteChat(iter([]))
                tell(next(chat).message)
                for each in queues:
                    wait(each.asked)  # or gRPC takes nothing more from the handler
                chat.cancel()
                if example.is_wrong:
                    wait(seen)
                    for each in queues:
                        each.put(None)
    finally:
        ledger.remove_sink(found)


def play_crowd(
    make_server: Callable[[], Any], example: Example, tell: Callable[[object], None]
) -> None:
    """Run a server, and let three clients chat at a time."""
    if inspect.iscoroutinefunction(make_server):
        run(play_aio_crowd(make_server, tell))
        return
    starved = threading.Event()

    def found(finding: Finding) -> None:
        starved.set()

    server = make_server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    ledger.add_sink(found)
    try:
        handlers = lifecycle_handlers.handlers_of(server)
        crowd(address, starved if example.is_wrong else None, tell, handlers)
    finally:
        ledger.remove_sink(found)
        wait(server.stop(None))


async def play_aio_crowd(
    make_server: Callable[[], Awaitable[Any]], tell: Callable[[object], None]
) -> None:
    server = await make_server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        await asyncio.to_thread(crowd, address, None, tell)
    finally:
        await server.stop(None)


def crowd(
    address: str,
    starved: threading.Event | None,
    tell: Callable[[object], None],
    handlers: Any = None,
) -> None:
    """Chat three times at once; if the server is to be `starved`, it answers two until it is.

    Its `handlers` are at a line of the example when the third chat comes.
    """
    with sync_channel(address, mode=None) as channel:
        stub = route_guide_pb2_grpc.RouteGuideStub(channel)
        inboxes: list[queue.Queue[Any]] = [queue.Queue() for _ in range(3)]
        chats = []
        for number, inbox in enumerate(inboxes):
            inbox.put(route_guide_pb2.RouteNote(message=f"hello {number}"))
            chats.append(stub.RouteChat(iter(inbox.get, None), timeout=3 * PATIENCE))
            if starved is None or number < 2:
                tell(next(chats[-1]).message)
                if handlers is not None:
                    until(lambda: all(owner.stack for owner in handlers.snapshot()))
            else:
                wait(starved)
        for inbox in inboxes:
            inbox.put(None)
        for chat in chats:
            for note in chat:
                tell(note.message)


def staging(stage: Stage | None) -> dict[str, Any]:
    return {"mode": None, "interceptors": () if stage is None else (stage,)}


def registering(servicer: Any) -> Callable[[Any], None]:
    return lambda server: route_guide_pb2_grpc.add_RouteGuideServicer_to_server(servicer, server)


def visit(address: str, kind: type, tell: Callable[[object], None]) -> None:
    """Call the one method that servicers of `kind` have, and take its answers to the end."""
    points = [route_guide_pb2.Point(latitude=n) for n in range(3)]
    notes = [route_guide_pb2.RouteNote(message=f"note {n}") for n in range(3)]
    with sync_channel(address, mode=None) as channel:
        stub = route_guide_pb2_grpc.RouteGuideStub(channel)
        if "ListFeatures" in vars(kind):
            corners = route_guide_pb2.Rectangle(lo=points[1], hi=points[2])
            tell([feature.location.latitude for feature in stub.ListFeatures(corners)])
        elif "RecordRoute" in vars(kind):
            tell(stub.RecordRoute(iter(points)).point_count)
        else:
            tell([note.message for note in stub.RouteChat(iter(notes))])


def test_every_rule_has_its_examples() -> None:
    """Each page has a wrong and a right example; for an error, one per api that can break it."""
    errors = [name for name, rule in RULES.items() if rule.severity == "error"]
    apis = {name: {"sync", "aio"} for name in errors} | {
        "wrong-loop": {"aio"},
        "dead-server": {"sync"},
        "blocked-grpc-thread": {"sync"},
        "message-mutated": {"aio"},
    }
    for name in errors:
        for kind in ("Wrong", "Right"):
            titles = [one for one in EXAMPLES if one.rule == name and one.title.startswith(kind)]
            assert {one.api for one in titles} == apis[name], (name, kind)
    for name in RULES:
        for kind in ("Wrong", "Right"):
            assert any(one.rule == name and one.title.startswith(kind) for one in EXAMPLES), name


def test_every_code_block_is_an_example() -> None:
    """No block of Python code escapes the tests below."""
    blocks = sum(catalogue_pages.page(rule).count("```python") for rule in RULES.values())
    assert blocks == len(EXAMPLES)
    assert all(one.title.startswith(("Wrong (", "Right (")) for one in EXAMPLES)


@pytest.fixture
def at_the_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look for what an example leaves open when its main() has returned."""
    lifecycle_churn.forget_churn()
    plain = play_main

    def play_and_look(main: Callable[[], Any]) -> Any:
        ledger.test_attempt = test_attempt = object()
        try:
            return plain(main)
        finally:
            ledger.test_attempt = None
            lifecycle_leaks.look(lambda origin: origin.test_attempt is test_attempt)

    async def play_and_look_async(main: Callable[[], Any]) -> None:
        ledger.test_attempt = test_attempt = object()
        try:
            await main()
        finally:
            ledger.test_attempt = None
            lifecycle_leaks.look(lambda origin: origin.test_attempt is test_attempt)

    monkeypatch.setitem(globals(), "play_main", play_and_look)
    monkeypatch.setitem(globals(), "play_main_async", play_and_look_async)
    yield
    lifecycle_churn.forget_churn()


@pytest.mark.usefixtures("at_the_end")
@pytest.mark.parametrize("example", of_severity("warning", "advice", is_wrong=True), ids=str)
def test_wrong_example_of_a_warning(example: Example, found: Found) -> None:
    """A wrong example breaks its rule, and no other, and the finding names its line."""
    with contextlib.suppress(Exception, asyncio.CancelledError):
        play(example, False)
    seen = found()
    assert {(finding.rule, finding.api) for finding in seen} == {(example.rule, example.api)}
    for finding in seen:
        assert str(example) in {frame.file for frame in finding.caller.stack}


@pytest.mark.usefixtures("at_the_end")
@pytest.mark.parametrize("example", of_severity("warning", "advice", is_wrong=False), ids=str)
def test_right_example_of_a_warning(example: Example, found: Found) -> None:
    """A right example breaks no rule, leaves nothing open, and its RPCs carry what they should."""
    assert sorted(play(example)) == PRINTED[str(example)]
    assert found() == []


@pytest.mark.parametrize("example", of_severity("error", is_wrong=True), ids=str)
def test_wrong_example(example: Example, found: Found) -> None:
    """A wrong example breaks its rule, and no other, and the finding names its line."""
    seen = outcome(play, example)
    (finding,) = found()
    times = 4 if example.rule == "message-mutated" else 1  # of its five writes, or is refused
    assert (finding.rule, finding.api, finding.count) == (example.rule, example.api, times)
    # Not to a callback, nor when the message has gone.
    is_raised = finding.side == "client" and example.rule not in (
        "blocked-grpc-thread",
        "message-mutated",
    )
    assert isinstance(seen, ConcurrencyError) is is_raised
    assert finding.caller.site is not None
    assert finding.caller.site.file == str(example)


@pytest.mark.parametrize("example", of_severity("error", is_wrong=False), ids=str)
def test_right_example(example: Example, found: Found) -> None:
    """A right example breaks no rule, and its RPCs carry what they should."""
    assert sorted(play(example)) == PRINTED[str(example)]
    assert found() == []
