"""Notebooks that no run makes unless asked to, on a tiny cohort, in a copy of this folder after one whole run."""

import csv
import re
import shutil

import pandas as pd
import pytest
from project import TINY, call
from tiny_run import finished_copy

from strokelib.run.variants import ASKED


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy after one whole run, with what that printed."""
    return finished_copy(tmp_path_factory)


def test_the_sensitivity_is_made_when_asked_for(finished):
    project, _ = finished
    told = call(project, "tools/run.py", TINY, "sensitivity")
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert "One thing changed, synthetic cohort (results/tiny/figures/sensitivity.csv)" in told.stdout
    with open(project / "results/tiny/figures/sensitivity.csv", newline="") as file:
        rows = {row["change"]: row for row in csv.DictReader(file)}
    assert {name: row["reference"] for name, row in rows.items()} == {"patch_32": "rt_sm_at_2", "rate_40": "rt_sm_uf"}
    assert not (project / "results/tiny/patch_32/fold1").exists(), "one fold was asked for"
    assert not (project / "results/tiny/rate_40/fold0/network.safetensors").exists(), "it uses those of rt_sm"
    for name in ("sensitivity", "prediction", "patch_side", "stopping"):
        assert (project / f"results/tiny/figures/{name}.png").stat().st_size > 0
    assert "nothing to do" in call(project, "tools/run.py", TINY).stdout


def test_what_trains_further_networks_is_made_when_asked_for(finished):
    project, _ = finished
    results = project / "results/tiny"
    for target, name, table in (
        ("seeds", "Differences averaged over training seeds", "seeds_averaged"),
        ("rt_apart", "RT taken apart", "rt_apart"),
        ("leakage", "What folds leak", "leakage"),
        ("imbalance", "Answers to imbalance", "imbalance"),
        ("remarks", "The paper's remarks", "remarks"),
        ("cohorts", "Other cohorts", "cohorts"),
        ("raw_series", "What the raw series adds", "raw_series_steps"),
        ("symmetry", "Symmetry: dose and response", "symmetry"),
        ("beyond", "Beyond the paper", "beyond"),
        ("learning_curve", "Learning curve", "learning_curve"),
        ("chain", "The chain of rows", "chain_steps"),
        ("finalists", "The challenge's other finalists, in our reading", "finalists_tests"),
    ):
        told = call(project, "tools/run.py", TINY, target)
        assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
        assert f"{name}, synthetic cohort (results/tiny/figures/{table}.csv)" in told.stdout
        assert len(pd.read_csv(results / f"figures/{table}.csv")) > 0
    assert (results / "rt_sm_uf_seed7/fold1/predictions.csv").exists() and (results / "rt_cascade/fold0").exists()
    assert not (results / "rt_cascade/fold1").exists(), "RT is taken apart in one fold"
    assert not (results / "rt_at_2_by_dice/fold0/network.safetensors").exists(), "it uses what was kept of rt"
    assert (results / "rt_sm_by_slice/fold1/network.safetensors").exists(), "folds that leak are trained in full"
    assert not (results / "loss_focal/fold1").exists(), "losses are compared in one fold"
    assert not (results / "dropout_everywhere/fold0/network.safetensors").exists(), "it uses those of rt_sm"
    assert (results / "fitted/fold0/network.safetensors").exists() and not (results / "fitted/fold1").exists()
    assert not (results / "flips_twice/fold0/network.safetensors").exists(), "it uses those of flips"
    assert not (results / "scan_statistics/fold0/network.safetensors").exists(), "it uses those of rt_sm"
    worlds = {path.parent.name for path in results.glob("worlds/*/scores.csv")}
    assert worlds == {"cohort_2101", "cohort_2102", "symmetry_0.00", "symmetry_0.50", "affine", "confirming"}
    trained = {path.relative_to(results).parts[1:3] for path in results.glob("worlds/*/*/fold0/network.safetensors")}
    full = ("cohort_2101", "cohort_2102", "symmetry_0.50")
    both = {(name, f"{row}_seed2018") for name in full for row in ("rt", "rt_sm")}
    own = {("confirming", f"{row}_seed2018") for row in ("rt_sm", "beyond")}  # rt_sm_uf uses those of rt_sm
    assert trained == both | own | {("affine", "rt_sm_seed2018")}, "what has no mirror images needs no registration"
    assert "nothing to do" in call(project, "tools/run.py", TINY).stdout


def test_every_notebook_runs_with_its_defaults_from_its_own_folder(finished):
    """As a reader runs them in JupyterLab; here "demo" is made to mean the tiny cohort.

    Of those that are made when asked for one stands for all: they have no default but the settings, and ran above.
    """
    project, _ = finished
    shutil.copy(project / TINY, project / "configs/demo.toml")
    shutil.copytree(project / "results" / "tiny", project / "results" / "demo", dirs_exist_ok=True)
    asked = {f"{name}.ipynb" for name in ASKED} - {"23_raw_series.ipynb"}
    paths = [path for path in sorted((project / "notebooks").glob("*.ipynb")) if path.name not in asked]
    assert {path.name for path in paths} >= {"05_crossvalidation.ipynb", "20_another_cohort.ipynb"}
    told = call(project, "-m", "pytest", "-q", "--nbval-lax", "-p", "no:xdist", *paths)
    assert told.returncode == 0, told.stdout[-3000:]
    assert re.search(r"\d+ passed", told.stdout)
