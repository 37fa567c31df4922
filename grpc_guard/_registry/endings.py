"""The findings about a lease that was used after its end, or dropped without one."""

from __future__ import annotations

from .._catalogue.nouns import CLIENT, Api, Subject
from .._catalogue.rule import Evidence
from .._catalogue.rules.closed_channel import LeaseClosed
from .._catalogue.rules.unclosed_channel import LeaseDropped
from .._catalogue.rules.use_after_fork import LeaseOfParent
from .._findings.origins import note_origin
from .._findings.reporting import warn
from .leases import LeaseRecord


def story(lease: LeaseRecord) -> Evidence:
    """Return where a lease was taken and how it ended."""
    ending = lease.ending
    assert ending is not None
    target, taker = lease.entry.settings.target, lease.origin.owner()
    if ending.operation == "fork":
        return LeaseOfParent(target, taker)
    return LeaseClosed(target, taker, None if ending.operation == "loop" else ending.owner())


def refused(lease: LeaseRecord, rpc: str, api: str) -> Evidence:
    """Record that `rpc` was started on a lease that has ended, and return its story."""
    told = story(lease)
    assert lease.ending is not None
    warn(
        told,
        Subject(rpc, CLIENT, Api(api)),
        caller=note_origin("start").owner(),
        owner=lease.ending.owner(),
    )
    return told


def lost(lease: LeaseRecord, api: str) -> None:
    """Record that a lease was collected without having been closed."""
    taker = lease.origin.owner()
    subject = Subject(lease.entry.settings.target, CLIENT, Api(api))
    warn(LeaseDropped(taker), subject, caller=taker)


def was_dropped(lease: LeaseRecord) -> bool:
    """Tell whether the program dropped a lease, other than the registry's own, without close()."""
    return not lease.is_own and lease.ending is not None and lease.ending.operation == "drop"
