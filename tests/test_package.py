"""The package that is published: what is in it, and what it says of itself.

``nox -s package`` runs these; where `build` and `hatchling` are not installed they are skipped.
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

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
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(TOP)]
    plain = {name: value for name, value in os.environ.items() if name != "GRPC_GUARD_PURE"}
    without = {**plain, "CC": "/bin/false"}  # where a compiler is asked, the build fails
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT, env=without)
    return folder


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
    """The wheel is pure Python, unless somebody asks for the compiled core."""
    (path,) = built.glob("*.whl")
    assert path.name == f"grpc_guard-{grpc_guard.__version__}-py3-none-any.whl"


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
