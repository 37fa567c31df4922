"""Files from outside: any content is read, or refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inside import FILE_LIMIT, FileError, content_of, replace
from support.forking import in_child

posix = pytest.mark.skipif(os.name != "posix", reason="has neither pipes nor rights as here")


def test_size(tmp_path: Path) -> None:
    """A file of the stated size is read, a larger one is not."""
    file = tmp_path / "file"
    file.write_bytes(b" " * FILE_LIMIT)
    assert len(content_of(file)) == FILE_LIMIT
    file.write_bytes(b" " * (FILE_LIMIT + 1))
    with pytest.raises(FileError, match="^larger than 16 MiB, the limit$"):
        content_of(file)


@posix
def test_no_regular_file(tmp_path: Path) -> None:
    """Neither a pipe, which would never end, nor a folder is read."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="^not a regular file$"):
        content_of(tmp_path / "pipe")
    with pytest.raises(FileError, match="^Is a directory$"):
        content_of(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    """A missing file is for the caller to judge."""
    with pytest.raises(FileNotFoundError):
        content_of(tmp_path / "none")


@posix
def test_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without read permission is an error; one that cannot be replaced stays as it is."""
    file = tmp_path / "file"
    file.write_text("his")

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted", "a part")  # root may do anything

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileError, match="^Operation not permitted$"):
        content_of(file)
    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=rf"^\[Errno 1\] Operation not permitted: '{file}'$"):
        replace(file, "mine")
    assert file.read_text() == "his"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root gives files away")
def test_a_real_other_users(tmp_path: Path) -> None:
    """A file of another user is still his when root has replaced it, and his alone to read."""
    file = tmp_path / "file"
    file.write_text("his")
    file.chmod(0o600)
    os.chown(file, 65534, 65533)
    replace(file, "his, too")
    status = file.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (65534, 65533, 0o600)

    def read() -> str:
        os.setgroups([])
        os.setresgid(65532, 65532, 65532)
        os.setresuid(65532, 65532, 65532)
        try:
            return repr(content_of(file))
        except FileError as error:
            return str(error)

    assert in_child(read) == "Permission denied"
