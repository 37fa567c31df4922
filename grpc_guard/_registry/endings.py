"""What is said of a lease that was used after its end, or never had one."""

from __future__ import annotations

from .._catalogue.rules.closed_channel import CLOSED_CHANNEL
from .._catalogue.rules.unclosed_channel import UNCLOSED_CHANNEL
from .._catalogue.rules.use_after_fork import USE_AFTER_FORK
from .._catalogue.words import quoted
from .._findings.origins import Origin, note_origin
from .._findings.reporting import warn
from .leases import LeaseRecord

_WITHOUT_CLOSE = {
    "fork": "in the parent of this process: a forked child takes leases of its own",
    "loop": "on an event loop that is closed",
}


def story(lease: LeaseRecord) -> str:
    """Return where a lease was taken and how it ended."""
    ending = lease.ending
    assert ending is not None
    end = _WITHOUT_CLOSE.get(ending.operation)
    if end is None:
        end = f"and closed {ending} by {_party(ending)}"
    return f"the lease of {quoted(lease.entry.settings.target)} was taken {_taken(lease)} {end}"


def refused(lease: LeaseRecord, rpc: str, api: str) -> str:
    """Record that `rpc` was started on a lease that has ended, and return its story."""
    told = story(lease)
    assert lease.ending is not None
    warn(
        USE_AFTER_FORK if lease.ending.operation == "fork" else CLOSED_CHANNEL,
        rpc=rpc,
        side="client",
        api=api,
        because=told,
        caller=note_origin("start").owner(),
        owner=lease.ending.owner(),
    )
    return told


def lost(lease: LeaseRecord, api: str) -> None:
    """Record that a lease was collected without having been closed."""
    warn(
        UNCLOSED_CHANNEL,
        rpc=lease.entry.settings.target,
        side="client",
        api=api,
        because=f"a lease taken {_taken(lease)} was dropped without close()",
        caller=lease.origin.owner(),
    )


def was_dropped(lease: LeaseRecord) -> bool:
    """Tell whether the program let go of a lease, that is not the registry's, without close()."""
    return not lease.is_own and lease.ending is not None and lease.ending.operation == "drop"


def _taken(lease: LeaseRecord) -> str:
    return f"{lease.origin} by {_party(lease.origin)}"


def _party(origin: Origin) -> str:
    return f"{origin.kind} {quoted(origin.name)}"
