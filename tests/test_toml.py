import math
from dataclasses import dataclass

import pytest

from strokelib.run import toml
from strokelib.run.checks import SettingsError


@dataclass(frozen=True)
class Inner:
    rate: float
    sides: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    on: bool


GOOD = {"name": "a", "inner": {"rate": 1, "sides": [16, 32]}, "on": True}


def test_a_table_becomes_a_dataclass_of_its_types():
    found = toml.build(Outer, GOOD)
    assert found == Outer("a", Inner(1.0, (16, 32)), True)
    assert type(found.inner.rate) is float and type(found.inner.sides) is tuple


@pytest.mark.parametrize(("change", "said"), [
    ({"nam": "b"}, "unknown key nam; did you mean 'name'"),
    ({"inner": 3}, "inner must be a table, got 3"),
    ({"inner": {"rate": 1.0}}, r"missing key inner\.sides"),
    ({"inner": {"rate": 1.0, "sides": 16}}, r"inner\.sides must be a list, got 16"),
    ({"inner": {"rate": 1.0, "sides": [1.5]}}, r"inner\.sides must be int, got 1\.5"),
    ({"inner": {"rate": math.nan, "sides": []}}, r"inner\.rate must be a finite number"),
    ({"on": 1}, "on must be bool, got 1"),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_its_section(change, said):
    with pytest.raises(SettingsError, match=said):
        toml.build(Outer, GOOD | change)


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "good.toml").write_text("seed = 1\n[data]\nfolder = 'x'\n")
    assert toml.read(tmp_path / "good.toml") == {"seed": 1, "data": {"folder": "x"}}
    (tmp_path / "bad.toml").write_text("seed = \n")
    with pytest.raises(SettingsError, match="not a TOML file"):
        toml.read(tmp_path / "bad.toml")
