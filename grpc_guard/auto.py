"""Importing this module switches the guard on as the environment variable GRPC_GUARD says.

``off``, ``raise``, ``warn`` or ``serialize``; unset or empty means off. A value that is none of
these is a ValueError that names the choices. GRPC_GUARD_PROBE says whether to probe as well.
"""

from __future__ import annotations

import os

from ._catalogue.modes import Mode, parse_mode
from ._probe.settings import parse_probe
from ._process.switch import enable

_mode = parse_mode(os.environ.get("GRPC_GUARD") or "off", source="GRPC_GUARD")
_probe = parse_probe(os.environ.get("GRPC_GUARD_PROBE") or "off", source="GRPC_GUARD_PROBE")
if _mode is not Mode.OFF:
    enable(_mode, probe=_probe is not None and str(_probe))
