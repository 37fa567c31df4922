"""Rules are frozen records that equal their names and answer for every side and api."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from inside import CONCURRENT_READ, CONCURRENT_WRITE, RULES, Rule, rule_named

EVERY_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=str)


@EVERY_RULE
def test_name(rule: Rule) -> None:
    """A rule equals, hashes and prints as its name, and its name is plain text."""
    assert rule == rule.name == str(rule)
    assert hash(rule) == hash(rule.name)
    assert type(rule.name) is str
    assert json.dumps([rule]) == f'["{rule.name}"]'
    assert RULES[rule.name] is rule


@EVERY_RULE
def test_setting_an_attribute(rule: Rule) -> None:
    """A rule cannot be changed."""
    with pytest.raises(AttributeError) as caught:
        rule.severity = "warning"
    assert str(caught.value) == f"a rule is frozen: 'severity' cannot be set on '{rule.name}'"


@EVERY_RULE
def test_deleting_an_attribute(rule: Rule) -> None:
    """Nothing can be taken from a rule."""
    with pytest.raises(AttributeError, match="a rule is frozen"):
        del rule.severity
    assert rule.severity in ("error", "warning", "advice")


@EVERY_RULE
def test_copies(rule: Rule) -> None:
    """A rule that was copied or pickled is the same rule."""
    assert copy.copy(rule) is rule
    assert copy.deepcopy(rule) is rule
    assert pickle.loads(pickle.dumps(rule)) is rule


@EVERY_RULE
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("api", ["sync", "aio"])
def test_unguarded(rule: Rule, side: str, api: str) -> None:
    """A rule says for every side and api what happens without it."""
    assert rule.unguarded(side, api)


def test_unguarded_of_one_side() -> None:
    """A text that holds for only one side and api is shown only there."""
    rule = CONCURRENT_WRITE
    assert "INTERNAL" in rule.unguarded("client", "aio")
    assert "INTERNAL" not in rule.unguarded("client", "sync")


def test_waiting_heals_only_overlap() -> None:
    """Waiting helps for the rules about two operations at once, and for no other rule."""
    waitable = [rule.name for rule in RULES.values() if rule.waitable]
    assert waitable == ["concurrent-read", "concurrent-write"]


def test_unknown_name() -> None:
    """A rule that does not exist is a KeyError."""
    with pytest.raises(KeyError, match="no-rule"):
        rule_named("no-rule")


def test_catalogue_is_read_only() -> None:
    """A program cannot add a rule to the catalogue."""
    with pytest.raises(TypeError):
        RULES["concurrent-nap"] = CONCURRENT_READ  # type: ignore[index]
