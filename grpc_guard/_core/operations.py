"""Which functions are operations: a frame of one shows who is inside a direction.

Each is compiled to one line. A trace function that is written in Python (a
debugger's, of ``python -m trace``) is called wherever a new line begins, thus between a claim and
its ``try`` as well, or between the ``finally`` and the release, and a signal handler that is due
runs in there: what it raises would leave the direction owned for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any, TypeVar

from .._catalogue.cpython import on_one_line, variables_of

F = TypeVar("F", bound=Callable[..., Any])

OPERATIONS: list[CodeType] = []  # marked code; two may be equal
# The names, by the identity of code objects: they hash their whole content each time.
IDENTITIES: dict[int, str] = {}
ONLOOKERS: set[int] = set()  # marked code that holds a direction without owning it
ITERATING: set[int | str] = (
    set()
)  # marked code, and operations, whose step runs the program's own iterator


def operation(name: str, *, owns: bool = True, iterates: bool = False) -> Callable[[F], F]:
    """Mark a function as one that holds its local ``direction`` while it runs operation `name`.

    With ``owns=False`` its frame says the contrary: the party in it is not the owner. With
    `iterates`, what it runs is the program's own iterator; otherwise there is only grpcio.
    """

    def mark(function: F) -> F:
        function.__code__ = _marked(function.__code__, name, owns, iterates)
        return function

    return mark


def _marked(plain: CodeType, name: str, owns: bool, iterates: bool) -> CodeType:
    """Return code that does the same as `plain` and is known, as that of one operation alone."""
    code = on_one_line(plain).replace()
    OPERATIONS.append(code)
    IDENTITIES[id(code)] = name
    if not owns:
        ONLOOKERS.add(id(code))
    if iterates:
        ITERATING.update((id(code), name))
    return code


def asked_at(frame: FrameType | None) -> FrameType | None:
    """Return the frame that asked for the operation at `frame`: that itself, if the operation shows none."""
    return frame.f_back if frame is not None and id(frame.f_code) in IDENTITIES else frame


CONTENDED = "contended"  # the outermost function of an operation that found its direction taken


def is_outermost(code: int, direction: Any) -> bool:
    """Tell whether marked code of this identity has no frame of the method further out."""
    return not direction.shows_frames and IDENTITIES[code] == CONTENDED


# How far an operation has come. Between its claim and its note of the time, ``since`` is still that
# of the operation before it: CPython lets other threads run there, behind the call of the clock.
COMING, CLAIMED, NOTED = range(3)
_CLAIMS = {("DELETE_ATTR", "free"), ("STORE_ATTR", "taken"), ("DELETE_SUBSCR", None)}
_NOTES = ("STORE_ATTR", "since")
_points: dict[int, tuple[int, int]] = {}  # by the identity of marked code
_BEFORE_ALL = -1  # as an index of an instruction


def progress(frame: FrameType) -> int:
    """Return how far the operation of this frame, of marked code, has come: COMING, CLAIMED or NOTED."""
    code = frame.f_code
    points = _points.get(id(code))
    if points is None:
        points = _points[id(code)] = _points_of(code)
    return (frame.f_lasti > points[0]) + (frame.f_lasti > points[1])


def _points_of(code: CodeType) -> tuple[int, int]:
    """Return the indexes of the instructions of `code` that claim, and that note the time.

    Code without them is past both: it does nothing of the kind.
    """
    import dis  # asyncio has it already

    claims = _BEFORE_ALL
    for instruction in dis.get_instructions(code):
        what = instruction.opname, instruction.argval
        if what == _NOTES:
            return claims, instruction.offset
        if what in _CLAIMS:
            claims = instruction.offset
    return _BEFORE_ALL, _BEFORE_ALL


def operation_in(frame: FrameType) -> str:
    """Return the name of the operation whose frame this is."""
    return operation_of(frame.f_code, variables_of(frame))


def iterates(code: CodeType, names: Mapping[str, object]) -> bool:
    """Tell whether an operation runs the program's own iterator; the slow paths run that of any."""
    return id(code) in ITERATING or operation_of(code, names) in ITERATING


def operation_of(code: CodeType, names: Mapping[str, object]) -> str:
    """Return the same by the code and the local variables of the frame."""
    local = names.get("operation")  # the slow paths serve several operations
    return local if isinstance(local, str) else IDENTITIES[id(code)]
