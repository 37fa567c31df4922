"""The one exception that the guard raises in an application."""

from __future__ import annotations

from .._catalogue.lazy import public
from .records import Finding


@public
class ConcurrencyError(RuntimeError):
    """A call was refused because it would have broken gRPC's concurrency contract.

    Per stream, at most one operation in each direction is in progress: one reader
    beside one writer is fine, two readers or two writers are not, and closing the
    send side counts as a write. The refused call never reached grpcio: the stream
    and the operation in progress on it are untouched, and the same call succeeds
    once the direction is free.

    ``finding`` is the record of what happened; ``str()`` is the full report.

    Deliberately not a :class:`grpc.RpcError`: code that retries failed RPCs must not
    swallow a defect of the program.

    Source: grpc-go, Documentation/concurrency.md; grpcio, StreamStreamCall.read.
    """

    def __init__(self, finding: Finding, report: str | None = None) -> None:
        super().__init__(report if report is not None else finding.message)
        self.finding = finding

    def __reduce__(self) -> tuple[type[ConcurrencyError], tuple[Finding, str]]:
        return type(self), (self.finding, str(self))
