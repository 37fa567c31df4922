"""grpc_guard: says who, where and why when two callers meet in one direction of a gRPC stream."""

from ._errors import ConcurrencyError
from ._findings import Finding, Owner, clear_findings, findings
from ._modes import Mode
from ._rules import Rule
from ._wrap import status, wrap

__version__ = "0.1.0"

__all__ = [
    "ConcurrencyError",
    "Finding",
    "Mode",
    "Owner",
    "Rule",
    "clear_findings",
    "findings",
    "status",
    "wrap",
]
