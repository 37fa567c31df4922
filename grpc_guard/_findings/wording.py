"""The wording of every report: produced here once, from a finding and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from .._catalogue.modes import Mode
from .._catalogue.rule import Rule
from .._catalogue.words import count, duration, escaped, quoted
from .records import Finding, Owner

if TYPE_CHECKING:
    from .origins import Origin

_SHOWN = 5  # of many that could be named

OUTCOME = {  # what became of the caller
    Mode.RAISE: "refused",
    Mode.WARN: "let through",
    Mode.SERIALIZE: "made to wait",
}


def first_line(
    rule: Rule,
    *,
    rpc: str,
    side: str,
    api: str,
    outcome: str,
    caller: Owner,
    because: str,
) -> str:
    """Return the report's first line: complete by itself, and made to be grepped."""
    return f"{rule}: {caller.operation} by {party(caller)} on {escaped(rpc)} ({side}, {api}) {outcome}: {because}"


def noticed(rule: Rule, *, rpc: str, side: str, api: str, caller: Owner, because: str) -> str:
    """Return the first line about a rule of a life, which refuses nothing."""
    return f"{rule}: {caller.operation} by {party(caller)} on {escaped(rpc)} ({side}, {api}): {because}"


def is_inside(owner: Owner | None) -> str:
    """Return why a direction could not be had."""
    if owner is None:
        return "another operation had the direction and has just left it"
    return f"{party(owner)} has been in {owner.operation} for {duration(owner.held_seconds)}"


def comes_first(owner: Owner) -> str:
    """Return why a direction could not be had that was free, and promised."""
    return f"{party(owner)} has been waiting for its turn in {owner.operation} for {duration(owner.held_seconds)}"


INTERRUPTED = ", and the caller interrupts an operation of its own thread on this stream"


# What the first line of a warning says after its colon.


def was_closed(closing: Origin | None, made: Origin) -> str:
    if closing is None:
        return f"the channel is closed; it was {_made(made)}"
    return (
        f"the channel was closed {duration(closing.age)} ago by {closing.kind} "
        f"{quoted(closing.name)} {closing}, and {_made(made)}"
    )


def is_of_parent(made: Origin) -> str:
    return (
        f"the channel is the parent process's, {_made(made)}, and gRPC's fork support is off "
        "(GRPC_ENABLE_FORK_SUPPORT)"
    )


def crowded(streams: int, made: Origin) -> str:
    return f"{streams} streams live on the channel, which was {_made(made)}"


def many_channels(channels: int, seconds: float, made: Origin) -> str:
    return f"{channels} channels to this target within {duration(seconds)}, all made {made}"


def left_open(rule: Rule, origin: Origin, number: int, last: tuple[str, float] | None) -> str:
    if rule == "unclosed-channel":
        text = f"never closed; {_made(origin)}"
    else:
        text = f"neither drained nor cancelled; {_made(origin, 'started')}"
        if last is not None:
            text += f", last {last[0]} {duration(monotonic() - last[1])} ago"
    return text if number == 1 else f"{text}, and {number - 1} more from there"


def was_cancelled(cancelled: Origin, side: str) -> str:
    effect = "ended the RPC" if side == "client" else "broke the stream"
    return (
        f"its {cancelled.operation} was cancelled {duration(cancelled.age)} ago by way of "
        f"{cancelled.kind} {quoted(cancelled.name)} {cancelled}, which {effect}"
    )


def stood_still(seconds: float, others: int) -> str:
    tasks = "and no other task" if others < 1 else f"and with it {others} other tasks"
    return f"the event loop of the thread stood still for {duration(seconds)}, {tasks}"


def starved(held: Sequence[Owner], waiting: int) -> str:
    shown = [
        f"{owner.operation} in {party(owner)} for {duration(owner.held_seconds)}{_at(owner)}"
        for owner in held[:_SHOWN]
    ]
    more = [] if len(held) <= _SHOWN else [f"and {len(held) - _SHOWN} more"]
    return (
        f"{waiting} waiting while streams hold all {len(held)} threads: {'; '.join(shown + more)}"
    )


def _at(owner: Owner) -> str:
    return "" if owner.site is None else f" at {owner.site.file}:{owner.site.line}"


def is_parked(thread: Owner, origin: Origin) -> str:
    return (
        f"the RPC is over, and {party(thread)} has been in its request iterator for "
        f"{duration(thread.held_seconds)}; {_made(origin, 'started')}"
    )


def _made(origin: Origin, how: str = "made") -> str:
    return f"{how} {duration(origin.age)} ago {origin}"


def held_by_probe(delay: float, window: float, run: int) -> str:
    """Return what a finding says of the probe that brought it about."""
    return (
        f", held back there by the probe ({duration(delay)}; near miss within "
        f"{duration(window)} first seen in run {run})"
    )


def probing(seed: int | None, run: int) -> str:
    """Return what is said before a run of the probe: the seed repeats its choices."""
    return f"probing with seed {seed}, run {run}"


def probed(near_misses: int, delays: int, synchronised: int, spent: float) -> str:
    """Return the line of the summary on what the probe did."""
    return (
        f"probe: {count(near_misses, 'near miss', 'near misses')}, {count(delays, 'delay')}, "
        f"{count(synchronised, 'synchronised pair')}, {spent:.2f} s spent"
    )


def party(owner: Owner) -> str:
    return f"{owner.kind} {quoted(owner.name)}"


def report(finding: Finding) -> str:
    """Return the whole report of `finding`, first line first."""
    return "\n".join(_lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.message
    if finding.owner is not None:
        held = f" for {duration(finding.owner.held_seconds)}"
        yield from _section("owner", finding.owner, held)
    yield from _section("caller", finding.caller, "")
    yield f"  without the guard: {finding.rule.unguarded(finding.side, finding.api)}"
    yield f"  how to fix it: {finding.remedy}"
    yield f"  rule: {finding.rule} ({finding.rule.summary}); source: {finding.rule.source}"


def _section(title: str, owner: Owner, held: str) -> Iterator[str]:
    yield f"  {title + ':':8}{party(owner)} in {owner.operation}{held}"
    if not owner.stack:
        yield "    (no line of the program on its stack)"
    for frame in owner.stack:
        yield f'    File "{frame.file}", line {frame.line}, in {frame.function}'
        if frame.code:
            yield f"      {frame.code}"
