"""The rehearsal of a day on a GPU: the same code on tiny numbers, on the CPU, as if on a bare machine."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

TINY = "tests/tiny.toml"
FURTHER = ("12_rt_apart", "21_cohorts", "24_beyond")
# What a bare machine lacks; notebooks are then run cell by cell.
BARE = """
import importlib.util, sys
found = importlib.util.find_spec
bare = {"papermill", "IPython"}
importlib.util.find_spec = lambda name: None if name in bare - sys.modules.keys() else found(name)
sys.path.insert(0, "tools")
import gpu_day
sys.exit(gpu_day.main())
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu_day")


def call(results, *words, settings=TINY):
    """Call the tool as on a bare machine, with results of its own; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    told = subprocess.run(
        [sys.executable, "-c", BARE, *words, "--settings", str(settings), "--out", str(results / "out")],
        cwd=ROOT,
        env=kept | {"OMP_NUM_THREADS": "1", "STROKELIB_RESULTS": str(results), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=2400,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_every_measurement_is_made_and_every_bound_held(results):
    portable = results / "tiny_portable.toml"  # as the demo is, which `check` trains a fold of
    text = (ROOT / TINY).read_text()
    assert "portable = false" in text
    portable.write_text(text.replace("portable = false", "portable = true"))
    call(results, "check", "speed", "dsc", "plan", "--tiny", "--device", "cpu", settings=portable)
    check, speed, dsc, plan = (
        pd.read_csv(results / "out" / f"{part}.csv") for part in ("check", "speed", "dsc", "plan")
    )
    assert check.passed.all() and (check.found <= check.bound).all()
    for words in ("gradient of one step", "loss of one step", "beside others", "DSC of a fold of the demo"):
        assert check.check.str.contains(words).any()
    assert (speed.patches_per_s > 0).all() and set(speed.folds) == {1, 2}
    assert set(dsc.precision) == {"float32", "tf32"} and dsc.dsc.between(0, 1).all()
    assert plan.measured.str.contains("minutes of Table 1 at 20 epochs").sum() == 1 and (plan.value > 0).all()
    assert {"torch", "numpy", "triton"} <= set(json.loads((results / "out" / "facts.json").read_text())["versions"])


def test_a_study_in_pieces_ends_as_one_and_is_packed_and_put_back(results):
    own = results / "tiny.toml"  # with scans of its own, which another machine lacks
    own.write_text((ROOT / TINY).read_text().replace('"data/synthetic/tiny"', f'"{results / "scans"}"'))
    settings = load_settings(own)
    first = call(results, "phantom", "--device", "cpu", "--seconds", "0", settings=own)
    assert "not finished" in first and not list(results.glob("tiny/*/fold*/predictions.csv"))
    assert "finished" in call(results, "phantom", "--device", "cpu", settings=own)
    made = pd.read_csv(results / "tiny" / "figures" / "table1.csv")
    assert len(list(results.glob("tiny/*/fold*/predictions.csv"))) >= 4 * settings.folds.count and len(made) > 4
    trained = {path: path.stat().st_mtime_ns for path in results.glob("tiny/rt*/fold*/network.safetensors")}
    # One needs the other monitor, one other cohorts; the rows of one take maps of the series, and networks of others.
    more = call(results, "chapters", "--only", *FURTHER, "--device", "cpu", settings=own)
    assert "finished" in more
    for table in ("rt_apart", "cohorts", "raw_series", "beyond"):
        assert len(pd.read_csv(results / "tiny" / "figures" / f"{table}.csv")) > 0, table
    assert {path: path.stat().st_mtime_ns for path in trained} == trained, "what the study trained is trained once"
    choice, cohort = results / "tiny" / "choice.csv", results / "tiny" / "cohort.csv"
    contents, began = choice.read_bytes(), cohort.stat().st_mtime_ns
    choice.write_bytes(b"half a fi")
    # What is damaged is made again, and nothing else.
    again = call(results, "phantom", "pack", "--device", "cpu", settings=own)
    assert choice.read_bytes() == contents and cohort.stat().st_mtime_ns == began
    parts = sorted((results / "out").glob("tiny_*.tar"))
    assert parts and all(part.stat().st_size < 16 * 2**20 for part in parts) and f"{parts[0].name} " in again
    network = results / "tiny" / "rt_sm" / "fold0" / "network.safetensors"
    contents = network.read_bytes()
    (results / "tiny").rename(results / "before")
    shutil.rmtree(results / "scans")
    call(results, "unpack", "--device", "cpu", settings=own)
    assert network.read_bytes() == contents and (results / "tiny" / "figures" / "table1.csv").is_file()
    assert len(list(results.glob("before/*/fold*/*.dice.safetensors"))) > 0
    assert not list(results.glob("tiny/*/fold*/*.dice.safetensors"))
    table = (results / "tiny" / "figures" / "table1.csv").read_bytes()
    on = call(results, "phantom", "--device", "cpu", settings=own)  # scans and maps are made again, networks are not
    assert "finished" in on and network.read_bytes() == contents
    assert (results / "tiny" / "figures" / "table1.csv").read_bytes() == table
