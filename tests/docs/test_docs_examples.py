"""The docs: every example runs, every listing says what its command says now, every link leads."""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.staging import RELEASE

import grpc_guard
from grpc_guard import Finding

TOP = Path(__file__).parents[2]
EXAMPLES = TOP / "docs/examples"


def script(name: str) -> ModuleType:
    """Return the script docs/`name`.py as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", TOP / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


listings = script("make_listings")
PAGES = [*listings.pages()]


def marks(kind: str) -> list[Any]:
    """Return a parameter for every listing of that kind in the pages."""
    return [
        pytest.param(match["what"], match["text"], id=f"{page.stem}: {match['what']}")
        for page in PAGES
        for match in listings._LISTING.finditer(page.read_text(encoding="utf-8"))
        if match["kind"] == kind
    ]


# Listings


@pytest.mark.parametrize(("file", "shown"), marks("file"))
def test_a_file_in_a_page(file: str, shown: str) -> None:
    """A page shows the example as it is now; python docs/make_listings.py fixes it."""
    assert shown == (TOP / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("command", "shown"), marks("run"))
def test_the_output_of_a_command_in_a_page(command: str, shown: str) -> None:
    """A page shows what the command prints now; python docs/make_listings.py fixes it."""
    if command.startswith("python symptoms/") and RELEASE < (1, 85):
        pytest.skip("what happens without the guard is shown for the newest grpcio")
    if "different_loop" in command and RELEASE < (1, 67):
        pytest.skip("two loops in one process now and then hang this grpcio, guarded or not")
    assert listings.same(listings.run(command)) == listings.same(shown)


@pytest.mark.parametrize(("command", "shown"), marks("once"))
def test_the_outcome_of_luck_in_a_page(command: str, shown: str) -> None:
    """An output that depends on luck is kept from one run, of a program that has not changed."""
    first, *rest = shown.splitlines()
    assert first == f"$ {command}"
    assert rest != []
    for file, line, code in re.findall(r'File "/src/(.+)", line (\d+), in .*\n +(.*)', shown):
        folder = TOP if file.startswith("grpc_guard/") else EXAMPLES
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
        assert lines[int(line) - 1].strip() == code
    for file, line, code in re.findall(
        r"^ +/src/(\S+):(\d+) in \S+\n(?: +\d+ \| .*\n)? +> \d+ \| +(.*)", shown, re.MULTILINE
    ):
        lines = (TOP / file).read_text(encoding="utf-8").splitlines()
        assert lines[int(line) - 1].strip() == code


def test_a_listing_of_old_is_made_anew() -> None:
    """A listing that says something else is replaced; one that differs in times alone is kept."""
    page = "<!-- run: x -->\n```text\nin 3.1 ms\n```\n<!-- file: y -->\n```python\nold\n```\n"
    made = {"x": "in 2.7 ms\n", "y": "new\n"}
    assert listings.show(page, lambda kind, what: made[what]) == page.replace("old", "new")


def test_a_lucky_listing_is_made_once() -> None:
    """A listing that depends on luck is made if it is missing, and then kept."""
    page = "<!-- once: x -->\n```text\n```\n"
    made = listings.show(page, lambda kind, what: "won\n")
    assert made == "<!-- once: x -->\n```text\nwon\n```\n"
    assert listings.show(made, lambda kind, what: "lost\n") == made


def test_a_handler_cut_off_by_the_end_of_the_loop_is_luck() -> None:
    """What grpcio prints about it does not count; another traceback does."""
    cut_off = (
        "Traceback (most recent call last):\n"
        '  File "src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi", line 812, in grpc._x\n'
        "asyncio.exceptions.CancelledError\n"
    )
    own = cut_off.replace("src/python/grpcio/", "/src/")
    assert listings.same(f"a\n{cut_off}b\n") == "a\nb\n"
    assert listings.same(f"a\n{own}b\n") != "a\nb\n"


svg = script("make_svg")


@pytest.mark.parametrize(("picture", "command"), svg.DRAWN.items())
def test_a_picture_of_a_command(picture: str, command: str) -> None:
    """A picture shows what its command shows now; python docs/make_svg.py draws it anew."""
    drawn = svg.letters_in((TOP / picture).read_text(encoding="utf-8"))
    assert drawn == svg.letters(svg.shown(command))


# Pages with fragments of programs and with outputs whose numbers are drawn at random.
BY_HAND = {"lifecycle.md", "probe.md", "registry.md"}
MARKED = [page for page in PAGES if page.name not in BY_HAND]


def test_every_output_in_a_page_is_marked() -> None:
    """Every output on a page is made by make_listings: each prompt has a mark above it."""
    for page in MARKED:
        unmarked = listings._LISTING.sub("", page.read_text(encoding="utf-8"))
        assert re.findall(r"^ *\$ .*", unmarked, re.MULTILINE) == [], page


def test_every_program_in_a_page_is_a_file() -> None:
    """No page holds a Python program that nothing runs: each block stands below a mark."""
    for page in MARKED:
        unmarked = listings._LISTING.sub("", page.read_text(encoding="utf-8"))
        assert re.findall(r"^```py\w*", unmarked, re.MULTILINE) == [], page


def test_fragments_are_python() -> None:
    """The fragments of programs in the pages made by hand can be parsed."""
    fragments = [
        fragment
        for page in PAGES
        if page.name in BY_HAND
        for fragment in re.findall(
            r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
    ]
    assert fragments != []
    for fragment in fragments:
        compile(fragment, "fragment", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_no_listing_tells_of_the_machine() -> None:
    """Paths of the machine on which the listings were made stand in no page."""
    for page in PAGES:
        assert re.findall(r"/(?:home|root|tmp|work)/\S+", page.read_text(encoding="utf-8")) == []


# Symptoms

RULE_OF = {
    "anext_already_running": "concurrent-read",
    "crash": "handler-returned",
    "different_loop": "wrong-loop",
    "exception_iterating_requests": "shared-iterator",
    "false_end": "concurrent-read",
    "internal_call_error_8": "concurrent-read",
    "rpc_already_finished": "handler-returned",
    "server_stops_answering": "concurrent-read",
    "too_many_operations": "concurrent-write",
}


def test_every_symptom_has_a_rule() -> None:
    """Each program that shows a symptom stands in the table of this module."""
    assert {path.stem for path in EXAMPLES.glob("symptoms/*.py")} == set(RULE_OF)


CONFIRMED = {
    Path(command).stem: (kind, shown)
    for kind in ("run", "once")
    for command, shown in (mark.values for mark in marks(kind))
    if command.startswith("grpc-guard run symptoms/")
}


@pytest.mark.parametrize(("symptom", "rule"), RULE_OF.items())
def test_a_symptom_is_confirmed(symptom: str, rule: str) -> None:
    """grpc-guard run names the rule that the program breaks, and nothing else."""
    kind, shown = CONFIRMED[symptom]
    if kind == "once":  # the others are compared with what the command prints now
        shown = listings.run(f"grpc-guard run symptoms/{symptom}.py")
    assert shown.splitlines()[1].startswith(f"{rule}: ")
    assert re.findall(r"^  (\S+) \(error\)$", shown, re.MULTILINE) == [rule]
    assert shown.endswith("$ echo $?\n66\n")


@pytest.mark.parametrize(("text", "page"), script("check_site").SOUGHT.items())
def test_what_people_search_for_is_a_heading(text: str, page: str) -> None:
    """The page about an error text has it as its heading, and README and index lead there."""
    heading, *_ = (TOP / f"docs/{page}.md").read_text(encoding="utf-8").splitlines()
    assert text in heading
    for index in (TOP / "README.md", TOP / "docs/symptoms/index.md"):
        lines = index.read_text(encoding="utf-8").splitlines()
        assert any(f"{Path(page).name}.md)" in line for line in lines), index


# Examples


def run_example(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the program under the guard and return what it printed."""
    with grpc_guard.guarded():
        runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


