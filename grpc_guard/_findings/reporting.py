"""Composing a finding, recording it, and logging it where that is worth a line."""

from __future__ import annotations

import datetime

from .._catalogue.modes import Mode
from .._catalogue.nouns import Subject
from .._catalogue.rule import Evidence
from . import wording
from .ledger import ledger, logger
from .records import Finding, Owner

RULE_OF_RECORD = "grpc_guard_rule"  # the attribute by which a log record is known as a finding


def new_finding(
    evidence: Evidence,
    subject: Subject,
    *,
    caller: Owner,
    owner: Owner | None,
    mode: Mode | None = None,
) -> Finding:
    """Return the record of what was seen now; `mode` acts on the caller, None for a warning."""
    rule = evidence.rule
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return Finding(
        rule=rule,
        severity=rule.severity,
        rpc=subject.rpc,
        side=str(subject.side),  # in public records they are plain text
        api=str(subject.api),
        message=wording.first_line(evidence, subject, caller, mode),
        remedy=rule.remedy,
        caller=caller,
        owner=owner,
        test=ledger.test,
        time=now.replace("+00:00", "Z"),
    )


def warn(
    evidence: Evidence, subject: Subject, *, caller: Owner, owner: Owner | None = None
) -> None:
    """Record that a rule of a life was broken, and log it; never raises.

    `caller` is the party whose line a reader should look at (of a leak: who made it; of a
    use: who used it), `owner` the other one, if there is one.
    """
    try:
        finding = new_finding(evidence, subject, caller=caller, owner=owner)
        log(finding, ledger.record(finding))
    except Exception:
        logger.exception("a warning of the rule %s was lost", evidence.rule)


def log(finding: Finding, count: int) -> None:
    """Log `finding`, seen `count` times, if it is the first of equal ones or a tenfold.

    A hot loop must not fill the disk.
    """
    if str(count).strip("0") == "1":
        logger.warning("%s", wording.report(finding), extra={RULE_OF_RECORD: finding.rule.name})
