"""``grpc-guard rules`` and ``grpc-guard explain RULE``.

grpc is not imported: to read about a rule is free.
"""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

from .._catalogue import words
from .._catalogue.catalogue import RULES, rule_named
from .._catalogue.pages import page, wrapped

_WIDTH = 100  # columns of a table


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
        out.write(f"{wrapped(rule.summary, _WIDTH, start, ' ' * len(start))}\n")
    out.write("\ngrpc-guard explain RULE says what a rule means, why, and how to fix a program.\n")
    return 0


def explain(name: str, out: TextIO) -> int:
    """Write the page about the rule called `name` to `out`; return the exit status.

    0, or 2 for an unknown name: stderr then says which rules there are.
    """
    try:
        rule = rule_named(name)
    except KeyError:
        sys.stderr.write(f"grpc-guard explain: {words.unknown(name, 'rule', RULES)}\n")
        return 2
    out.write(page(rule))
    return 0
