"""The package that is published: what is in it, and what it says of itself.

``nox -s package`` runs these; where `build` and `hatchling` are not installed they are skipped.
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import grpc_guard

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "grpc_guard"
TIMEOUT = 100.0  # seconds
INFO = f"grpc_guard-{grpc_guard.__version__}.dist-info"
BUILDERS = all(map(importlib.util.find_spec, ["build", "hatchling"]))

pytestmark = pytest.mark.skipif(not BUILDERS, reason="build or hatchling is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder, CC="/bin/false").check_returncode()
    return folder


def build(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build into `folder`, with only these settings of the guard and of compilers."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *options]
    ours = ("GRPC_GUARD_PURE", "CC", "CFLAGS", "LDFLAGS", "LDSHARED")
    plain = {name: value for name, value in os.environ.items() if name not in ours}
    env = {**plain, **environment}
    return subprocess.run(
        [*command, str(TOP)], capture_output=True, text=True, timeout=TIMEOUT, env=env
    )


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())


def test_the_contents_of_the_wheel(wheel: zipfile.ZipFile) -> None:
    """The wheel holds the package, its data included, and nothing else."""
    package = {
        path.relative_to(TOP).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.suffix not in {".c", ".h", ".so", ".pyd"}
    }
    package.remove("grpc_guard/_cli/run/site/grpc_guard.pth")
    package.add("grpc_guard.pth")  # where Python looks for it at start
    info = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert set(wheel.namelist()) == package | {f"{INFO}/{name}" for name in info}
    suffixes = {".json", ".md", ".proto", ".pth", ".py", ".pyi", ".typed"}
    assert {Path(name).suffix for name in package} == suffixes


def test_the_wheel_is_for_every_machine(built: Path) -> None:
    """Where the compiler fails, the wheel is pure Python."""
    (path,) = built.glob("*.whl")
    assert path.name == f"grpc_guard-{grpc_guard.__version__}-py3-none-any.whl"


COMPILER = str(sysconfig.get_config_var("CC") or "").partition(" ")[0]


@pytest.mark.skipif(not shutil.which(COMPILER or "none"), reason="there is no C compiler")
def test_the_wheel_of_a_machine_with_a_compiler(tmp_path: Path) -> None:
    """The compiled core is in it, unless somebody wants none, and it is for this machine alone."""
    build(tmp_path, "--wheel").check_returncode()
    (path,) = tmp_path.glob("*.whl")
    assert not path.name.endswith("-any.whl")
    library = f"grpc_guard/_core/_compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert library in zipfile.ZipFile(path).namelist()
    path.unlink()
    build(tmp_path, "--wheel", GRPC_GUARD_PURE="1").check_returncode()
    (path,) = tmp_path.glob("*.whl")
    assert path.name.endswith("-any.whl")


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    """It is an error where the compiled core is required, and what it said is told."""
    failed = build(tmp_path, "--wheel", GRPC_GUARD_PURE="0", CC="/bin/false")
    assert failed.returncode != 0
    assert "/bin/false" in failed.stdout + failed.stderr
    assert "ended with status 1" in failed.stdout + failed.stderr


def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", TOP / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_compiler_that_does_not_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is ended, where nobody has required the compiled core."""
    monkeypatch.setenv("GRPC_GUARD_PURE", "")
    building: Any = hook()
    monkeypatch.setattr(building, "_TIMEOUT", 0.0)
    with pytest.raises(subprocess.TimeoutExpired) as error:
        building._run(["sleep", "1000"], tmp_path)
    (process,) = (e.locals["process"] for e in error.traceback if e.name == "_run")
    assert process.returncode == -signal.SIGKILL


def test_a_library_that_cannot_be_put_in_place(tmp_path: Path) -> None:
    """What an installation that was killed has left is taken away, and the old library with it."""
    building: Any = hook()
    there = tmp_path / f"_compiled{building._suffix()}"
    for left in (there, there.with_name(f"{there.name}.123.new")):
        left.touch()
    with pytest.raises(FileNotFoundError):
        building._put_in_place(tmp_path / "missing", tmp_path)
    assert list(tmp_path.iterdir()) == [there]
    building._put_in_place(None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_contents_of_the_sdist(built: Path) -> None:
    """The sdist holds what a packager needs to test and to document, and nothing that was built."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "noxfile.py"),
        *("pyproject.toml", "docs/conf.py", "docs/examples/chat.py", "tests/support/staging.py"),
        *("hatch_build.py", "grpc_guard/_core/c/core.h", "grpc_guard/_core/c/module.c"),
        *("benchmarks/__main__.py", "grpc_guard/_reports/report.schema.json", "typings/wrapt.pyi"),
    }
    assert needed - names == set()
    unwanted = re.compile(r"(^|/)(_build|__pycache__|dist|\.nox|\.venv|\.git)(/|$)|\.pyc$|\.so$")
    assert [name for name in names if unwanted.search(name)] == []


def test_the_entry_points(wheel: zipfile.ZipFile) -> None:
    """The wheel brings the command and the pytest plugin."""
    found = configparser.ConfigParser()
    found.read_string(wheel.read(f"{INFO}/entry_points.txt").decode())
    assert {name: dict(found[name]) for name in found.sections()} == {
        "console_scripts": {"grpc-guard": "grpc_guard.__main__:main"},
        "pytest11": {"grpc_guard": "grpc_guard.pytest_plugin"},
    }


def test_the_metadata(metadata: Message) -> None:
    """The metadata is complete, and its version is that of the package."""
    assert metadata["Name"] == "grpc-guard"
    assert metadata["Version"] == grpc_guard.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    extras = ["agents", "bench", "cli", "compat", "docs", "test"]
    assert metadata.get_all("Provides-Extra") == extras
    links = [link.partition(",")[0] for link in metadata.get_all("Project-URL", [])]
    assert links == ["Homepage", "Documentation", "Changelog", "Issues"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    plain = [line for line in metadata.get_all("Requires-Dist", []) if ";" not in line]
    assert plain == ["grpcio>=1.66.2", "protobuf>=5.26.1", "wrapt>=2.0.0"]


def test_the_changelog_has_a_place_for_the_version() -> None:
    """The changelog begins with what is unreleased, or with the version of the package."""
    text = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.findall(r"^## (\S+)", text, re.MULTILINE)[0]
    assert first in ("Unreleased", grpc_guard.__version__)
