"""TOML read into frozen dataclasses, which say what each key must be."""

import dataclasses
import math
import tomllib
import types
import typing
from pathlib import Path

from strokelib.run.checks import SettingsError, nearest


def read(path: Path) -> dict:
    """Read a TOML file.

    Raises
    ------
    SettingsError : it is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the decoding, of TOML, of brackets in thousands
        raise SettingsError(f"not a TOML file: {error}") from None


def build(kind, table, where: str = ""):
    """Turn a TOML table into a dataclass, refusing unknown, missing and mistyped keys by name.

    Parameters
    ----------
    kind : a dataclass, its fields typed as bool, int, float, str, tuples of one of these, or other dataclasses
    table : dict of `read`
    where : str, the section that the table stands in, for messages

    Raises
    ------
    SettingsError : a key or a value that does not fit, by name.
    """
    if not isinstance(table, dict):
        raise SettingsError(f"{where} must be a table, got {table!r}")
    hints = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in hints:
            raise SettingsError(f"unknown key {prefix}{key}{nearest(key, hints)}")
    values = {}
    for key, hint in hints.items():
        if key not in table:
            raise SettingsError(f"missing key {prefix}{key}")
        values[key] = _convert(hint, table[key], f"{prefix}{key}")
    return kind(**values)


def _convert(hint, value, where: str):
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    if isinstance(hint, types.GenericAlias):  # tuple[item, ...]
        if not isinstance(value, list):
            raise SettingsError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(typing.get_args(hint)[0], v, where) for v in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf  # a float cannot hold every int
    if type(value) is not hint:
        raise SettingsError(f"{where} must be {hint.__name__}, got {value!r}")
    if hint in (int, float) and not abs(value) < 2**63:  # nor NaN
        raise SettingsError(f"{where} must be a finite number below 2^63, got {value}")
    return value
