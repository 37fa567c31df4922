"""Write the tables of docs/design/compiled-core.md: which file of the compiled core does what.

The first sentence of each file says it. Run it after a file has come, gone, or changed its subject;
a test compares, and fails for a file that is in no group.
"""

from __future__ import annotations

import re
from pathlib import Path

_TOP = Path(__file__).parents[1]
SOURCES = _TOP / "grpc_guard/_core/c"
PAGE = _TOP / "docs/design/compiled-core.md"

GROUPS = {
    "What all files share": (
        "core.h usual.h types.h module.c told.c starts.h errors.h known.h known.c layouts.h callers.h clock.h clock.c "
        "kept.h kept.c counting.c"
    ),
    "What stands for a function, a method or a class of Python": (
        "functions.h functions.c methods.c slots.c specials.c absent.c proxies.c recipes.h recipes.c "
        "new_proxies.c"
    ),
    "Streams and directions": "streams.h streams.c stream_fills.c directions.h directions.c aio_directions.c",
    "A sync operation": "steps.h steps.c advances.c sync_operations.c",
    "The start of an RPC": (
        "starts.c unary_starts.h unary_starts.c stream_starts.c aio_starts.c aio_unary_starts.c lives.c origins.c origin_notes.c feeds.c guarded.h guarded.c"
    ),
    "The handler of a sync server": (
        "servers.c handling.h handling.c unary.c entries.h entries.c in_flight.c by_thread.c following.c"
    ),
    "An asyncio operation": (
        "aio.h aio_methods.c aio_operations.c aio_usual.c aio_claims.c aio_endings.c aio_coroutine.c "
        "aio_attributes.c aio_iterators.c"
    ),
    "The handler of an asyncio server": (
        "aio_handlers.h aio_handlers.c aio_runs.c aio_unary.c aio_shortcuts.c aio_generated.h aio_generators.c aio_steps.c "
        "aio_yields.c flights.h flights.c"
    ),
    "A look at the whole process": (
        "looks.h looks.c arrays.h arrays.c table.h table.c boxes.h boxes.c listing.c oldest.c places.h places.c handled.h handled.c handled_type.c recalls.h recall.c recalling.c inside.c again.c waiters.c meeting.c "
        "threads.c chains.c awaits.h awaits.c crowds.h crowd.c crowd_type.c ways.c telling.c records.c"
    ),
    "Its answer as bytes": (
        "answering.h answering.c answer_parts.c parties.c fetching.c copies.h copies.c copying.c in_place.c serving.h serving.c serving_copies.c ordering.c encodings.h encoding.c "
        "bytes.h bytes.c scratches.h scratch.c"
    ),
}

_CODE = re.compile(
    r"(?<!`)\b[\w./]+(?:\(\)|\.(?:py|c|h)\b)"
)  # and not a name that is marked already
_BLOCK = re.compile(r"(<!-- files -->\n).*?(<!-- end of files -->)", re.DOTALL)


def subject_of(file: Path) -> str:
    """Return the first sentence of the comment that a file begins with."""
    found = re.match(r"/\*(.*?)\*/", file.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise ValueError(f"{file} does not begin with a comment that says what it does")
    text = " ".join(line.strip().lstrip("*").strip() for line in found[1].splitlines())
    sentence = re.split(r"(?<=\.)\s", text.strip(), maxsplit=1)[0].removesuffix(".")
    return _CODE.sub(r"`\g<0>`", sentence)


def files_by_group() -> dict[str, list[str]]:
    """Return the names of the files of each group; ValueError if a file is in none, or in two."""
    groups = {title: names.split() for title, names in GROUPS.items()}
    listed = sorted(name for names in groups.values() for name in names)
    there = sorted(file.name for file in SOURCES.glob("*.[ch]"))
    if listed != there:
        differs = sorted(set(listed) ^ set(there)) or "a file that is there twice"
        raise ValueError(f"GROUPS of {__file__} and the files of {SOURCES} differ: {differs}")
    return groups


def tables() -> str:
    """Return a table for each group."""
    made = []
    for title, names in files_by_group().items():
        rows = "".join(f"| `{name}` | {subject_of(SOURCES / name)} |\n" for name in names)
        made.append(f"\n### {title}\n\n| file | |\n|---|---|\n{rows}")
    return "".join(made) + "\n"


def page() -> str:
    """Return the page with the tables as they have to be now."""
    text, count = _BLOCK.subn(
        lambda found: found[1] + tables() + found[2], PAGE.read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"{PAGE} has no place for the tables")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
