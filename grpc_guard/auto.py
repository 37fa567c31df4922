"""Importing this module switches the guard on as the environment variable GRPC_GUARD says.

``off``, ``raise``, ``warn`` or ``serialize``; unset or empty means off. An invalid value is
a ValueError that names the choices. GRPC_GUARD_PROBE says whether to probe as well. A variable
that begins with ``GRPC_GUARD_`` and is not a setting is logged, with the most similar setting.
"""

from ._process.automatic import enable_by_environment

enable_by_environment()
