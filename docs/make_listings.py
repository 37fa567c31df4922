"""Put files and the output of commands into the pages, below the marks that name them.

A mark is a comment on a separate line, right above a fenced block:

    <!-- file: docs/examples/chat.py -->       the block is that file
    <!-- run: grpc-guard run chat.py -->       the block is that command, run in
                                               docs/examples/, and what it printed
    <!-- once: python luck.py -->              the same for a program whose outcome is a
                                               matter of luck: made where the block is empty

Run ``python docs/make_listings.py`` after a change to an example, to a report or to the
command line; it writes the pages whose listings have changed. Times, addresses and versions
differ from run to run and do not count.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

TOP = Path(__file__).parent.parent
EXAMPLES = TOP / "docs/examples"
PAGES = ("README.md", "docs/*.md", "docs/[!_]*/*.md")
TIMEOUT = 60.0  # seconds, for one command
PLACES = {  # paths of this machine, longest first, and what replaces them
    str(EXAMPLES): "/src",
    str(TOP): "/src",
    sysconfig.get_path("purelib"): "/usr/lib/python3/site-packages",
    os.path.dirname(os.__file__): "/usr/lib/python3",
}

_LISTING = re.compile(
    r"^<!-- (?P<kind>file|run|once): (?P<what>.+?) -->\n(?P<fence>```\w*\n)(?P<text>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)
_PROGRAMS = {"grpc-guard": ["-m", "grpc_guard"], "python": [], "pytest": ["-m", "pytest"]}
_CHANGING = (  # what differs from run to run, and what replaces it in a comparison
    (r"\d+(\.\d+)? (µs|ms|s)\b", "TIME"),
    (r"\d+\.\d+s\b", "TIME"),
    (r'("held_seconds":) [\d.e-]+', r"\1 TIME"),
    (r'("pid":) \d+', r"\1 PID"),
    (r"\b(process|dump|top) \d+", r"\1 PID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "DATE"),
    (r"\b(grpc_guard|grpcio|protobuf|Python|pytest|pluggy)([- ])\d[\w.]*", r"\1\2VERSION"),
    (r"\b(127\.0\.0\.1|localhost):\d+", r"\1:PORT"),
    (r"\d+ streams? and \d+ operations?", "TOTALS"),
    (r"\b(Thread|Task)-\d+", r"\1-N"),
    (r"\b(reader)_\d\b", r"\1_N"),  # of a pool: which comes first is a matter of luck,
    (r'("(streams|operations)":) \d+', r"\1 TOTAL"),
    (r"Task <.*> got Future <.*> attached", "TASKS attached"),
    # Printed by grpcio if the end of the loop comes before that of a handler:
    (r"Traceback .*\n(  File \"src/python/grpcio/.*\n)+asyncio\.\S+CancelledError\n", ""),
    (r"=+", "="),  # pytest fills its lines, however long the time is
)


def pages(top: Path = TOP) -> Iterator[Path]:
    """Yield every page that may have listings."""
    for pattern in PAGES:
        yield from sorted(
            page for page in top.glob(pattern) if "rules" not in page.relative_to(top).parts
        )


def show(text: str, listing: Callable[[str, str], str]) -> str:
    """Return the page `text` with its listings made again by ``listing(kind, what)``.

    A listing that differs only in such details stays as it is.
    """

    def replace(match: re.Match[str]) -> str:
        if match["kind"] == "once" and match["text"]:
            return match[0]
        made = listing(match["kind"], match["what"])
        if same(made) == same(match["text"]):
            return match[0]
        return f"<!-- {match['kind']}: {match['what']} -->\n{match['fence']}{made}```\n"

    return _LISTING.sub(replace, text)


def same(listing: str) -> str:
    """Return `listing` without what differs from run to run."""
    for pattern, replacement in _CHANGING:
        listing = re.sub(pattern, replacement, listing)
    return listing


def listing(kind: str, what: str) -> str:
    """Return the text below the mark ``<!-- kind: what -->``."""
    return (TOP / what).read_text(encoding="utf-8") if kind == "file" else run(what)


def run(command: str, **variables: str) -> str:
    """Run `command` in docs/examples/; return it with what it printed, as on a terminal.

    `variables` are set in its environment.
    """
    program, *arguments = shlex.split(command)
    environment = {
        **os.environ,
        "COLUMNS": "90",  # as many as fit on the site
        "GRPC_VERBOSITY": "NONE",
        "PYTHONUNBUFFERED": "1",  # both streams in the order of their lines
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "grpc_guard.pytest_plugin",
    }
    # With these, programs would not print as on a terminal.
    for name in (
        "GRPC_GUARD",
        "GRPC_GUARD_COLOR",
        "CI",
        "BUILD_NUMBER",
        "GITHUB_ACTIONS",
        "NO_COLOR",
        "FORCE_COLOR",
    ):
        environment.pop(name, None)
    environment.pop("PYTEST_ADDOPTS", None)
    environment |= variables
    ran = subprocess.run(
        [sys.executable, *_PROGRAMS[program], *arguments],
        cwd=EXAMPLES,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    printed = ran.stdout.decode()
    for place, shown in PLACES.items():
        printed = printed.replace(place, shown)
    lines = [f"$ {command}", *map(str.rstrip, printed.splitlines())]
    if ran.returncode:
        status = ran.returncode if ran.returncode > 0 else 128 - ran.returncode  # as in a shell
        lines += ["$ echo $?", str(status)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages again and print which ones have changed."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = show(text, listing)
        if new != text:
            page.write_text(new, encoding="utf-8", newline="\n")
            sys.stdout.write(f"{page.relative_to(TOP)}\n")


if __name__ == "__main__":
    main()
