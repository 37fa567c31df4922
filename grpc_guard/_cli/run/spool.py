"""What guarded processes tell the launcher: one file per process, one JSON line per event.

Written as things happen, so that nothing is lost if the process is killed. The file is opened
for each line: a program may close every descriptor it does not know (daemons do), and a
line appended by one write is never torn by another thread's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._catalogue.files import LIMIT, json_in, whole
from ..._catalogue.forks import in_child
from ..._findings.ledger import KEPT, ledger
from ..._findings.records import Finding, Key
from ..._probe.memory import Learnt, Memory, load, save
from ..._reports.document import finding_from_dict, finding_to_dict
from ..._reports.process import (
    Process,
    guarded_so_far,
    not_kept_from_list,
    not_kept_to_list,
)
from ..._reports.report import merged

_MEMORY = "memory.json"


class Writer:
    """The spool of this process; a forked child, or what this one executes, has its own.

    A finding is written whole once. After that, only its number and count are written, each time
    that the count has doubled, and at the end. So endless refusals do not fill the disk.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.has_guarded = False  # whether the guard has gone on in this process
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        # In a forked child: each page of the heap that is touched here is copied.
        self._path = os.path.join(self._folder, f"{time.time_ns()}-{os.getpid()}.jsonl")
        self._now = (0, 0)
        self._numbers = itertools.count(1)
        self._told: dict[Key, tuple[int, int]] = {}  # number and count
        self._not_kept = 0  # how many were reported

    def started(self) -> None:
        self._write({})

    def so_far(self) -> None:
        """Report the totals so far: the process may soon be ended."""
        with contextlib.suppress(OSError):
            self._write({})

    def found(self, finding: Finding) -> None:
        """Report `finding` and its count so far, unless a higher count was reported."""
        key = finding.key
        number, told = self._told.get(key) or (next(self._numbers), 0)
        if told >= finding.count:
            return
        if told:
            self._write({"again": [[number, finding.count]]})
        else:
            learnt = not number & (number - 1)  # less and less often, as it grows each time
            self._write(_whole(finding, number), learnt=learnt)
        if not told and len(self._told) >= KEPT:
            self._told.clear()  # the program clears its findings, and has always new ones
        self._told[key] = number, finding.count

    def unguarded(self, why: str) -> None:
        """Tell that streams of this process are not guarded."""
        with contextlib.suppress(OSError):
            self._write({"unguarded": why})

    def ended(self) -> None:
        event: dict[str, Any] = {"ended": True, "again": []}
        if not self.has_guarded and hasattr(sys.modules.get("grpc"), "insecure_channel"):
            event["unguarded"] = "it imported grpc unnoticed"
        missing = []
        for finding in ledger.findings():
            number, told = self._told.get(finding.key) or (next(self._numbers), 0)
            if not told:
                missing.append(_whole(finding, number))
            elif told < finding.count:
                event["again"].append([number, finding.count])
        with contextlib.suppress(OSError):  # for example, a process that gave up the user's rights
            self._write(*missing, event, learnt=True)

    def _write(self, *events: dict[str, Any], learnt: bool = False) -> None:
        self._now = max(self._now, guarded_so_far())  # at the very end the modules are gone
        last = events[-1]
        last["streams"], last["operations"] = self._now
        if learnt:
            last["probe"] = _learnt()
        not_kept = ledger.overflow()
        number = sum(not_kept.values())
        if number > (self._not_kept if "ended" in last else 2 * self._not_kept):
            self._not_kept = number
            last["not_kept"] = not_kept_to_list(not_kept)
        lines = "".join(json.dumps(event) + "\n" for event in events).encode()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return  # the launcher has gone: no process reads it
        try:
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def _whole(finding: Finding, number: int) -> dict[str, Any]:
    return {"found": finding_to_dict(finding), "number": number}


