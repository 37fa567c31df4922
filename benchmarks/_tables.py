"""Figures in words: a cell, a line for people at a terminal, a table for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ._measure import Figure

_FORMATS: dict[str, Callable[[float], str]] = {
    "ns": "{:.0f} ns".format,
    "us": "{:.3g} us".format,
    "ms": "{:.3g} ms".format,
    "x": "{:.3f}".format,
    "bytes": "{:,.0f} bytes".format,
    "count": "{:,.0f}".format,
    "more": "{:+,.0f}".format,
    "%": "{:.1f} %".format,
}
_THOUSAND = 1000


def cell(figure: Figure) -> str:
    """Return the figure in words, or that the machine was too busy for one."""
    if not figure.is_certain and figure.control is not None:
        low, high = figure.control.low, figure.control.high
        return f"too restless (A/A {low:.3f} to {high:.3f})"
    words = _value(figure.value, figure.unit)
    if figure.interval is not None:
        words += f" ({figure.interval.low:.3f} to {figure.interval.high:.3f})"
    if figure.bound is not None:
        holds = figure.value <= figure.bound
        words += f"; aim {figure.bound:g}{'' if holds else ', missed'}"
    return words


def _value(value: float, unit: str) -> str:
    if unit == "us" and value >= _THOUSAND:
        return f"{value:,.0f} us"
    show = _FORMATS.get(unit)
    return show(value) if show is not None else f"{value:g} {unit}"


def line(figure: Figure) -> str:
    """Return the figure as a line of the terminal."""
    name = f"{figure.name}, {figure.column}" if figure.column else figure.name
    return f"  {name:<76} {cell(figure)}"


def markdown(figures: Iterable[Figure]) -> Iterator[str]:
    """Yield the lines of a table: a row for each name, a column for each kind of figure."""
    rows: dict[str, dict[str, Figure]] = {}
    columns: dict[str, None] = {}
    for figure in figures:
        rows.setdefault(figure.name, {})[figure.column] = figure
        columns[figure.column] = None
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, row in rows.items():
        cells = (cell(row[column]) if column in row else "" for column in columns)
        yield f"| {name} | {' | '.join(cells)} |"
