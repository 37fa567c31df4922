"""Names in the ids of these tests the core that they run on: ``c`` or ``py``, see GRPC_GUARD_PURE."""

from __future__ import annotations

import pytest
from inside import core_which


@pytest.fixture(autouse=True, params=[core_which.CORE])
def core(request: pytest.FixtureRequest) -> str:
    """Return the name of the core that runs."""
    name: str = request.param
    return name
