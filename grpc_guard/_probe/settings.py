"""The settings of the probe in one frozen object, their one parser, and the totals of a run."""

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
    """The thresholds of the probe. Times are in seconds, shares between 0 and 1.

    ``window``: two parties are near each other if one begins an operation within this time after
    the other's has ended. ``delay``: the longest time for which an operation is held back;
    ``shortest``: below this it is not held back. ``share``: the share of the time until a
    deadline, or a time-out of the task, that a delay may take. ``rate``: the delays per second in
    one direction. ``budget``: the share of the run that all delays together may take, after the
    first ``floor`` seconds of them. ``decay``: by how much each delay lowers the chance of the
    next. ``stalls``: how many delays the other party has to wait out until the two count as
    synchronised. ``seed``: the seed of the choices; None for a random one.
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
    """What the probe did in a run; ``spent`` is the seconds for which operations were held back."""

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
    """Return the settings in `value`, None if it is ``off``; `source` is where it came from.

    ``on``, ``off``, or settings such as ``delay=0.02,seed=7``. Raises ValueError that names
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
    """Return the settings of the probe, None if it is off.

    The numbers come from the environment. `switch` switches the probe on, by default with its own
    numbers; `seed` overrides their seed. A bad value is a ValueError, which names its source, and
    so is a `seed` or `details` while the probe is off.
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
    """Return the seed in `value`. Raises ValueError that names the source and the value."""
    return int(_number("seed", value, source))


def with_seed(settings: ProbeSettings) -> ProbeSettings:
    """Return `settings`, with a random seed if they have none."""
    if settings.seed is not None:
        return settings
    return dataclasses.replace(settings, seed=int.from_bytes(os.urandom(4), "big"))
