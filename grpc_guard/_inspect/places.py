"""Where processes can be asked: one entry each in a folder that is the user's alone.

The name of an entry has the pid and a random part, so that no other user can occupy it. It is a
Unix socket (``.sock``), or, on systems without them, a file (``.port``) with a port of the loopback
interface and a token that a request must have.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator

from .._catalogue.paths import files


class UnsafeFolderError(OSError):
    """The folder cannot be trusted; the message says why."""


def folders() -> Iterator[str]:
    """Yield the folders in which entries may be, the one for new ones first.

    A process of a login session has a folder of its own for such things, a service has not. A
    relative path means nothing there: https://specifications.freedesktop.org/basedir-spec/.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_folder(runtime):
        yield os.path.join(runtime, "grpc-guard")
    user = files.getuid() if hasattr(files, "getuid") else "user"
    yield os.path.join(tempfile.gettempdir(), f"grpc-guard-{user}")


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(files.stat(path).st_mode)
    except OSError:
        return False


def check(folder: str) -> None:
    """Raise UnsafeFolderError unless `folder` is a real folder, ours, and closed to all others."""
    found = files.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise UnsafeFolderError(f"{folder} is {kind}")
    if not hasattr(files, "getuid"):  # pragma: no cover  # Windows: the folder is in the user's own
        return
    if found.st_uid != files.geteuid():
        raise UnsafeFolderError(f"{folder} belongs to uid {found.st_uid}, not to {files.geteuid()}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise UnsafeFolderError(f"{folder} is open to others: its mode is {mode:o}, not 700")


def new_entry(suffix: str) -> str:
    """Return the path of a new entry of this process, in a folder that is ours alone.

    Raises OSError, of which UnsafeFolderError is one, if there can be no such folder.
    """
    *others, last = folders()
    for folder in others:
        try:
            return _entry_in(folder, suffix)
        except UnsafeFolderError:
            raise
        except OSError:
            pass  # after su, for one, it is the folder of somebody else's session
    return _entry_in(last, suffix)


def _entry_in(folder: str, suffix: str) -> str:
    with contextlib.suppress(FileExistsError):
        files.mkdir(folder, 0o700)
    check(folder)
    return os.path.join(folder, f"{files.getpid()}-{os.urandom(4).hex()}{suffix}")


def entries(pid: int | None = None) -> Iterator[tuple[int, str]]:
    """Yield pid and path of each entry, or of those of process `pid`."""
    for folder in folders():
        try:
            check(folder)
            names = sorted(files.listdir(folder))
        except OSError:
            continue  # there is none, or it is not ours: nothing in it can be trusted
        for name in names:
            number, _, rest = name.partition("-")
            if not number.isdecimal() or not rest.endswith((".sock", ".port")):
                continue
            if pid is None or pid == int(number):
                yield int(number), os.path.join(folder, name)
