"""The one table that users read: what the sections of a run say, in six rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ._measure import Figure

Results = Mapping[str, Sequence[Figure]]

_NEEDED = ("end_to_end", "memory", "refusals")
_SHAPES = {
    "a message of a server stream": "server stream",
    "a request and its response, on a bidirectional stream": "bidi ping-pong",
    "an RPC of one to three messages": "short streams",
    "a unary RPC": "unary",
}
_DIRECTIONS = ("sync client, responses", "aio client, either direction")
_REFUSED = ("sync next during next", "aio read during read, 10 tasks")


def summary(results: Results) -> str | None:
    """Return the table as Markdown; None if `results` lack a section that it needs."""
    if not all(results.get(name) for name in _NEEDED):
        return None
    rows = ["| | sync | asyncio |", "|---|---|---|"]
    for words, shape in _SHAPES.items():
        cells = (_added(results, f"{api} {shape}, 16 B") for api in ("sync", "aio"))
        rows.append(f"| {words} | {' | '.join(cells)} |")
    memory = (_find(results["memory"], name).value for name in _DIRECTIONS)
    rows.append(f"| memory of a guarded direction | {_joined(memory, '{:,.0f} bytes')} |")
    refused = (_find(results["refusals"], name).value for name in _REFUSED)
    rows.append(f"| a refused call, with its report | {_joined(refused, '{:.0f} us')} |")
    return "\n".join(rows)


def _added(results: Results, name: str) -> str:
    both = _find(results["end_to_end"], name, "both")
    if not both.is_certain:
        return "too restless to tell"
    plain = _find(results["end_to_end"], name, "plain")
    return f"{both.value:.3f} ({plain.value * (both.value - 1):+.1f} us)"


def _joined(values: Iterable[float], form: str) -> str:
    return " | ".join(form.format(value) for value in values)


def _find(figures: Sequence[Figure], name: str, column: str = "") -> Figure:
    return next(one for one in figures if (one.name, one.column) == (name, column))
