"""What a frame belongs to, however the path of its module is spelled."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import importlib
import os
import py_compile
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import grpc.aio
import pytest
import wrapt
from inside import Whose, core_stream, findings_stacks, findings_whose, note_origin
from support.staging import PATIENCE

import grpc_guard

CODE = "import sys\ndef frame():\n    return sys._getframe()\n"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], FrameType]]:
    """Return a frame of a function of module `name`, found by a `path` of sys.path."""
    names: list[str] = []

    def imported(path: str, name: str) -> FrameType:
        names.append(name)
        monkeypatch.syspath_prepend(path)
        module = importlib.import_module(name)
        frame: FrameType = module.frame()
        return frame

    yield imported
    for name in names:
        del sys.modules[name]


def frame_of(file: str, **names: object) -> FrameType:
    """Return a frame of code that seems to stand in `file`, executed among `names`."""
    exec(compile(CODE, file, "exec"), names)
    frame: FrameType = names["frame"]()  # type: ignore[operator]
    return frame


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer calls these functions, too")
def test_functions_of_os_that_a_tool_has_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is resolved by the guard's own: blockbuster has those of `os` raise where a loop runs."""

    class BlockingError(Exception):
        pass

    def refuse(*args: object, **kwargs: object) -> None:
        raise BlockingError(args)

    (tmp_path / "real.py").write_text(CODE)
    (tmp_path / "link.py").symlink_to("real.py")
    for name in ("getcwd", "lstat", "stat", "readlink", "path.abspath", "path.islink"):
        monkeypatch.setattr(f"os.{name}", refuse)
    frame = frame_of(str(tmp_path / "link.py"))
    kind, path = findings_whose.decide(frame), findings_whose._resolved(str(tmp_path / "link.py"))
    monkeypatch.undo()
    assert kind is Whose.PROGRAM
    assert path == os.path.realpath(tmp_path / "real.py")


@pytest.mark.parametrize(
    "module",
    [core_stream, grpc_guard, grpc, grpc.aio, asyncio, wrapt, threading, concurrent.futures.thread],
)
def test_machinery(module: object) -> None:
    """The guard, grpcio, asyncio and what starts threads are the machinery."""
    assert findings_whose.whose_file(vars(module)["__file__"]) is Whose.MACHINERY


@pytest.mark.parametrize("file", [__file__, "<stdin>", "app.py", "grpc/app.py"])
def test_program(file: str) -> None:
    """The program is neither installed nor Python's own."""
    assert findings_whose.whose_file(file) is Whose.PROGRAM
    assert findings_whose.whose(frame_of(file)) is Whose.PROGRAM


@pytest.mark.parametrize(
    "file",
    [
        os.__file__,
        pytest.__file__,
        "<frozen runpy>",
        "/srv/lib/python3/dist-packages/agent/__init__.py",
        os.path.join(sysconfig.get_path("scripts"), "gunicorn"),
    ],
)
def test_library(file: str) -> None:
    """Python's own modules and those that were installed are libraries; so are entry points."""
    assert findings_whose.whose_file(file) is Whose.LIBRARY


def test_a_program_beside_the_entry_points() -> None:
    """A script of the user in the folder where pip puts entry points is a program."""
    file = os.path.join(sysconfig.get_path("scripts"), "app.py")
    assert findings_whose.whose_file(file) is Whose.PROGRAM


@pytest.mark.parametrize(
    "file",
    [
        asyncio.base_events.__file__,
        asyncio.events.__file__,
        asyncio.runners.__file__,
        "/srv/uvloop/loop.pyx",
    ],
)
def test_loop(file: str) -> None:
    """asyncio and uvloop run loops."""
    assert findings_whose.whose_file(file) is Whose.LOOP


@pytest.mark.parametrize("file", ["/srv/chat_pb2_grpc.py", "/build/channel.pyx.pxi"])
def test_nobodys_line(file: str) -> None:
    """A line of a generated stub, or of grpcio's compiled sources, is not the program's."""
    assert findings_whose.whose_file(file) is Whose.MACHINERY


def test_demo_is_a_program() -> None:
    """The demo plays the part of a program."""
    folder = os.path.join(os.path.dirname(grpc_guard.__file__), "_cli")
    assert findings_whose.whose_file(os.path.join(folder, "explain.py")) is Whose.MACHINERY
    assert findings_whose.whose_file(os.path.join(folder, "demo", "play.py")) is Whose.PROGRAM