def _learnt() -> dict[str, Any] | None:
    """Return what the probe of this process has learnt, None without a probe."""
    probe = getattr(sys.modules.get("grpc_guard._probe.process"), "probe", None)
    return None if probe is None else probe.told()


def files(folder: str) -> Iterator[tuple[int, Path]]:
    """Yield the pid and the file of each process, in the order of their first lines."""
    for path in sorted(Path(folder).glob("*.jsonl")):  # their names begin with the time
        pid = path.stem.partition("-")[2]
        if pid.isdecimal():  # else it is the program's
            yield int(pid), path


def read(folder: str) -> list[Process]:
    """Return what each process reported, in the order of their first lines.

    It uses memory for the findings, not for all lines of the file. Invalid lines are counted and
    skipped.
    """
    processes: dict[int, Process] = {}
    for pid, path in files(folder):
        process = processes.setdefault(pid, Process(pid))
        told = _Told(path)  # it may be the second: the process has executed another program
        process.has_ended = told.has_ended
        process.unguarded = told.unguarded or process.unguarded
        process.unreadable += told.unreadable
        process.findings = merged([*process.findings, *told.findings()])
        process.streams += told.totals[0]
        process.operations += told.totals[1]
        for key, number in told.not_kept.items():
            process.not_kept[key] = process.not_kept.get(key, 0) + number
        if told.learnt is not None:
            process.add(told.learnt)
    return list(processes.values())


class _Told:
    """The content of one file; its findings are in any order, as threads may have written them."""

    def __init__(self, path: Path) -> None:
        self.totals = (0, 0)
        self.learnt: Learnt | None = None
        self.not_kept: dict[tuple[str, str], int] = {}
        self.unguarded: str | None = None
        self.has_ended = False
        self.unreadable = 0
        self._findings: dict[Key, Finding] = {}
        self._keys: dict[int, Key] = {}
        self._counts: dict[int, int] = {}  # by number
        try:
            with path.open("rb") as file:
                for line in iter(lambda: file.readline(LIMIT), b""):
                    self._read(line)
        except OSError:
            self.unreadable += 1

    def _read(self, line: bytes) -> None:
        try:
            event = json_in(line)
            self._take(event)
            self._take_finding(event)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.unreadable += line.endswith(b"\n")  # else it was killed while it wrote

    def _take(self, event: dict[str, Any]) -> None:
        streams, operations = self.totals
        self.totals = (
            whole(event.get("streams", streams)),
            whole(event.get("operations", operations)),
        )
        if event.get("probe"):
            self.learnt = Learnt.read(event["probe"])
        if "not_kept" in event:
            self.not_kept = not_kept_from_list(event["not_kept"])
        if event.get("unguarded"):
            self.unguarded = str(event["unguarded"])
        self.has_ended = self.has_ended or "ended" in event

    def _take_finding(self, event: dict[str, Any]) -> None:
        if "found" in event:
            finding = finding_from_dict(event["found"])
            number, key = whole(event["number"]), finding.key
            self._findings.setdefault(key, finding)
            self._keys[number] = key
            self._count(number, finding.count)
            for half in finding.halves if len(finding.places) > 1 else ():
                self._findings.pop(half, None)  # the ledger has counted it with this one
        for number, count in event.get("again", ()):
            self._count(whole(number), count)

    def _count(self, number: int, count: int) -> None:
        self._counts[number] = max(whole(count), self._counts.get(number, 0))

    def findings(self) -> Iterator[Finding]:
        counts: dict[Key, int] = {}
        for number, key in self._keys.items():
            counts[key] = max(self._counts[number], counts.get(key, 0))
        for key, finding in self._findings.items():
            yield dataclasses.replace(finding, count=counts[key])


def remind(folder: str, memory: Memory) -> None:
    """Write, for the processes, what the probe learnt in earlier runs."""
    save(memory, Path(folder) / _MEMORY)


def recall(folder: str) -> Memory:
    """Return what the launcher has written: all that the probe of a process needs."""
    return load(Path(folder) / _MEMORY)
