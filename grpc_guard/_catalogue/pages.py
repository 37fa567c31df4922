"""The pages about rules: what ``grpc-guard explain RULE`` prints and the docs show.

A page stands beside its rule in the folder rules/. It explains at length what the texts of the
rule, which are inserted here, say in a line. This module does not import grpc.
"""

from __future__ import annotations

import importlib.resources
import textwrap
from string import Template

from .catalogue import RULES
from .rule import ADVICE, Rule

_TEXT_WIDTH = 88  # columns of a paragraph

_EXAMPLES = (
    "They use RouteGuide, the service of `grpc-guard demo` (module `grpc_guard.demo`): its messages, a "
    "stub of the named api, and the base class of its servers. The project's tests run every one of "
    "them against a real server."
)
_NOBODY_TO_REFUSE = ("dead-server", "message-mutated")  # errors that are found afterwards
_INDEX = """\
# Rules

What grpc_guard checks. Each page has the text that `grpc-guard explain RULE` prints.

| rule | severity | what is found |
|---|---|---|
"""


def page(rule: Rule) -> str:
    """Return the page about `rule`, as Markdown that reads well in a terminal too."""
    source = importlib.resources.files(__package__) / "rules" / f"{rule.name}.md"
    return Template(source.read_text(encoding="utf-8")).substitute(
        name=rule.name,
        summary=wrapped(f"{rule.severity}: {rule.summary}."),
        source=wrapped(f"Source: {rule.source}."),
        unguarded=_unguarded(rule),
        remedy=wrapped(f"{rule.remedy[:1].upper()}{rule.remedy[1:]}. {_serialized(rule)}"),
        examples=wrapped(_EXAMPLES),
    )


def pages() -> dict[str, str]:
    """Return the docs about the rules: file name to text, the index included."""
    index = "".join(
        f"| [{rule.name}]({rule.name}.md) | {rule.severity} | {rule.summary} |\n"
        for rule in RULES.values()
    )
    return {
        "README.md": _INDEX + index,
        **{f"{rule.name}.md": page(rule) for rule in RULES.values()},
    }


def _unguarded(rule: Rule) -> str:
    """Return what happens where: a list, or a sentence if it is the same everywhere."""
    where: dict[str, list[str]] = {}
    for side in ("client", "server"):
        for api in ("sync", "aio"):
            where.setdefault(rule.unguarded(side, api), []).append(f"{side} {api}")
    if len(where) == 1:
        return wrapped(f"{next(iter(where))}.")
    return "\n".join(
        wrapped(f"{', '.join(sides)}: {text}.", start="- ", indent="  ")
        for text, sides in where.items()
    )


def _serialized(rule: Rule) -> str:
    if rule.severity == ADVICE:
        return "Advice refuses and fails nothing. It is listed separately, and not counted in any total."
    if rule.severity == "warning":
        return "A warning refuses nothing, in any mode. It is recorded and shown."
    if rule.waitable:
        return "In mode `serialize` the second caller waits for its turn instead."
    if rule in _NOBODY_TO_REFUSE:
        return "When it is found, no call can be refused any more. It is recorded and shown, in any mode."
    return "Waiting cannot help: mode `serialize` acts as `raise` here."


def wrapped(text: str, width: int = _TEXT_WIDTH, start: str = "", indent: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