@pytest.mark.parametrize("module", [grpc, core_stream, asyncio, os, pytest])
def test_any_spelling(module: object) -> None:
    """A path with ``..`` or ``.`` in it names the same file."""
    folder, name = os.path.split(vars(module)["__file__"])
    spelled = os.path.join(folder, "..", os.path.basename(folder), ".", name)
    expected = findings_whose.whose_file(vars(module)["__file__"])
    assert expected is not Whose.PROGRAM
    assert findings_whose.whose_file(spelled) is expected


def test_a_linked_folder(tmp_path: Path) -> None:
    """A file that is found through a link counts as the target of the link."""
    links = {"vendor": grpc, "tools": pytest}
    for name, module in links.items():
        (tmp_path / name).symlink_to(os.path.dirname(module.__file__), target_is_directory=True)
    found = [findings_whose.whose_file(str(tmp_path / name / "__init__.py")) for name in links]
    assert found == [Whose.MACHINERY, Whose.LIBRARY]


def test_an_installation_by_link(
    tmp_path: Path, imported: Callable[[str, str], FrameType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If site-packages is a link, its content still counts as installed."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "agent_by_link.py").write_text(CODE)
    link = tmp_path / "site-packages"
    link.symlink_to(tmp_path / "store", target_is_directory=True)
    assert findings_whose.whose(imported(str(link), "agent_by_link")) is Whose.LIBRARY


def test_a_program_that_is_installed_by_link(
    tmp_path: Path, imported: Callable[[str, str], FrameType]
) -> None:
    """A program that its developer linked into the installation is a program."""
    (tmp_path / "app_by_link.py").write_text(CODE)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "app_by_link.py").symlink_to(tmp_path / "app_by_link.py")
    frame = imported(str(tmp_path / "site-packages"), "app_by_link")
    assert findings_whose.whose(frame) is Whose.PROGRAM


def test_what_was_compiled_elsewhere(
    tmp_path: Path, imported: Callable[[str, str], FrameType]
) -> None:
    """Code that names the file from which it was compiled is its module's all the same."""
    for folder, name in (("site-packages", "agent_elsewhere"), ("app", "app_elsewhere")):
        (tmp_path / folder).mkdir()
        source = tmp_path / f"{name}.py"
        source.write_text(CODE)
        where = f"/build/{'app' if folder == 'site-packages' else 'site-packages'}/{name}.py"
        py_compile.compile(str(source), str(tmp_path / folder / f"{name}.pyc"), dfile=where)
        source.unlink()
    agent = imported(str(tmp_path / "site-packages"), "agent_elsewhere")
    app = imported(str(tmp_path / "app"), "app_elsewhere")
    assert agent.f_code.co_filename == "/build/app/agent_elsewhere.py"
    assert [findings_whose.whose(frame) for frame in (agent, app)] == [
        Whose.LIBRARY,
        Whose.PROGRAM,
    ]


def test_a_zip_file(tmp_path: Path, imported: Callable[[str, str], FrameType]) -> None:
    """The place of a zip file decides for its content."""
    (tmp_path / "site-packages").mkdir()
    found = []
    for archive, name in (("site-packages/agents.zip", "agent_zipped"), ("app.zip", "app_zipped")):
        with zipfile.ZipFile(tmp_path / archive, "w") as file:
            file.writestr(f"{name}.py", CODE)
        found.append(findings_whose.whose(imported(str(tmp_path / archive), name)))
    assert found == [Whose.LIBRARY, Whose.PROGRAM]


def test_code_without_a_file() -> None:
    """Code that a library compiles from a string is its own; the same name elsewhere is not."""
    library = frame_of("<string>", __file__=pytest.__file__)
    program = frame_of("<string>")
    for _ in range(2):
        assert findings_whose.whose(library) is Whose.LIBRARY
        assert findings_whose.whose(program) is Whose.PROGRAM
    assert findings_whose.whose(frame_of("app.py", __file__=None)) is Whose.PROGRAM


def test_is_of_grpc() -> None:
    """Frames of grpcio and of the guard belong to grpcio, those of the demo do not."""
    demo = os.path.join(os.path.dirname(grpc_guard.__file__), "_cli", "demo", "play.py")
    for _ in range(2):
        assert findings_whose.is_of_grpc(frame_of(grpc.__file__))
        assert findings_whose.is_of_grpc(frame_of("<string>", __file__=core_stream.__file__))
        assert not findings_whose.is_of_grpc(frame_of(demo))
        assert not findings_whose.is_of_grpc(frame_of(asyncio.__file__))
        findings_whose.whose(frame_of(demo))


# What a stack ends in


def test_the_last_line_of_the_program() -> None:
    """A stack ends in the program: what libraries do further in on its behalf is left out."""
    frames = [
        frame_of(grpc.__file__),
        frame_of("/srv/site-packages/agent.py"),
        frame_of("app.py"),
        frame_of("/srv/site-packages/framework.py"),
        frame_of("main.py"),
    ]
    folded = findings_stacks.fold(frames)
    assert [frame.file for frame in folded] == [
        "main.py",
        "/srv/site-packages/framework.py",
        "app.py",
    ]


def test_a_program_that_is_installed() -> None:
    """If everything is installed, the innermost line is reported."""
    frames = [frame_of(f"/srv/site-packages/{name}.py") for name in ("app", "framework")]
    folded = findings_stacks.fold([frame_of(grpc.__file__), *frames])
    assert [os.path.basename(frame.file) for frame in folded] == ["framework.py", "app.py"]


def test_a_line_among_lines() -> None:
    """Among lines without frames, too, the first line of the program counts."""
    library, program = ("/srv/site-packages/agent.py", 1, "f"), ("app.py", 2, "g")
    for lines in ([library, program], [program, library], [program]):
        (frame,) = findings_stacks.line_in([(grpc.__file__, 3, "h"), *lines])
        assert frame.file == "app.py"
    (frame,) = findings_stacks.line_in([library, (pytest.__file__, 4, "i")])
    assert frame.file == library[0]
    assert findings_stacks.line_in([(grpc.__file__, 3, "h")]) == ()


def test_the_origin_of_what_a_library_made_by_itself() -> None:
    """If no line of the program is on the stack, that of a library is reported."""
    names: dict[str, Any] = {"note": note_origin, "made": []}
    exec(
        compile("def make(): made.append(note('start'))", "/srv/site-packages/m.py", "exec"), names
    )
    thread = threading.Thread(target=names["make"])
    thread.start()
    thread.join(PATIENCE)
    assert str(names["made"][0]) == "at /srv/site-packages/m.py:1"


_PROXYING = """
import sys, threading
from concurrent import futures
import grpc, grpc_guard

assert ".." in grpc.__file__ and ".." in grpc_guard.__file__
grpc_guard.enable()
over, taken = threading.Event(), threading.Event()
kept = []


def late(message):
    assert over.wait({patience})
    return message


def proxy(requests, context):  # legal: it gives its requests to another call, and returns
    kept.append(channel.stream_stream("/S/Up")(map(late, requests)))
    return b"ok"


def up(requests, context):
    yield from requests
    taken.set()


server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", {{
    "Proxy": grpc.stream_unary_rpc_method_handler(proxy),
    "Up": grpc.stream_stream_rpc_method_handler(up)}}),))
channel = grpc.insecure_channel("127.0.0.1:%d" % server.add_insecure_port("127.0.0.1:0"))
server.start()
channel.stream_unary("/S/Proxy")(iter((b"a", b"b")))
over.set()
assert taken.wait({patience})
print([(str(finding.rule), finding.caller.site) for finding in grpc_guard.findings()])
channel.close()
server.stop(None).wait()
"""


def test_grpcio_by_a_path_with_dots(tmp_path: Path) -> None:
    """If grpcio and the guard are found by a path with ``..``, a legal program has no finding."""
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (tmp_path / "src").mkdir()
    for module in (grpc, grpc_guard, wrapt):
        assert module.__file__ is not None
        folder = os.path.dirname(module.__file__)
        (vendor / os.path.basename(folder)).symlink_to(folder, target_is_directory=True)
    found = os.path.join(tmp_path, "src", "..", "vendor")
    code = f"import sys; sys.path.insert(0, {found!r})" + _PROXYING.format(patience=PATIENCE)
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert process.stdout == "[]\n"
