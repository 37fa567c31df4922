"""The marker ``grpc_guard`` of a test."""

from __future__ import annotations

import pytest

from .._catalogue.modes import Mode, parse_mode
from .._catalogue.thresholds import parse_thresholds


def of_marker(item: pytest.Item) -> tuple[Mode | None, dict[str, float]]:
    """Return the mode and thresholds of the item's marker; None for the mode without a marker.

    Raises ValueError for an invalid marker.
    """
    marker = item.get_closest_marker("grpc_guard")
    if marker is None:
        return None, {}
    rest = dict(marker.kwargs)
    told = parse_thresholds(rest.pop("thresholds", {}), source="marker grpc_guard")
    values = [*marker.args, *rest.values()]
    if len(values) > 1 or set(rest) - {"mode"}:
        raise ValueError("marker grpc_guard takes a mode, thresholds and nothing else")
    return parse_mode(*values or ("raise",), source="marker grpc_guard"), told
