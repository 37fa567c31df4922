"""What guarded processes tell the launcher: one file per process, one JSON line per event.

Written as things happen, so that nothing is lost if the process is killed. The file is opened
for each line: a program may close every descriptor it does not know (daemons do), and a
line appended by one write is never torn by another thread's.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._catalogue.forks import in_child
from ..._findings.records import Finding
from ..._probe.memory import Learnt, Memory, load, save
from ..._reports.document import finding_from_dict, finding_to_dict
from ..._reports.process import Process, guarded_so_far
from ..._reports.report import merged

_MEMORY = "memory.json"


class Writer:
    """The spool of this process; a forked child, or what this one executes, has its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.has_guarded = False  # whether the guard has gone on in this process
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        self._path = os.path.join(self._folder, f"{time.time_ns()}-{os.getpid()}.jsonl")
        self._before = self._now = guarded_so_far()  # what a forked child inherits is its parent's

    def started(self) -> None:
        self._write({})

    def found(self, finding: Finding) -> None:
        self._write({"found": finding_to_dict(finding)}, learnt=finding.count == 1)

    def unguarded(self, why: str) -> None:
        """Tell that streams of this process are not guarded."""
        with contextlib.suppress(OSError):
            self._write({"unguarded": why})

    def ended(self) -> None:
        event: dict[str, Any] = {"ended": True}
        if not self.has_guarded and hasattr(sys.modules.get("grpc"), "insecure_channel"):
            event["unguarded"] = "it imported grpc unnoticed"
        with contextlib.suppress(OSError):  # a process that gave up the user's rights, for one
            self._write(event, learnt=True)

    def _write(self, event: dict[str, Any], *, learnt: bool = False) -> None:
        self._now = max(self._now, guarded_so_far())  # at the very end the modules are gone
        streams, operations = (
            now - before for now, before in zip(self._now, self._before, strict=True)
        )
        event |= {"streams": streams, "operations": operations}
        if learnt:
            event["probe"] = _learnt()
        line = json.dumps(event).encode() + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return  # the launcher has gone, and nobody reads any more
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _learnt() -> dict[str, Any] | None:
    """Return what the probe of this process tells, None if there was none."""
    probe = getattr(sys.modules.get("grpc_guard._probe.process"), "probe", None)
    return None if probe is None else probe.told()


def read(folder: str) -> list[Process]:
    """Return what each process told, in the order of their first words."""
    processes: dict[int, Process] = {}
    for path in sorted(Path(folder).glob("*.jsonl")):  # their names begin with the time
        pid = int(path.stem.partition("-")[2])
        process = processes.setdefault(pid, Process(pid))  # it may have executed another program
        findings: dict[tuple[object, ...], Finding] = {}
        event: dict[str, Any] = {"streams": 0, "operations": 0}
        probe = None
        process.has_ended = False
        for event in _events(path):
            probe = event.get("probe") or probe
            process.unguarded = event.get("unguarded") or process.unguarded
            process.has_ended = process.has_ended or "ended" in event
            if "found" in event:
                finding = finding_from_dict(event["found"])
                findings[finding.key] = finding  # each telling carries the count so far
        process.findings = merged([*process.findings, *findings.values()])
        process.streams += event["streams"]
        process.operations += event["operations"]
        if probe is not None:
            process.add(Learnt.read(probe))
    return list(processes.values())


def remind(folder: str, memory: Memory) -> None:
    """Leave for the processes what earlier runs of the probe have learnt."""
    save(memory, Path(folder) / _MEMORY)


def recall(folder: str) -> Memory:
    """Return what the launcher has left; a process needs nothing more to be probed."""
    return load(Path(folder) / _MEMORY)


def _events(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # killed while it wrote, or the disk is full
            continue
