"""What is said of a lease that was used after its end, or never had one."""

from __future__ import annotations

from .._catalogue.rules.closed_channel import CLOSED_CHANNEL
from .._catalogue.rules.unclosed_channel import UNCLOSED_CHANNEL
from .._catalogue.rules.use_after_fork import USE_AFTER_FORK
from .._findings.origins import Birth, born
from .._findings.reporting import warn
from .leases import Tenant

_WITHOUT_CLOSE = {
    "fork": "in the parent of this process: a forked child takes leases of its own",
    "loop": "on an event loop that is closed",
}


def story(tenant: Tenant) -> str:
    """Return where a lease was taken and how it ended."""
    ending = tenant.ending
    assert ending is not None
    end = _WITHOUT_CLOSE.get(ending.operation)
    if end is None:
        end = f"and closed {ending} by {_party(ending)}"
    return f"the lease of {tenant.entry.settings.target!r} was taken {_taken(tenant)} {end}"


def refused(tenant: Tenant, rpc: str, api: str) -> str:
    """Record that `rpc` was started on a lease that has ended, and return its story."""
    told = story(tenant)
    assert tenant.ending is not None
    warn(
        USE_AFTER_FORK if tenant.ending.operation == "fork" else CLOSED_CHANNEL,
        rpc=rpc,
        side="client",
        api=api,
        because=told,
        caller=born("start").owner(),
        owner=tenant.ending.owner(),
    )
    return told


def lost(tenant: Tenant, api: str) -> None:
    """Record that a lease was collected without having been closed."""
    warn(
        UNCLOSED_CHANNEL,
        rpc=tenant.entry.settings.target,
        side="client",
        api=api,
        because=f"a lease taken {_taken(tenant)} was dropped without close()",
        caller=tenant.birth.owner(),
    )


def _taken(tenant: Tenant) -> str:
    return f"{tenant.birth} by {_party(tenant.birth)}"


def _party(birth: Birth) -> str:
    return f"{birth.kind} {birth.name!r}"