PATTERNS = {path.stem: path for path in sorted(EXAMPLES.glob("patterns/*.py"))}
PRINTED = {
    "chat_aio": "Ann reads: hello\nBen reads: hello\n",
    "chat_sync": "Ann reads: hello\nBen reads: hello\n",
    "consumers_lock_aio": "read: 12, each once\n",
    "consumers_lock_sync": "read: 12, each once\n",
    "consumers_queue_aio": "read: 12, each once\n",
    "consumers_queue_sync": "read: 12, each once\n",
    "consumers_receiver_aio": "read: 12, each once\n",
    "consumers_receiver_sync": "read: 12, each once\n",
    "fan_out_aio": "map: 12\nlist: 12\n",
    "fan_out_sync": "map: 12\nlist: 12\n",
    "fan_out_subscribers_aio": "map: 12\nlist: 12\nnewest: ['Summit']\n",
    "fan_out_subscribers_sync": "map: 12\nlist: 12\nnewest: ['Summit']\n",
    "handler_ends_aio": "answers: 3\ntold: {'StatusCode.OK'}\n",
    "handler_ends_sync": "answers: 3\ntold: {'StatusCode.OK'}\n",
    "handler_producers_aio": "answers: 6\n",
    "handler_producers_sync": "answers: 6\n",
    "producers_lock_aio": "answers: 6\n",
    "producers_queue_aio": "answers: 6\n",
    "producers_queue_sync": "answers: 6\n",
    "producers_sender_aio": "answers: 6\n",
    "producers_sender_sync": "answers: 6\n",
    "reconnect_aio": "the last: the ranger has read: 39\n",
    "reconnect_sync": "the last: the ranger has read: 39\n",
    "slow_peers_sync": "wait: not sent: 2\n"
    "drop_oldest: to be sent: ['3', '4']\n"
    "fail: too slow at: 2\n",
}


