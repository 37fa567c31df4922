"""Composing a finding, recording it, and logging it if that is worth a line."""

from __future__ import annotations

import atexit
import dataclasses
import datetime
import logging

from .._catalogue.boundary import overlooked
from .._catalogue.modes import Mode
from .._catalogue.nouns import Subject
from .._catalogue.rule import Evidence
from .._catalogue.words import escaped
from . import wording
from .ledger import ledger, logger
from .records import Finding, Owner

RULE_OF_RECORD = "grpc_guard_rule"  # the attribute by which a log record is known as a finding


def now() -> str:
    """Return the time (UTC, ISO 8601) as reports have it."""
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


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
    subject = dataclasses.replace(subject, rpc=escaped(subject.rpc))  # a client may have chosen it
    return Finding(
        rule=rule,
        severity=evidence.severity,
        rpc=subject.rpc,
        side=str(subject.side),  # in public records they are plain text
        api=str(subject.api),
        message=wording.first_line(evidence, subject, caller, mode),
        remedy=evidence.remedy,
        caller=caller,
        owner=owner,
        test=ledger.test,
        time=now(),
    )


def warn(
    evidence: Evidence, subject: Subject, *, caller: Owner, owner: Owner | None = None
) -> None:
    """Record and log a finding of warning severity; never raises.

    `caller` is the party whose line a reader should look at (the maker of a leaked object, the
    user of a closed one), `owner` the other party, if there is one.
    """
    try:
        finding = new_finding(evidence, subject, caller=caller, owner=owner)
        log(finding, ledger.record(finding))
    except Exception as error:
        if not overlooked(error, "a warning of the rule %s was lost", evidence.rule):
            raise


def log(finding: Finding, count: int) -> None:
    """Log the report of `finding`, seen `count` times, if that is worth it."""
    if _is_worth_a_line(count):
        _log(wording.report(finding), finding)


def log_refusal(finding: Finding, count: int) -> None:
    """Log in one line a `finding` that is about to be raised, if that is worth it.

    The program may swallow the exception, which has the whole report.
    """
    if _is_worth_a_line(count) and not told.elsewhere:
        _log(wording.in_one_line(finding), finding)


def _is_worth_a_line(count: int) -> bool:
    """Tell whether `count` is 1, 10, 100 …: a finding that repeats must not fill the disk."""
    return str(count).strip("0") == "1"


def _log(text: str, finding: Finding) -> None:
    level = logging.INFO if finding.is_advice else logging.WARNING
    logger.log(level, "%s", text, extra={RULE_OF_RECORD: finding.rule.name})
    if finding.is_advice:
        return
    if not told.at_exit and not told.elsewhere:
        told.at_exit = True
        atexit.register(sum_up)


class Told:
    """How the user learns of the findings of this process, beside the log."""

    elsewhere = False  # grpc-guard run or a test session, which sum up as well
    at_exit = False  # the line at the end is arranged for


told = Told()


def sum_up() -> None:
    """Log one line about all findings of this process, if there are any."""
    found = tuple(finding for finding in ledger.findings() if not finding.is_advice)
    if found and not told.elsewhere:
        logger.warning("%s", wording.summed_up(found))
