import csv
import importlib.util

import pytest

from strokelib.own import checks
from strokelib.run.runtime import ROOT


@pytest.fixture
def own_seen(monkeypatch):
    """Import the tool, with its folder on the path for this test alone."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("own_seen", ROOT / "tools" / "own_seen.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def test_the_table_has_the_range_and_the_quantiles_over_scans(own_seen, tmp_path):
    rows = [{("median of CBF", "mL/100 g/min"): float(value), ("slice count", ""): 2.0} for value in range(21)]
    table = own_seen.summarize(rows, "test scans")
    assert table[0] == ("median of CBF", "mL/100 g/min", 21, "0", "1", "10", "19", "20", "test scans")
    own_seen.write(table, tmp_path / "seen.csv")
    with open(tmp_path / "seen.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == checks.COLUMNS and read[1]["quantity"] == "slice count" and read[1]["most"] == "2"


def test_scans_are_measured_one_by_one(own_seen, monkeypatch):
    monkeypatch.setattr(own_seen.cases, "find_cases", lambda root, split, source: [f"{split} {n}" for n in (1, 2)])
    monkeypatch.setattr(own_seen.cases, "load_case", lambda file: f"case of {file}")
    monkeypatch.setattr(own_seen.preprocess, "preprocess_case", lambda case, kind: (case, kind))
    monkeypatch.setattr(own_seen.checks, "measure", lambda case, ready: {"case": case, "kind": ready[1]})
    rows = own_seen.measure("somewhere", "synthetic", "affine")
    assert rows == [{"case": f"case of TRAINING {n}", "kind": "affine"} for n in (1, 2)]


def test_ranges_of_patients_do_not_replace_the_table_that_ships(own_seen, monkeypatch):
    before = checks.TABLE.read_bytes()
    for words, said in (("isles2018 .", "own_seen.csv would show patients"), ("study nowhere", "nowhere")):
        monkeypatch.setattr("sys.argv", ["own_seen.py", *words.split()])
        with pytest.raises(SystemExit, match=said):
            own_seen.main()
    assert checks.TABLE.read_bytes() == before


def test_the_kept_table_is_of_as_many_scans_as_the_networks_saw():
    with open(checks.TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["source"] for row in rows}) == 1 and {row["scans"] for row in rows} == {"94"}
    for row in rows:
        values = [float(row[name]) for name in ("least", "p5", "median", "p95", "most")]
        assert values == sorted(values), row["quantity"]


@pytest.mark.parametrize("name", ["least", "most"])
def test_numbers_are_kept_with_four_digits(name):
    with open(checks.TABLE, newline="") as file:
        assert all(len(row[name].replace("-", "").replace(".", "").lstrip("0")) <= 4 for row in csv.DictReader(file))
