"""Real streams on one core, client and server in this process: guarded against plain."""

from __future__ import annotations

from collections.abc import Iterator

from ._measure import Figure, Plan, control_figure, process_clock, race, ratio_figure
from ._services import AIMS, GUARDED_ENDS, SHAPES, aio_blocks, sync_blocks

TITLE = "CPU time of client and server together, guarded / plain"
INTRO = (
    "One operation is a message; of a ping-pong a request with its response, of short streams and unary a whole RPC. "
    "Client and server share the process and one core."
)

_SIZES = {"16 B": 16, "16 KiB": 16 << 10}
_PLAIN = "plain"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield time and ratios of each shape of RPC, message size and api."""
    for api, open_blocks in {"sync": sync_blocks, "aio": aio_blocks}.items():
        with open_blocks() as blocks:
            for shape, operations in SHAPES.items():
                for size, length in _SIZES.items():
                    contenders = blocks(shape, length)
                    for block in contenders.values():
                        block(operations)  # connects, and warms the path
                    measured = race(
                        contenders,
                        reference=_PLAIN,
                        plan=plan,
                        clock=process_clock,
                        operations=operations,
                        seconds=plan.seconds_end_to_end,
                    )
                    row, bound = f"{api} {shape}, {size}", AIMS.get(f"{api} {shape}")
                    yield Figure(row, measured.time(_PLAIN, "us"), "us", column=_PLAIN)
                    for ends in GUARDED_ENDS:
                        if ends != _PLAIN:
                            promised = bound if ends == "both" else None
                            yield ratio_figure(row, ends, measured, ends, bound=promised)
                    yield control_figure(row, measured)
