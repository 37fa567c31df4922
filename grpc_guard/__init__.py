"""grpc_guard: reports two callers that use one direction of a gRPC stream at the same time."""

from typing import TYPE_CHECKING

from ._catalogue.lazy import lazily as _lazily
from ._catalogue.version import __version__ as __version__

if TYPE_CHECKING:
    from . import aio as aio
    from . import inspection as inspection
    from ._catalogue.modes import Mode
    from ._catalogue.rule import Rule
    from ._findings.errors import ConcurrencyError
    from ._findings.ledger import clear_findings, findings
    from ._findings.records import Finding, Frame, Owner
    from ._inspect.snapshot import snapshot
    from ._process.switch import disable, enable, guarded, is_enabled
    from ._process.wrapping import wrap
    from ._proxies.status import Status, status
    from ._registry.records import ChannelRecord
    from ._registry.sync import ChannelRegistry
    from ._sharing.core import StreamEnded
    from ._sharing.sync_receiving import FanOut, Receiver
    from ._sharing.sync_sending import Sender

__all__ = [
    "ChannelRecord",
    "ChannelRegistry",
    "ConcurrencyError",
    "FanOut",
    "Finding",
    "Frame",
    "Mode",
    "Owner",
    "Receiver",
    "Rule",
    "Sender",
    "Status",
    "StreamEnded",
    "clear_findings",
    "disable",
    "enable",
    "findings",
    "guarded",
    "is_enabled",
    "snapshot",
    "status",
    "wrap",
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "_findings.errors": ["ConcurrencyError"],
        "_findings.ledger": ["clear_findings", "findings"],
        "_findings.records": ["Finding", "Frame", "Owner"],
        "_inspect.snapshot": ["snapshot"],
        "_catalogue.modes": ["Mode"],
        "_process.switch": ["disable", "enable", "guarded", "is_enabled"],
        "_registry.records": ["ChannelRecord"],
        "_registry.sync": ["ChannelRegistry"],
        "_sharing.core": ["StreamEnded"],
        "_sharing.sync_receiving": ["FanOut", "Receiver"],
        "_sharing.sync_sending": ["Sender"],
        "_catalogue.rule": ["Rule"],
        "_proxies.status": ["Status", "status"],
        "_process.wrapping": ["wrap"],
    },
    modules=["aio", "inspection"],
)
