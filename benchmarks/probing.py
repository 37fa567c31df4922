"""A real stream while probing, against the same stream guarded."""

from __future__ import annotations

from collections.abc import Iterator

from grpc_guard._probe.process import probe
from grpc_guard._probe.settings import ProbeSettings

from ._measure import Block, Figure, Plan, compare, process_clock
from ._services import SHAPES, aio_blocks, sync_blocks

TITLE = "one message of a server stream with both ends guarded, probed / guarded (CPU time)"
INTRO = "No two parties come near each other here, so that nothing is held back: what is left is the watching."

_SHAPE = "server stream"
_BOUND = 1.1


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of a message guarded and probed, sync and aio."""
    for api, open_blocks in {"sync": sync_blocks, "aio": aio_blocks}.items():
        with open_blocks() as blocks:
            guarded = blocks(_SHAPE, 16)["both"]
            yield from compare(
                {f"{api}, guarded": guarded, f"{api}, probed": _probed(guarded)},
                subject=f"{api}, probed",
                reference=f"{api}, guarded",
                plan=plan,
                bound=_BOUND,
                clock=process_clock,
                unit="us",
                operations=SHAPES[_SHAPE],
            )


def _probed(guarded: Block) -> Block:
    settings = ProbeSettings(seed=0)

    def probed(messages: int) -> None:
        probe.use(settings)  # for the streams that start from now on
        guarded(messages)
        probe.use(None)

    return probed
