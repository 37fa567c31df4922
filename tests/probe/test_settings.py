"""What the probe may be told."""

from __future__ import annotations

import dataclasses

import pytest
from inside import ProbeSettings, parse_probe, parse_seed, with_seed


@pytest.mark.parametrize("value", ["off", False])
def test_off(value: bool | str) -> None:
    """Off is no settings."""
    assert parse_probe(value, source="test") is None


@pytest.mark.parametrize("value", ["on", True])
def test_on(value: bool | str) -> None:
    """On is the default settings."""
    assert parse_probe(value, source="test") == ProbeSettings()


def test_settings() -> None:
    """Settings are read, whole numbers as such, and printed as they are read."""
    settings = parse_probe("delay=0.02, seed = 7,rate=2", source="test")
    assert settings == ProbeSettings(delay=0.02, seed=7, rate=2)
    assert str(settings) == "delay=0.02,rate=2,seed=7"
    assert parse_probe(str(settings), source="test") == settings
    assert str(ProbeSettings()) == "on"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "dealy=1",
            (
                "test: 'dealy=1' is not a setting of the probe; use on, off, or NAME=NUMBER with "
                "window, delay, shortest, share, rate, budget, floor, decay, stalls, seed, "
                "separated by commas"
            ),
        ),
        ("delay", "test: 'delay' is not a setting of the probe"),
        ("yes", "test: 'yes' is not a setting of the probe"),
        ("delay=long", "test: delay='long' is not a number of at least 0"),
        ("delay=-1", "test: delay='-1' is not a number of at least 0"),
        ("delay=nan", "test: delay='nan' is not a number of at least 0"),
        ("budget=2", "test: budget='2' is not a number from 0 to 1"),
        ("seed=0.5", "test: seed='0.5' is not a whole number of at least 0"),
    ],
)
def test_a_bad_value(value: str, message: str) -> None:
    """A bad value is an error that names the source, the value and the choices."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_probe(value, source="test")
    assert str(caught.value).startswith(message)


def test_seed() -> None:
    """A seed is read alone too; without one there is one by chance."""
    assert parse_seed("7", source="test") == 7
    assert with_seed(ProbeSettings(seed=0)) == ProbeSettings(seed=0)
    chosen = with_seed(ProbeSettings(delay=1))
    assert chosen.seed is not None
    assert dataclasses.replace(chosen, seed=None) == ProbeSettings(delay=1)
