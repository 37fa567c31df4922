"""Builds the compiled core if that can be done, and never fails an installation for it.

``GRPC_GUARD_PURE=1`` builds none, ``GRPC_GUARD_PURE=0`` fails where it cannot be built; as when it
runs, see docs/settings.md.
"""

from __future__ import annotations

import atexit
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("grpc_guard", "_core")
_NAME = "grpc_guard._core._compiled"
_TRIED = {(3, 11), (3, 12), (3, 13)}  # elsewhere it is compiled where somebody asks for it
_PATIENCE = 60.0  # seconds

# What cannot be loaded here, or brings down who loads it, is as if it had not been compiled.
_LOAD = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("_compiled", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_compiled", loader))
loader.exec_module(module)
"""


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel; to an editable installation by putting it beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        wanted = os.environ.get("GRPC_GUARD_PURE", "")
        folder = Path(self.root) / _FOLDER
        try:
            library = None
            if wanted == "0" or (wanted != "1" and _is_supported()):
                library = _build(folder / "_compiled.c", is_silent=wanted != "0")
        except BaseException as error:
            # SystemExit too, with which setuptools ends where there is no compiler.
            if wanted == "0" or isinstance(error, KeyboardInterrupt):
                raise
        if version == "editable":
            _put_in_place(library, folder)
        elif library is not None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"][str(library)] = str(_FOLDER / library.name)


def _is_supported() -> bool:
    # Without the GIL the core in Python runs: the compiled one would switch it on again.
    is_free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    is_tried = sys.version_info[:2] in _TRIED
    return platform.python_implementation() == "CPython" and is_tried and not is_free_threaded


def _build(source: Path, *, is_silent: bool) -> Path:
    """Compile the core into a folder that goes when this process ends; return the library."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    folder = tempfile.mkdtemp(prefix="grpc_guard")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    checksum = f"{zlib.crc32(source.read_bytes())}u"  # compared when it is imported
    extension = Extension(_NAME, [str(source)], define_macros=[("CHECKSUM", checksum)])
    command = build_ext(Distribution({"name": "grpc-guard", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = folder
    command.ensure_finalized()
    with _silence() if is_silent else nullcontext():
        command.run()
    library = Path(command.get_ext_fullpath(_NAME)).resolve(strict=True)
    if is_silent:  # who requires it may build it for another machine
        subprocess.run(
            [sys.executable, "-c", _LOAD, str(library)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    return library


def _put_in_place(library: Path | None, folder: Path) -> None:
    """Replace the library that an earlier installation left for this Python, or take it away."""
    there = folder / f"_compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    try:
        if library is None:
            there.unlink(missing_ok=True)
        else:
            # A process that has it loaded keeps what it has.
            new = there.with_name(f"{there.name}.{os.getpid()}.so")
            shutil.copyfile(library, new)
            os.replace(new, there)
    except OSError:
        pass  # what cannot be replaced and is of another source is not taken: see which.py


@contextmanager
def _silence() -> Iterator[None]:
    """Send what this process and its compilers print nowhere, for a block."""
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with open(os.devnull, "w") as nowhere:
            for number, _ in kept:
                os.dup2(nowhere.fileno(), number)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
