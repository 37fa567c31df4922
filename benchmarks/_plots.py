"""The plots: ratios with their intervals, and the cost of an operation against live streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._measure import Figure

_COLORS = {"client only": "#4477aa", "server only": "#ccbb44", "both": "#aa3377"}
_LINES = {  # column: (label, color, style)
    "bare": ("plain", "#888888", "--"),
    "same stream": ("guarded", "#aa3377", "-"),
    "bare, each in turn": ("plain, each in turn", "#bbbbbb", ":"),
    "each in turn": ("guarded, each in turn", "#4477aa", "-"),
}
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "grpc_guard", "font.size": 9}

Results = Mapping[str, Sequence[Figure]]


def draw(results: Results, directory: Path, kinds: Sequence[str] = ("svg",)) -> list[Path]:
    """Draw what `results` allow into `directory`; return the files."""
    import matplotlib as mpl

    mpl.use("agg")
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(_SETTINGS):
        for section, name, plot in (
            ("end_to_end", "ratios", _ratios),
            ("scale", "live_streams", _live_streams),
        ):
            if results.get(section):
                figure = plot(results[section])
                for kind in kinds:
                    file = directory / f"{name}.{kind}"
                    metadata = {"Date": None} if kind == "svg" else None  # the same each time
                    figure.savefig(file, bbox_inches="tight", metadata=metadata)
                    drawn.append(file)
    return drawn


def _ratios(figures: Sequence[Figure]) -> Any:
    import matplotlib.pyplot as plt

    rows = list(dict.fromkeys(figure.name for figure in figures))
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(rows) + 1.2))
    for offset, (column, color) in zip((-0.22, 0, 0.22), _COLORS.items(), strict=True):
        certain = [f for f in figures if f.column == column and f.is_certain and f.interval]
        axes.errorbar(
            [f.value for f in certain],
            [rows.index(f.name) + offset for f in certain],
            xerr=[
                [f.value - f.interval.low for f in certain if f.interval],
                [f.interval.high - f.value for f in certain if f.interval],
            ],
            fmt="o",
            markersize=3,
            linewidth=1.2,
            color=color,
            label=column,
        )
    controls = [f for f in figures if f.column == "A/A" and f.interval]
    axes.barh(
        [rows.index(f.name) for f in controls],
        [f.interval.high - f.interval.low for f in controls if f.interval],
        left=[f.interval.low for f in controls if f.interval],
        height=0.8,
        color="#e4e4e4",
        zorder=0,
        label="A/A",
    )
    axes.axvline(1, color="#444444", linewidth=0.8)
    axes.use_sticky_edges = False  # or the left bar would touch the edge
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("CPU time, guarded / plain (median and 95 % interval)")
    axes.grid(axis="x", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, frameon=False)
    figure.tight_layout()
    return figure


def _live_streams(figures: Sequence[Figure]) -> Any:
    import matplotlib.pyplot as plt

    operations = list(dict.fromkeys(figure.name.partition(",")[0] for figure in figures))
    figure, all_axes = plt.subplots(1, len(operations), figsize=(8, 3), squeeze=False)
    for axes, operation in zip(all_axes[0], operations, strict=True):
        mine = [f for f in figures if f.name.partition(",")[0] == operation]
        for column, (label, color, style) in _LINES.items():
            points = [(_live(f), f.value) for f in mine if f.column == column]
            axes.plot(
                *zip(*points, strict=True),
                style,
                marker="o",
                markersize=3,
                color=color,
                label=label,
            )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(operation)
        axes.set_xlabel("live guarded streams")
        axes.set_ylabel("ns for one operation")
        axes.grid(linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = all_axes[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncol=4, frameon=False
    )
    figure.tight_layout()
    return figure


def _live(figure: Figure) -> int:
    return int(figure.name.partition(",")[2].removesuffix(" live").replace(",", ""))
