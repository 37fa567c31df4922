"""The machine on which the figures were measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import google.protobuf
import grpc
import wrapt

import grpc_guard


def describe(*, pinned: str) -> dict[str, str]:
    """Return a description of this machine, as far as it matters to readers."""
    return {
        "grpc_guard": f"grpc_guard {grpc_guard.__version__}",
        "grpcio": f"grpcio {grpc.__version__}",
        "wrapt": f"wrapt {wrapt.__version__}",
        "protobuf": f"protobuf {google.protobuf.__version__}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": f"{os.cpu_count()} cores",
        "pinned": pinned,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "an unnamed processor"
