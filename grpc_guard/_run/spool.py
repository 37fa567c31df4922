"""What guarded processes tell the launcher: one file per process, one JSON line per event.

Written as things happen, so that nothing is lost if the process is killed. The file is opened
for each line: a program may close every descriptor it does not know (daemons do), and a
line appended by one write is never torn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._findings import Finding
from .._reports.document import finding_from_dict, finding_to_dict


class Writer:
    """The spool of this process; a forked child continues in a file of its own."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def started(self, mode: str) -> None:
        self._write({"started": {"mode": mode, "argv": sys.argv[:1]}})

    def found(self, finding: Finding) -> None:
        self._write({"found": finding_to_dict(finding)})

    def ended(self) -> None:
        self._write({})

    def _write(self, event: dict[str, Any]) -> None:
        guard = sys.modules.get("grpc_guard._guard")  # not there if the program never spoke gRPC
        streams, operations = guard.totals() if guard is not None else (0, 0)
        event |= {"streams": streams, "operations": operations}
        path = os.path.join(self._folder, f"{os.getpid()}.jsonl")
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class Process:
    """What one process told: its findings and its totals."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.streams = 0
        self.operations = 0
        self._findings: dict[tuple[object, ...], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        return list(self._findings.values())

    def tell(self, event: dict[str, Any]) -> None:
        self.streams = event["streams"]
        self.operations = event["operations"]
        if "found" in event:
            finding = finding_from_dict(event["found"])
            self._findings[finding.key] = finding  # each telling carries the count so far


def read(folder: str) -> Iterator[Process]:
    """Yield what each process told, in the order of their first words."""
    paths = sorted(Path(folder).glob("*.jsonl"), key=lambda path: (path.stat().st_ctime_ns, path))
    for path in paths:
        process = Process(int(path.stem))
        for line in path.read_bytes().splitlines():
            process.tell(json.loads(line))
        yield process
