"""Builds the compiled core if that can be done, and never fails an installation for it.

``GRPC_GUARD_PURE=1`` builds none, ``GRPC_GUARD_PURE=0`` fails where it cannot be built; as when it
runs, see docs/settings.md.
"""

from __future__ import annotations

import os
import platform
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCE = Path("grpc_guard", "_core", "_compiled.c")
_NAME = "grpc_guard._core._compiled"


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel; to an editable installation by putting it beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("GRPC_GUARD_PURE", "")
        if self.target_name != "wheel" or wanted == "1" or not (wanted == "0" or _is_supported()):
            return
        root = Path(self.root)
        try:
            library = _build(root, Path(tempfile.mkdtemp(prefix="grpc_guard")))
        except BaseException as error:
            # SystemExit too, with which setuptools ends where there is no compiler.
            if wanted == "0" or isinstance(error, KeyboardInterrupt):
                raise
            return
        if version == "editable":
            (root / _SOURCE.parent / library.name).write_bytes(library.read_bytes())
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"][str(library)] = str(_SOURCE.parent / library.name)


def _is_supported() -> bool:
    # Without the GIL the core in Python runs: the compiled one would switch it on again.
    is_free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return platform.python_implementation() == "CPython" and not is_free_threaded


def _build(root: Path, folder: Path) -> Path:
    """Compile the core into `folder`, without a word, and return the library."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extension = Extension(_NAME, [str(root / _SOURCE)])
    command = build_ext(Distribution({"name": "grpc-guard", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    with open(os.devnull, "w") as nowhere, _To(nowhere.fileno()):
        command.run()
    return Path(command.get_ext_fullpath(_NAME))


class _To:
    """Sends what this process and its compilers say to a file descriptor, for a block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        self._kept = os.dup(1), os.dup(2)
        os.dup2(self._descriptor, 1)
        os.dup2(self._descriptor, 2)

    def __exit__(self, *exc_info: object) -> None:
        for number, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)
