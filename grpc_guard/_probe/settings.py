"""What the probe may be told, in one frozen object, the one parser that reads it, and what it tells."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from typing import NamedTuple

from .._catalogue import words
from .._catalogue.settings import PROBE, Layer, environment, resolve


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """The thresholds of the probe. Times are seconds, shares are parts of one.

    ``window``: two parties are near each other if one begins an operation so soon after the
    other's has ended. ``delay``: how long an operation is held back, at most, and ``shortest``:
    what is not worth it. ``share``: how much of the time that is left to a deadline or to a
    time-out of the task a delay may take. ``rate``: delays in any second of one direction.
    ``budget``: how much of the run all delays may take, but for the first ``floor`` seconds
    of them. ``decay``: by how much the chance of a delay falls with each. ``stalls``: how
    many delays the other party has to wait out until the two are taken to be
    synchronised. ``seed``: of the choices; None for one by chance.
    """

    window: float = 0.1
    delay: float = 0.05
    shortest: float = 0.01
    share: float = 0.1
    rate: int = 4
    budget: float = 0.1
    floor: float = 2.0
    decay: float = 0.7
    stalls: int = 3
    seed: int | None = None

    def __str__(self) -> str:
        """Return what :func:`parse_probe` reads as this object."""
        told = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        return ",".join(f"{name}={value}" for name, value in told.items()) or "on"


class Totals(NamedTuple):
    """What the probe did in a run; seconds that operations were held back are ``spent``."""

    near_misses: int = 0
    delays: int = 0
    synchronised: int = 0
    spent: float = 0.0

    def plus(self, other: Iterable[float]) -> Totals:
        near_misses, delays, synchronised, spent = other
        return Totals(
            self.near_misses + int(near_misses),
            self.delays + int(delays),
            self.synchronised + int(synchronised),
            self.spent + spent,
        )


_WHOLE = {"rate", "stalls", "seed"}
_SHARES = {"share", "budget", "decay"}
_NAMES = [field.name for field in dataclasses.fields(ProbeSettings)]


def parse_probe(value: bool | str, *, source: str) -> ProbeSettings | None:
    """Return the settings that `value` says, None for none; `source` is where it came from.

    ``on``, ``off``, or settings as in ``delay=0.02,seed=7``. Raises ValueError that names
    the source, the value and the choices.
    """
    if value in (False, "off"):
        return None
    if value in (True, "on"):
        return ProbeSettings()
    told: dict[str, float] = {}
    for setting in str(value).split(","):
        name, equals, number = (part.strip() for part in setting.partition("="))
        if name not in _NAMES or not equals:
            raise ValueError(
                f"{source}: {setting!r} is not a setting of the probe; use on, off, or NAME=NUMBER "
                f"with {', '.join(_NAMES)}, separated by commas"
                f"{words.did_you_mean(name, ['on', 'off', *_NAMES])}"
            )
        told[name] = _number(name, number, source)
    return ProbeSettings(**told)  # type: ignore[arg-type]  # _number() knows which are whole


def _number(name: str, value: str, source: str) -> float:
    number: float
    try:
        number = int(value) if name in _WHOLE else float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= (1 if name in _SHARES else math.inf):
        kind = "a whole number" if name in _WHOLE else "a number"
        span = "from 0 to 1" if name in _SHARES else "of at least 0"
        raise ValueError(f"{source}: {name}={value!r} is not {kind} {span}")
    return number


def resolve_probe(
    switch: Layer[bool] | None = None,
    seed: Layer[str] | None = None,
    *,
    details: Iterable[Layer[object]] = (),
) -> ProbeSettings | None:
    """Return the settings of the probe, None for none.

    Its numbers are the environment's; `switch` switches it on, by default with its own numbers, and
    `seed` goes before theirs. `seed` and `details` are ValueErrors where nobody has switched it
    on, as is a bad value: the error names the source.
    """
    probe = resolve(environment(PROBE), parse=parse_probe, default=None).value
    if probe is None and switch is not None and switch.value:
        probe = ProbeSettings()
    if switch is not None and probe is None:
        for source, value in (*details, *filter(None, [seed])):
            if value is not None:
                raise ValueError(f"{source} needs {switch.source}")
    if seed is None or seed.value is None or probe is None:
        return probe
    return dataclasses.replace(probe, seed=parse_seed(seed.value, source=seed.source))


def parse_seed(value: str, *, source: str) -> int:
    """Return the seed that `value` says. Raises ValueError that names the source and the value."""
    return int(_number("seed", value, source))


def with_seed(settings: ProbeSettings) -> ProbeSettings:
    """Return `settings` with a seed by chance if they have none."""
    if settings.seed is not None:
        return settings
    return dataclasses.replace(settings, seed=int.from_bytes(os.urandom(4), "big"))
