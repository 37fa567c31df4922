"""``grpc-guard rules``, ``grpc-guard explain RULE``, and the pages about rules in the docs.

A page is a file of the folder rules/, which says at length what the rule's own texts in
_rules.py and _rules_of_life.py, put in here, say in a line. grpc is not imported: to read about a rule is free.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
import textwrap
from string import Template
from typing import TextIO

from . import _messages
from ._rules import RULES, Rule, rule_named

_WIDTH = 100  # columns of a table
_TEXT_WIDTH = 88  # columns of a paragraph

_EXAMPLES = (
    "They use the service of `grpc-guard demo`, RouteGuide: its messages, a stub of the api in "
    "question, and the base class of its servers. The project's tests run every one of them "
    "against a real server."
)
_INDEX = """\
# Rules

What grpc_guard checks. The pages are made by `docs/make_rules.py` from the texts that
`grpc-guard explain RULE` prints.

| rule | severity | what is found |
|---|---|---|
"""


def add_arguments_of_rules(parser: argparse.ArgumentParser) -> None:
    """``grpc-guard rules`` takes none."""


def main_of_rules(arguments: argparse.Namespace) -> int:
    """Print the rules and return the exit status."""
    return list_rules(sys.stdout)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``grpc-guard explain`` takes."""
    parser.add_argument("rule", metavar="RULE", help="one of those that grpc-guard rules lists")


def main(arguments: argparse.Namespace) -> int:
    """Print the page of a rule and return the exit status, 2 if there is no such rule."""
    return explain(arguments.rule, sys.stdout)


def list_rules(out: TextIO) -> int:
    """Write a table of the rules to `out`: name, severity, one line; return the exit status 0."""
    names = max(len(name) for name in RULES)
    severities = max(len(rule.severity) for rule in RULES.values())
    for rule in RULES.values():
        start = f"{rule.name:<{names}}  {rule.severity:<{severities}}  "
        out.write(f"{_wrapped(rule.summary, _WIDTH, start, ' ' * len(start))}\n")
    out.write("\ngrpc-guard explain RULE says what a rule means, why, and how to mend a program.\n")
    return 0


def explain(name: str, out: TextIO) -> int:
    """Write the page about the rule called `name` to `out`; return the exit status.

    0, or 2 for an unknown name: stderr then says which rules there are.
    """
    try:
        rule = rule_named(name)
    except KeyError:
        sys.stderr.write(f"grpc-guard explain: {_messages.unknown(name, 'rule', RULES)}\n")
        return 2
    out.write(page(rule))
    return 0


def page(rule: Rule) -> str:
    """Return the page about `rule`, as Markdown that reads well in a terminal too."""
    source = importlib.resources.files(__package__) / "rules" / f"{rule.name}.md"
    return Template(source.read_text(encoding="utf-8")).substitute(
        name=rule.name,
        summary=_wrapped(f"{rule.severity}: {rule.summary}."),
        source=_wrapped(f"Source: {rule.source}."),
        unguarded=_unguarded(rule),
        remedy=_wrapped(f"{rule.remedy[:1].upper()}{rule.remedy[1:]}. {_serialized(rule)}"),
        examples=_wrapped(_EXAMPLES),
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
        return _wrapped(f"{next(iter(where))}.")
    return "\n".join(
        _wrapped(f"{', '.join(sides)}: {text}.", start="- ", indent="  ")
        for text, sides in where.items()
    )


def _serialized(rule: Rule) -> str:
    if rule.severity == "warning":
        return "A warning refuses nothing, in any mode: it is recorded and shown."
    if rule.waitable:
        return "In mode `serialize` the second caller waits for its turn instead."
    return "Waiting cannot heal it: mode `serialize` acts as `raise` here."


def _wrapped(text: str, width: int = _TEXT_WIDTH, start: str = "", indent: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
