"""Checks said once, of settings and of frames, with errors that name the key, what was found and what is allowed."""

import difflib
import itertools
import math
import typing


class SettingsError(ValueError):
    """A settings file holds something that cannot be used; the message says what to change."""


class Missing(FileNotFoundError):
    """Something has to be made first; the message says by what.

    Jupyter shows the sentence alone: the code that asked is no help to who reads it.
    """

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


class Outdated(ValueError):
    """What is there was made by other code or settings, or changed since; the message says what to run again.

    Jupyter shows the sentence alone, as of `Missing`.
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def require(condition: bool, message: str) -> None:
    """Raise a SettingsError with the message unless the condition holds."""
    if not condition:
        raise SettingsError(message)


def nearest(name: str, known) -> str:
    """Return "; did you mean 'seed'?" where a known name is close, else nothing: the end of an error message."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def inside(value, where: str, interval: str) -> None:
    """Refuse a number outside of an interval written as in mathematics: "[1, 63]", "(0, 1)", "[2, inf)"."""
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    allowed = f"{'>=' if interval[0] == '[' else '>'} {low:g}" if high == math.inf else f"in {interval}"
    require(above and below, f"{where} must be {allowed}, got {value}")


class Section:
    """A part of the settings that refuses what cannot be used.

    What a key may hold stands beside its type: `Annotated[int, "[1, 63]"]` an interval, `Annotated[str, ("easy",
    "hard")]` the words known, `Annotated[tuple[float, ...], "(0, 1)"]` a grid that rises within an interval.
    """

    def __post_init__(self):
        where = "" if type(self).__name__ == "Settings" else f"{type(self).__name__.lower()}."
        for key, hint in typing.get_type_hints(type(self), include_extras=True).items():
            for allowed in getattr(hint, "__metadata__", ()):
                check = {str: one_of, int: inside, float: inside}.get(hint.__origin__, grid)
                check(getattr(self, key), f"{where}{key}", allowed)


def one_of(value: str, where: str, known) -> None:
    """Refuse a text that is not among those known; name these, and the nearest of them."""
    names = [repr(name) for name in known]
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    require(value in known, f"{where} must be {listed}, got {value!r}{nearest(value, known)}")


def grid(values, where: str, interval: str) -> None:
    """Refuse an empty, unsorted or repeating grid, and one with a value outside of the interval."""
    require(bool(values), f"{where} must hold a value at least, got an empty list")
    for value in values:
        inside(value, f"each of {where}", interval)
    require(
        all(a < b for a, b in itertools.pairwise(values)),
        f"{where} must rise from value to value, got {list(values)}",
    )


def require_columns(frame, *columns: str) -> None:
    """Refuse a frame that lacks a column.

    Raises
    ------
    ValueError : names what is missing and what there is.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise ValueError(f"the frame lacks the columns {', '.join(missing)}; it has {there}")
