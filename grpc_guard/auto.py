"""Importing this module switches the guard on as the environment variable GRPC_GUARD says.

``off``, ``raise``, ``warn`` or ``serialize``; unset or empty means off. A value that is none of
these is a ValueError that names the choices.
"""

from __future__ import annotations

import os

from ._modes import Mode, parse_mode
from ._process import enable

_mode = parse_mode(os.environ.get("GRPC_GUARD") or "off", source="GRPC_GUARD")
if _mode is not Mode.OFF:
    enable(_mode)