def test_every_pattern_is_run() -> None:
    """Each program that shows a right way stands in the table of this module."""
    assert set(PATTERNS) == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_a_right_way(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A right way does what it says, loses nothing, and the guard finds nothing in it."""
    assert run_example(PATTERNS[name], capsys) == PRINTED[name]


def test_the_snippets(
    capsys: pytest.CaptureFixture[str], found: Callable[[], list[Finding]]
) -> None:
    """The short programs of the how-to pages run, and print what they say."""
    for path in sorted(EXAMPLES.glob("howto/*.py")):
        try:
            printed = run_example(path, capsys)
        finally:
            grpc_guard.disable()  # enable.py leaves it on
        said = re.findall(r"# prints: (.*)", path.read_text(encoding="utf-8"))
        assert printed.splitlines() == said, path
        assert all(finding.remedy for finding in found())


LIBRARIES = {  # name of the example: what it needs, the exit status, what is said
    "telemetry": ("opentelemetry.instrumentation.grpc", 0, "read: 12"),
    "greenlets": ("gevent", 66, "concurrent-read: next by "),
    "loop": ("uvloop", 66, "concurrent-read: read by task 'reader-2' "),
}


def test_every_example_with_a_library_is_run() -> None:
    """Each program with another library stands in the table of this module."""
    assert {path.stem for path in EXAMPLES.glob("libraries/*.py")} == set(LIBRARIES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_example_with_a_library(name: str) -> None:
    """grpc-guard run does with the program what its page says, where the library is installed."""
    library, status, said = LIBRARIES[name]
    pytest.importorskip(library)
    shown = listings.run(f"grpc-guard run libraries/{name}.py")
    assert shown.splitlines()[1].startswith(said)
    assert shown.endswith(f"$ echo $?\n{status}\n") is (status != 0)


def test_the_baseline(tmp_path: Path) -> None:
    """The baseline that a page shows is the one that the command writes now."""
    listings.run(f"grpc-guard run --write-baseline {tmp_path}/known.json chat.py")
    assert (tmp_path / "known.json").read_text() == (EXAMPLES / "known.json").read_text()


@pytest.mark.parametrize("file", ["github.yml", "gitlab.yml"])
def test_what_ci_runs(file: str, tmp_path: Path) -> None:
    """The line with pytest in a configuration for CI finds what is wrong, and writes its file."""
    text = (EXAMPLES / "ci" / file).read_text(encoding="utf-8")
    (command,) = re.findall(r"- (?:run: )?(pytest .*)", text)
    shown = listings.run(command.replace("junit.xml", f"{tmp_path}/junit.xml") + " tests")
    assert shown.endswith("$ echo $?\n1\n")
    assert 'name="grpc_guard"' in (tmp_path / "junit.xml").read_text()


# The reference


def test_the_reference_is_up_to_date() -> None:
    """The pages made from parsers and schema say what docs/make_reference.py makes of them now."""
    reference = script("make_reference")
    for name, make in reference.PAGES.items():
        assert (TOP / "docs/reference" / name).read_text(encoding="utf-8") == make()


def test_the_map_of_the_compiled_core_is_up_to_date() -> None:
    """The page about the compiled core has each of its files, with what the file says of itself."""
    core = script("make_core")
    assert core.PAGE.read_text(encoding="utf-8") == core.page()


def test_every_public_name_is_in_the_reference() -> None:
    """The page about the API has each public name, and no other."""
    page = (TOP / "docs/reference/api.md").read_text(encoding="utf-8")
    page, _, of_inspection = page.partition("## grpc_guard.inspection")
    for text, module in ((page, grpc_guard), (of_inspection, grpc_guard.inspection)):
        assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.MULTILINE)) == module.__all__


def test_every_option_is_in_the_settings() -> None:
    """The settings page names every option of the command line that the parsers have."""
    command_line = (TOP / "docs/reference/command-line.md").read_text(encoding="utf-8")
    settings = (TOP / "docs/settings.md").read_text(encoding="utf-8")
    options = re.findall(r"^\| `(--[a-z-]+)", command_line, re.MULTILINE)
    assert options != []
    assert [option for option in options if f"`{option}" not in settings] == []


# What the project says of itself


def test_supported_pythons() -> None:
    """Sessions, classifiers, workflows, README and the page about compatibility name the same."""
    text = {
        name: (TOP / name).read_text(encoding="utf-8")
        for name in ("noxfile.py", "pyproject.toml", "README.md", ".github/workflows/tests.yml")
    }
    (listed,) = re.findall(r"^SUPPORTED = (\(.*\))", text["noxfile.py"], re.MULTILINE)
    supported = list(ast.literal_eval(listed))
    assert re.findall(r"Python :: (3\.\d+)", text["pyproject.toml"]) == supported
    suite, *_ = re.findall(r"python: (\[.*\])", text[".github/workflows/tests.yml"])
    assert ast.literal_eval(suite) == supported
    assert f"CPython {supported[0]} to {supported[-1]}" in text["README.md"]
    page = (TOP / "docs/reference/compatibility.md").read_text(encoding="utf-8")
    assert f"Python | {supported[0]} |" in page


def test_workflows_call_sessions_that_are_there() -> None:
    """What a workflow runs by nox is a session of noxfile.py, as in .ci/run."""
    sessions = re.findall(r"^def (\w+)\(session", (TOP / "noxfile.py").read_text(), re.MULTILINE)
    called = [
        name.partition("-")[0]
        for workflow in (TOP / ".github/workflows").glob("*.yml")
        for line in re.findall(r"--session (.+)", workflow.read_text(encoding="utf-8"))
        for name in line.replace('"', "").replace("${{ matrix.python }}", "").split()
    ]
    assert {"tests", "wheel", "docs", "package"} <= set(called) <= set(sessions)


# Links


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_outside_the_site(page: str) -> None:
    """What the texts in the top folder link to is there; nox -s docs checks the site's own."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (TOP / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (TOP / link).exists()] == []
