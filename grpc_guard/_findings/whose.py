"""What a frame belongs to: the program, a library, or the machinery.

This depends on where the frame's *module* was loaded from, links and ``..`` resolved: its code
may name the file in any spelling, or as it was on the machine that compiled it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import functools
import os
import sys
import sysconfig
import threading
from collections.abc import Mapping
from types import FrameType, ModuleType
from typing import Any

import grpc
import wrapt

from .._catalogue.grpcio import COMPILED
from .._catalogue.paths import realpath


class Whose(enum.IntEnum):
    """What a frame belongs to.

    ``PROGRAM``: the code that a report is about. ``LIBRARY``: installed modules and Python's own,
    for example an agent's interceptor. ``MACHINERY``: grpcio, grpc_guard, generated stubs,
    asyncio, the code that starts threads. ``LOOP``: machinery that runs an event loop; frames
    outside of it are not part of a task.
    """

    MACHINERY = 0
    PROGRAM = 1
    LIBRARY = 2
    LOOP = 3


MACHINERY, PROGRAM, LIBRARY, LOOP = Whose

kinds: dict[str, Whose] = {}  # by the file that the code names: what decide() found
_KINDS_KEPT = 4096  # a program may compile code without end

_GENERATED = "_pb2_grpc.py"  # a stub only makes a call: its lines are of no interest
_INSTALLED = ("site-packages", "dist-packages")


def whose(frame: FrameType) -> Whose:
    """Return what `frame` belongs to."""
    kind = kinds.get(frame.f_code.co_filename)
    return decide(frame) if kind is None else kind


def decide(frame: FrameType) -> Whose:
    """Return what `frame` belongs to, and note it by the file that its code names."""
    file = frame.f_code.co_filename
    kind = whose_file(_origin_of(frame.f_globals) or file)
    if file[:1] != "<" and len(kinds) < _KINDS_KEPT:  # any code may be called <string>
        kinds[file] = kind
    return kind


def is_of_grpc(frame: FrameType) -> bool:
    """Tell whether `frame` is in grpcio, or in the guard, which takes its place."""
    path = _path_in_machinery(frame)
    return path.startswith((_GRPC, _GUARD)) and not path.startswith(_DEMO)


def is_of_grpcio(frame: FrameType) -> bool:
    """Tell whether `frame` is in grpcio itself."""
    return _path_in_machinery(frame).startswith(_GRPC)


def _path_in_machinery(frame: FrameType) -> str:
    """Return the file of the module of `frame`; nothing if it is known to be of the program or a library."""
    file = frame.f_code.co_filename
    if kinds.get(file, MACHINERY) is not MACHINERY:
        return ""
    return _resolved(_origin_of(frame.f_globals) or file)


@functools.lru_cache(_KINDS_KEPT)
def whose_file(file: str) -> Whose:
    """Return what the code in `file` belongs to, if no frame can tell better."""
    if file.startswith("<"):
        return LIBRARY if file.startswith("<frozen ") else PROGRAM
    if file.endswith((_GENERATED, COMPILED)):
        return MACHINERY
    path = _resolved(file)
    if path in _LOOPS or f"{os.sep}uvloop{os.sep}" in path:
        return LOOP
    if path.startswith(_DEMO):
        return PROGRAM  # it plays the part of a user
    if path.startswith(_FOLDERS) or path == _THREADING:
        return MACHINERY
    return LIBRARY if _is_installed(path) else PROGRAM


def package_of(file: str) -> str:
    """Return the name of the installed package that `file` is of; Python's own are ``Python``."""
    parts = file.replace(os.sep, "/").split("/")
    for name in _INSTALLED:
        if name in parts[:-1]:
            return parts[parts.index(name) + 1].removesuffix(".py")
    return "Python"


def _origin_of(names: Mapping[str, Any]) -> str | None:
    """Return the file that a module was loaded from, by its `names`; None if that is unknown."""
    file = names.get("__file__")
    return file if isinstance(file, str) else None


def _is_installed(path: str) -> bool:
    if path.startswith((_STANDARD_LIBRARY, *_installations(tuple(sys.path)))):
        return True
    if any(f"{os.sep}{name}{os.sep}" in path for name in _INSTALLED):
        return True
    folder, name = os.path.split(path)
    # The script that pip makes of an entry point only calls the program.
    return folder == _SCRIPTS and not name.endswith(".py")


@functools.lru_cache(16)
def _installations(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders among `paths` that hold what was installed."""
    return tuple(_folder(path) for path in paths if os.path.basename(path) in _INSTALLED)


@functools.lru_cache(_KINDS_KEPT)
def _resolved(file: str) -> str:
    return os.path.normcase(realpath(file))


def _folder(path: str) -> str:
    return _resolved(path) + os.sep


def _file_of(module: ModuleType) -> str:
    return _resolved(str(module.__file__))


def _folder_of(package: ModuleType) -> str:
    return os.path.dirname(_file_of(package)) + os.sep


_GUARD = _folder(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_DEMO = os.path.join(_GUARD, "_cli", "demo") + os.sep
_GRPC = _folder_of(grpc)
_FOLDERS = (_GUARD, _GRPC, *map(_folder_of, (asyncio, wrapt, concurrent.futures)))
_THREADING = _file_of(threading)
_LOOPS = frozenset(map(_file_of, (asyncio.events, asyncio.base_events, asyncio.runners)))
_STANDARD_LIBRARY = _folder_of(os)
_SCRIPTS = _resolved(sysconfig.get_path("scripts"))
