"""``grpc-guard rules`` and ``grpc-guard explain RULE``.

grpc is not imported: reading about a rule does not need it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TextIO

from .._catalogue import words
from .._catalogue.catalogue import RULES, rule_named
from .._catalogue.pages import page
from .._reports.blocks import COLOURS, EMPTY, of_page
from .._reports.layout import Block, Columns, Span, Text
from .._reports.looks import Look, look_of
from .console import add_color, complain, show, written

_PLAIN = Look(width=100, has_colours=False)  # for a table that no terminal shows


def add_arguments_of_rules(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``grpc-guard rules`` takes."""
    add_color(parser)


def main_of_rules(arguments: argparse.Namespace) -> int:
    """Print the rules and return the exit status."""
    return list_rules(sys.stdout, arguments.color)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``grpc-guard explain`` takes."""
    add_color(parser)
    parser.add_argument(
        "rule", metavar="RULE", help="the name of a rule; grpc-guard rules lists them"
    )


def main(arguments: argparse.Namespace) -> int:
    """Print the page of a rule and return the exit status, 2 if there is no such rule."""
    return explain(arguments.rule, sys.stdout, arguments.color)


def list_rules(out: TextIO, color: str | None = None) -> int:
    """Write a table of the rules to `out`: name, severity, one line; return the exit status 0."""
    show(_table(), out, look_of(out, color) or _PLAIN)
    return 0


def _table() -> Iterator[Block]:
    names = max(len(name) for name in RULES)
    severities = max(len(rule.severity) for rule in RULES.values())
    for rule in RULES.values():
        yield Columns(
            (
                (Text((Span(rule.name, "bold"),)),),
                (Text((Span(rule.severity, COLOURS[rule.severity]),)),),
                (Text((Span(rule.summary),), hang=0),),
            ),
            (names, severities, 80),
        )
    yield EMPTY
    yield Text((Span("grpc-guard explain RULE", "cyan"), Span(_MORE)))


_MORE = " says what a rule means, why, and how to fix a program."


def explain(name: str, out: TextIO, color: str | None = None) -> int:
    """Write the page about the rule called `name` to `out`; return the exit status.

    0, or 2 for an unknown name: then stderr lists the rules. If `out` is not a terminal, the page is
    Markdown, as in the docs.
    """
    try:
        rule = rule_named(name)
    except KeyError:
        complain(f"grpc-guard explain: {words.unknown(name, 'rule', RULES)}")
        return 2
    look = look_of(out, color)
    if look is None:
        with written(out) as stream:
            stream.write(page(rule))
    else:
        show(of_page(page(rule)), out, look)
    return 0
