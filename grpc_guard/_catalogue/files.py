"""Files that people and earlier runs wrote: any content is read or refused, none is lost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
from pathlib import Path
from typing import Any, NoReturn

_MOST = 2**53  # no count, run or line has a greater number, and JSON keeps no greater one
LIMIT = 16 * 1024 * 1024  # bytes: no baseline, memory or configuration comes near it


class FileError(ValueError):
    """A file cannot be read; the message says why, and leaves its name to the caller."""


def content_of(path: Path) -> bytes:
    """Return the content of the file `path`.

    Raises FileNotFoundError if it does not exist, FileError if it cannot be read, is not a regular
    file, or has more than LIMIT bytes.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would never end
            raise FileError("not a regular file")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError(str(error.strerror)) from None
    if len(content) > LIMIT:
        raise FileError(f"larger than {LIMIT // 1024**2} MiB, the limit")
    return content


def json_of(path: Path) -> Any:
    """Return the JSON in the file `path`. Raises as :func:`content_of` and :func:`json_in`."""
    return json_in(content_of(path))


def json_in(content: bytes) -> Any:
    """Return the JSON in `content`. Raises ValueError for invalid, too deep or too large JSON."""
    try:
        return json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def whole(value: Any) -> int:
    """Return `value` if it can count something, else raise TypeError."""
    if type(value) is not int or not 0 <= value <= _MOST:
        raise TypeError(f"{value!r:.40} is not a whole number")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def replace(path: Path, content: str) -> None:
    """Write `content` to `path`, whole or not at all. Raises OSError that names `path`.

    A link stays a link. The file keeps its mode, and its owner where this process may set
    that.
    """
    target = path.resolve()
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.write_text(content, encoding="utf-8", errors="backslashreplace")
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, part)
            _copy_owner(target, part)
        os.replace(part, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _copy_owner(path: Path, to: Path) -> None:
    status = path.stat()
    with contextlib.suppress(OSError, AttributeError):  # not on every system
        os.chown(to, status.st_uid, status.st_gid)
