"""The summary at the end of a run, and its names for the places of a finding."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from .._catalogue.words import count
from .._findings.ledger import KEPT
from .._findings.records import Finding
from .._findings.wording import sites

_NAMED = 3  # tests of a place that are named

# Why a process that exited has reported nothing at its end: from outside, both look the same.
UNHEARD = "it executed a program that the guard did not reach, or was ended below Python, as by faulthandler"


def summary(
    findings: Sequence[Finding],
    *,
    streams: int,
    operations: int,
    unguarded: Mapping[int, str] = types.MappingProxyType({}),
    cut_off: Mapping[int, str] = types.MappingProxyType({}),
    not_kept: int = 0,
) -> Iterator[str]:
    """Yield the lines of the summary: what was guarded, and the findings by rule and call site.

    Those that fail no test are with the tests that they are of. Advice comes last, and is in no total. `unguarded` tells why processes, by pid, were not
    guarded, and `cut_off` which signal ended some before they told their totals; `not_kept` is the
    number of findings that were only counted.
    """
    silent = sum(why == UNHEARD for why in unguarded.values())
    missed = ""
    for number, how in (
        (len(unguarded) - silent, "not guarded"),
        (silent + len(cut_off), "not heard at the end"),
    ):
        if number:
            missed += f"; {count(number, 'process', 'processes')} {how}"
    yield (
        f"grpc_guard: {count(streams, 'stream')} and {count(operations, 'operation')} guarded, "
        f"{count(sum(not finding.is_advice for finding in findings), 'finding')}{missed}"
    )
    for pid, why in unguarded.items():
        missing = "told nothing at its end" if why == UNHEARD else "was not guarded"
        yield f"  process {pid} {missing}: {why}"
    for pid, name in cut_off.items():
        yield f"  process {pid} told nothing at its end: {name} ended it, and the totals are those before"
    by_rule: dict[str, Counter[str]] = {}
    tests: dict[tuple[str, str], dict[str, None]] = {}  # as a set with an order
    for finding in findings:
        where = f"{sites(finding)}  {finding.rpc} ({finding.side}, {finding.api})"
        title = f"{finding.rule} ({finding.severity})"
        if finding.is_advice:
            title = f"advice: {finding.rule}"
        by_rule.setdefault(title, Counter())[where] += finding.count
        if finding.test and finding.severity == "warning":  # an error fails it, which names it
            tests.setdefault((title, where), {})[finding.test] = None
    for title, places in sorted(by_rule.items(), key=_advice_last):
        yield f"  {title}"
        for where, times in places.items():
            yield f"    {where}  x{times}"
            if (title, where) in tests:
                yield f"      in {_named(list(tests[title, where]))}"
    if not_kept:
        yield f"  and {count(not_kept, 'finding')} of other lines, counted and not kept (more than {KEPT:,})"


def _named(tests: Sequence[str]) -> str:
    more = len(tests) - _NAMED
    shown = ", ".join(tests[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _advice_last(entry: tuple[str, object]) -> tuple[bool, str]:
    title = entry[0]
    return title.startswith("advice: "), title
