"""Plays one half of a scenario in a separate process, because what it breaks is really broken."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Play the scenario `argv[0]` in mode `argv[1]`; print what it showed, as JSON."""
    scenario, mode = argv
    played = importlib.import_module(f"grpc_guard._cli.demo.{scenario}").play(mode)
    print(json.dumps(dataclasses.asdict(played)), flush=True)
    os._exit(0)  # threads that hang in a dead server would keep the process alive


if __name__ == "__main__":
    main(sys.argv[1:])
