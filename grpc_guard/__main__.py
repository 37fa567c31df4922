"""``python -m grpc_guard``, and the entry point of the command ``grpc-guard``."""

from __future__ import annotations

import sys

from grpc_guard._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
