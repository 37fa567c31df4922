"""Compiles the core where somebody asks for it: ``GRPC_GUARD_PURE=0`` in the environment.

Any other installation has the core in Python, and needs no compiler. See docs/settings.md.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sysconfig
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("grpc_guard", "_core")
_NAME = "grpc_guard._core._compiled"


def _is_wanted() -> bool:
    return os.environ.get("GRPC_GUARD_PURE") == "0"


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel; to an editable installation by putting it beside its source."""

    def dependencies(self) -> list[str]:
        return ["setuptools>=69"] if _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / _FOLDER
        library = _compiled(folder / "c") if _is_wanted() else None
        if version == "editable":
            _put_in_place(library, folder)
        elif library is not None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"][str(library)] = str(_FOLDER / library.name)


def _compiled(sources: Path) -> Path:
    """Compile the core into a folder that goes when this process ends; return the library."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    folder = tempfile.mkdtemp(prefix="grpc_guard")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files, checksum = sorted(sources.glob("*.[ch]")), 0
    for file in files:
        checksum = zlib.crc32(file.read_bytes(), checksum)
    extension = Extension(
        _NAME,
        [str(file) for file in files if file.suffix == ".c"],
        define_macros=[("CHECKSUM", f"{checksum}u")],  # compared when it is imported: which.py
    )
    command = build_ext(Distribution({"name": "grpc-guard", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = folder
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(_NAME)).resolve(strict=True)


def _put_in_place(library: Path | None, folder: Path) -> None:
    """Replace the library that an earlier installation left for this Python, or take it away."""
    there = folder / f"_compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    if library is None:
        there.unlink(missing_ok=True)
    else:
        # A process that has it loaded keeps what it has.
        new = there.with_name(f"{there.name}.{os.getpid()}.so")
        shutil.copyfile(library, new)
        os.replace(new, there)
