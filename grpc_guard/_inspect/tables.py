"""Snapshots as tables: of processes (ps), and of who holds what (top)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .._catalogue.words import duration, escaped, printable
from .._findings.records import Frame, Owner
from .records import DirectionSnapshot, Snapshot, StreamSnapshot
from .wording import at, by_holding, deduction, headline, in_flight, longest, state_of

_PROCESSES = ("PID", "STREAMS", "FINDINGS", "LONGEST HELD", "PROGRAM")
_HOLDERS = ("HELD", "WHO", "OPERATION", "WAITING", "STREAM", "AT")


def processes(answers: Iterable[Snapshot | tuple[int, str]]) -> Iterator[str]:
    """Yield the lines of a table of processes: what each says, or why it says nothing."""
    rows, silent = [], []
    for answer in answers:
        if isinstance(answer, tuple):
            silent.append(answer)
            continue
        held = max((longest(stream) for stream in answer.streams), default=-1.0)
        rows.append(
            (
                str(answer.pid),
                str(len(answer.streams)),
                str(len(answer.findings)),
                "-" if held < 0 else duration(held),
                printable(answer.program),
            )
        )
    yield from _table(_PROCESSES, rows)
    yield from (printable(f"{pid}: {reason}") for pid, reason in silent)


def holders(snapshot: Snapshot) -> Iterator[str]:
    """Yield the lines of a table of the parties inside streams, the one that came first on top.

    Below it are the streams in which nobody is, and the server's handlers that run.
    """
    return map(printable, _holders(snapshot))


def _holders(snapshot: Snapshot) -> Iterator[str]:
    yield headline(snapshot)
    yield from map(deduction, snapshot.deductions)
    rows = []
    for stream in by_holding(snapshot.streams):
        if longest(stream) < 0:
            break
        rpc = f"{escaped(stream.rpc)} ({stream.side}, {stream.api})"
        for direction in sorted(_directions(stream), key=lambda one: -_held(one.owner)):
            waiting, owner = str(len(direction.waiting) or ""), direction.owner
            if owner is not None:
                who, place = f"{owner.kind} {escaped(owner.name)}", printable(_where(owner.site))
                held = duration(owner.held_seconds)
                rows.append((held, who, owner.operation, waiting, rpc, place))
            elif direction.unsent:
                since, line = duration(direction.last_began_seconds), direction.last_at
                place = "" if line is None else printable(_where(line))
                rows.append((since, "gRPC", "cannot send", waiting, rpc, place))
    yield from _table(_HOLDERS, rows)
    for stream in snapshot.streams:
        if longest(stream) < 0:
            named = (("read", stream.read), ("write", stream.write))
            said = [f"{name}: {state_of(one)}" for name, one in named if one is not None]
            yield f"{escaped(stream.rpc)} ({stream.side}, {stream.api}): {'; '.join(said) or 'nobody inside'}"
    for server in snapshot.servers:
        for one in server.handlers:
            site = one.handler.site
            place = "" if site is None else f" {at(site)}"
            yield f"server {server.number}: {in_flight(one)}{place}"


def _where(line: Frame | None) -> str:
    return at(line).removeprefix("at ")


def _directions(stream: StreamSnapshot) -> list[DirectionSnapshot]:
    return [one for one in (stream.read, stream.write) if one is not None]


def _held(owner: Owner | None) -> float:
    return -1.0 if owner is None else owner.held_seconds or 0.0


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
