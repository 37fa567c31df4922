"""Composing a finding, recording it, and logging it where that is worth a line."""

from __future__ import annotations

import datetime
from typing import Any

from .._catalogue.rule import Rule
from . import wording
from .ledger import ledger, logger
from .records import Finding, Owner

RULE_OF_RECORD = "grpc_guard_rule"  # the attribute by which a log record is known as a finding


def now() -> str:
    """Return the time (UTC, ISO 8601) as reports have it."""
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def new_finding(rule: Rule, **particulars: Any) -> Finding:
    return Finding(
        rule=rule,
        severity=rule.severity,
        remedy=rule.remedy,
        test=ledger.test,
        time=now(),
        **particulars,
    )


def warn(
    rule: Rule,
    *,
    rpc: str,
    side: str,
    api: str,
    because: str,
    caller: Owner,
    owner: Owner | None = None,
) -> None:
    """Record that a rule of a life was broken, and log it; never raises.

    `caller` is the party whose line a reader should look at (of a leak: who made it; of a
    use: who used it), `owner` the other one, if there is one. `rpc` is the RPC, or for a
    channel its target. `because` says what was seen, for how long, and where it was made.
    """
    try:
        message = wording.noticed(rule, rpc=rpc, side=side, api=api, caller=caller, because=because)
        finding = new_finding(
            rule, rpc=rpc, side=side, api=api, message=message, caller=caller, owner=owner
        )
        log(finding, ledger.record(finding))
    except Exception:
        logger.exception("a warning of the rule %s was lost", rule)


def log(finding: Finding, count: int) -> None:
    """Log `finding`, seen `count` times, if it is the first of equal ones or a tenfold.

    A hot loop must not fill the disk.
    """
    if str(count).strip("0") == "1":
        logger.warning("%s", wording.report(finding), extra={RULE_OF_RECORD: finding.rule.name})
