"""grpc_guard: says who, where and why when two callers meet in one direction of a gRPC stream."""

from typing import TYPE_CHECKING

from ._lazy import lazily as _lazily

if TYPE_CHECKING:
    from ._errors import ConcurrencyError
    from ._findings import Finding, Owner, clear_findings, findings
    from ._modes import Mode
    from ._process import disable, enable, guarded, is_enabled
    from ._registry.sync import ChannelRegistry
    from ._rules import Rule
    from ._wrap import status, wrap

__version__ = "0.1.0"

__all__ = [
    "ChannelRegistry",
    "ConcurrencyError",
    "Finding",
    "Mode",
    "Owner",
    "Rule",
    "clear_findings",
    "disable",
    "enable",
    "findings",
    "guarded",
    "is_enabled",
    "status",
    "wrap",
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "_errors": ["ConcurrencyError"],
        "_findings": ["Finding", "Owner", "clear_findings", "findings"],
        "_modes": ["Mode"],
        "_process": ["disable", "enable", "guarded", "is_enabled"],
        "_registry.sync": ["ChannelRegistry"],
        "_rules": ["Rule"],
        "_wrap": ["status", "wrap"],
    },
    modules=["aio"],
)
