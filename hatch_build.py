"""Compiles the core, as GRPC_GUARD_PURE says: if it can be done (unset), never (1), or at any price (0).

Where it is unset, whatever goes wrong, and a compiler that does not come to an end, leads to the core
in Python, which needs none, without a word. See docs/settings.md.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = Path("grpc_guard", "_core")
_NAME = "grpc_guard._core._compiled"
_PURE = os.environ.get("GRPC_GUARD_PURE")
_IS_REQUIRED = _PURE == "0"
_IS_WINDOWS = os.name == "nt"  # where to find a compiler is known to setuptools
_TRIED = ((3, 11), (3, 13))  # of CPython: from, to
_TIMEOUT = 120.0  # seconds, for a compiler that nobody asked for; it takes about two

# What nobody asked for has to be a library that this Python can load.
_LOAD = """
import importlib.machinery as machinery, importlib.util as util, sys
spec = util.spec_from_file_location(sys.argv[1], sys.argv[2])
spec.loader.exec_module(util.module_from_spec(spec))
"""


def _is_wanted() -> bool:
    if _PURE:
        return _IS_REQUIRED
    # Without the GIL the compiled core would switch it on again.
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    is_tried = (
        sys.implementation.name == "cpython" and _TRIED[0] <= sys.version_info[:2] <= _TRIED[1]
    )
    return has_gil and is_tried and not _IS_WINDOWS


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the compiled core to a wheel; to an editable installation by putting it beside its source."""

    def dependencies(self) -> list[str]:
        return ["setuptools>=69"] if _IS_WINDOWS and _is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / _FOLDER
        library = None
        if _is_wanted():
            try:
                library = _compiled(folder / "c")
            except Exception as error:
                if _IS_REQUIRED:
                    raise
                self.app.display_info(f"The core is not compiled: {error}")
        if version == "editable":
            try:
                _put_in_place(library, folder)
            except OSError:  # a clone that others may not write to
                if _IS_REQUIRED:
                    raise
        elif library is not None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["force_include"][str(library)] = str(_FOLDER / library.name)


def _suffix() -> str:
    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def _compiled(sources: Path) -> Path:
    """Compile the core into a folder that goes when this process ends; return the library."""
    folder = Path(tempfile.mkdtemp(prefix="grpc_guard"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files, checksum = sorted(sources.glob("*.[ch]")), 0
    for file in files:
        checksum = zlib.crc32(file.read_bytes(), checksum)
    units = [str(file) for file in files if file.suffix == ".c"]
    defined = "CHECKSUM", f"{checksum}u"  # compared when it is imported: which.py
    if _IS_WINDOWS:
        return _compiled_by_setuptools(units, defined, folder)
    library = folder / f"_compiled{_suffix()}"
    _run([*_compiler(), "-D{}={}".format(*defined), *units, "-o", str(library)], folder)
    if not _IS_REQUIRED:  # who requires it may compile for another machine, or with a sanitizer
        _run([sys.executable, "-c", _LOAD, _NAME, str(library)], folder)
    return library.resolve(strict=True)


def _compiler() -> list[str]:
    """Return the command that makes a library for this Python; the usual variables change it."""
    configured = {name: str(value or "") for name, value in sysconfig.get_config_vars().items()}
    linker, compiler = configured["LDSHARED"], os.environ.get("CC")
    if compiler and linker.startswith(configured["CC"]):
        linker = compiler + linker[len(configured["CC"]) :]
    flags = [
        *(configured["CFLAGS"], configured["CCSHARED"]),
        *(os.environ.get(name, "") for name in ("CPPFLAGS", "CFLAGS", "LDFLAGS", "ARCHFLAGS")),
    ]
    command = shlex.split(" ".join([os.environ.get("LDSHARED", linker), *flags]))
    headers = dict.fromkeys(map(sysconfig.get_path, ("include", "platinclude")))
    # A call of a function of Python takes one cache line less: each RPC finds this code cold.
    direct = ["-fno-plt"] if sys.platform == "linux" else []
    return [*command, *direct, *(f"-I{header}" for header in headers)]


def _run(command: list[str], folder: Path) -> None:
    """Run a command and all that it starts, which ends with it; RuntimeError has what it said."""
    said = folder / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(None if _IS_REQUIRED else _TIMEOUT)
        except BaseException:  # an interrupt, too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if status:
        text = said.read_text(errors="replace")
        raise RuntimeError(f"{shlex.join(command)} ended with status {status}:\n{text}")


def _compiled_by_setuptools(units: list[str], defined: tuple[str, str], folder: Path) -> Path:
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    extension = Extension(_NAME, units, define_macros=[defined])
    command = build_ext(Distribution({"name": "grpc-guard", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(_NAME)).resolve(strict=True)


def _put_in_place(library: Path | None, folder: Path) -> None:
    """Replace the library that an earlier installation left for this Python, or take it away."""
    there = folder / f"_compiled{_suffix()}"
    for left in folder.glob(f"{there.name}.*.new"):  # by an installation that was killed
        left.unlink(missing_ok=True)
    if library is None:
        there.unlink(missing_ok=True)
        return
    # A process that has it loaded keeps what it has.
    new = there.with_name(f"{there.name}.{os.getpid()}.new")
    try:
        shutil.copyfile(library, new)
        os.replace(new, there)
    finally:
        new.unlink(missing_ok=True)
