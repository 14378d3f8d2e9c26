"""What of a run is published, and what is kept behind its tables."""

import dataclasses
import io
import json
import re

import keep
import numpy as np
import pandas as pd
import pytest

from strokelib.run import runtime, stages
from strokelib.run.digest import digest
from strokelib.run.saved import write_table
from strokelib.run.settings import load_settings

GRID = pd.DataFrame(
    [
        ("rt", case, case % 2, threshold, size, 0.1 * case + threshold, np.inf if case == 3 else 10.0 * case, 100.0)
        for case in (1, 2, 3)
        for threshold in (0.1, 0.2)
        for size in (10, 50)
    ],
    columns=["variant", "case", "fold", "threshold", "min_lesion_voxels", "dsc", "hd_mm", "diagonal_mm"],
)
CHOICE = pd.DataFrame({"variant": "rt", "fold": [None, 0, 1], "threshold": [0.1, 0.2, 0.1], "min_lesion_voxels": 50})


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings named study whose results and kept figures lie in a folder of the test."""
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "results"))
    (tmp_path / "configs").mkdir()
    source = (keep.ROOT / "configs" / "study.toml").read_text()
    (tmp_path / "configs" / "study.toml").write_text(source)
    return load_settings("study")


def book(path, seconds):
    noted = {"start_time": "2026-01-01T10:00:00+00:00", "end_time": "2026-01-01T11:00:00+00:00", "duration": seconds}
    metadata = {"kernelspec": {}, "language_info": {}, "papermill": noted}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metadata": metadata, "cells": []}))


def fold_of(settings, variant, fold, cases, history=True):
    """Leave what notebook 05 leaves, as far as it is kept."""
    home = settings.results / variant / f"fold{fold}"
    book(home / "05_crossvalidation.ipynb", 90)
    made = {"settings": {"data": {"source": "synthetic"}}, "processor": "P", "vector_instructions": "AVX2", "cores": 2}
    (home / "05_crossvalidation.manifest.json").write_text(json.dumps(made))
    rows = pd.DataFrame({"case": cases, "patient": "A", "fold": fold, "variant": variant, "network": "code:1"})
    write_table(home / "predictions.csv", rows)
    if history:
        write_table(home / "history.csv", pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25], "network": "network"}))


@pytest.fixture
def finished(settings):
    """A finished run of two folds of two rows, the second of which predicts with the networks of the first."""
    for fold, cases in enumerate(([1, 2], [3])):
        fold_of(settings, "rt_sm", fold, cases)
        fold_of(settings, "rt_sm_uf", fold, cases, history=False)
    write_table(settings.results / "grid.csv", GRID)
    write_table(settings.results / "choice.csv", CHOICE)
    for name in (*keep.KEPT, "09_sensitivity", "10_trust", "05_other"):
        book(settings.results / f"{name}.ipynb", 60)
    (settings.results / "figures").mkdir()
    (settings.results / "figures" / "table1.csv").write_text("variant\n")
    (settings.results / "manifest.json").write_text(json.dumps({"digest": digest(settings)}))
    return settings


def test_the_grid_is_kept_at_the_chosen_pairs_alone():
    kept = keep.grid_at(GRID, CHOICE)
    assert sorted({*zip(kept["threshold"], kept["min_lesion_voxels"], strict=True)}) == [(0.1, 50), (0.2, 50)]
    assert len(kept) == 2 * 3 and list(kept.columns) == list(GRID.columns)


def test_means_of_the_grid_give_those_of_all_scans_back():
    means = keep.grid_means(GRID)
    assert len(means) == 2 * 4 and means.groupby("fold")["scans"].first().tolist() == [1, 2]
    odd = means[(means["fold"] == 1) & (means["threshold"] == 0.1) & (means["min_lesion_voxels"] == 10)].iloc[0]
    assert odd["dsc"] == pytest.approx(0.3) and odd["hd_mm"] == 55, "scans 1 and 3, of which the second has no distance"
    weighted = means.assign(dsc=means["dsc"] * means["scans"]).groupby(keep.PAIR)[["dsc", "scans"]].sum()
    whole = GRID.groupby(keep.PAIR)["dsc"].mean()
    assert np.allclose(weighted["dsc"] / weighted["scans"], whole)


def test_what_folds_left_is_gathered_with_their_names(finished):
    fold_of(finished, "rt_sm", 9, [1])  # of settings with more folds
    fold_of(finished, "somebody's", 0, [1])
    found = keep.of_folds(finished)
    assert found["predictions"][["variant", "fold", "case"]].to_numpy().tolist() == [
        ["rt_sm", 0, 1], ["rt_sm", 0, 2], ["rt_sm", 1, 3],
        ["rt_sm_uf", 0, 1], ["rt_sm_uf", 0, 2], ["rt_sm_uf", 1, 3],
    ]  # fmt: skip
    assert found["histories"].groupby(["variant", "fold"]).size().to_dict() == {("rt_sm", 0): 2, ("rt_sm", 1): 2}
    networks = found["networks"]
    assert len(networks) == 4 and networks["minutes"].tolist() == [1.5] * 4
    assert {*networks["processor"]} == {"P"} and {*networks["cores"]} == {2} and {*networks["network"]} == {"code:1"}


def test_a_table_that_is_too_large_is_left_out(finished, monkeypatch):
    write_table(finished.results / "large.csv", pd.DataFrame({"a": range(1000)}))
    assert "large.csv" in keep.behind(finished)
    monkeypatch.setattr(keep, "MOST_BYTES", 2000)
    assert "large.csv" not in keep.behind(finished) and "grid_means.csv" in keep.behind(finished)


def test_what_is_kept_is_whole_and_replaces_what_was(finished):
    old = [finished.kept / name for name in ("old.png", "behind/old.csv")]
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of a run before")
    paths = keep.keep(finished)
    assert {path.relative_to(finished.kept).as_posix() for path in paths} == {
        "table1.csv", "run.json", *(f"{name}.ipynb" for name in (*keep.KEPT, "09_sensitivity", "10_trust")),
        *(f"behind/{n}.csv" for n in ("grid", "choice", "grid_means", "histories", "predictions", "networks")),
    }  # fmt: skip
    assert not any(path.exists() for path in old)
    assert {path for path in finished.kept.rglob("*") if path.is_file()} == {*paths}
    facts = json.loads((finished.kept / "run.json").read_text())
    assert facts["notebooks"] == len(keep.KEPT) + 3 + 4 and facts["hours_from_first_to_last"] == 1
    grid = pd.read_csv(io.BytesIO((finished.kept / "behind" / "grid.csv").read_bytes()))
    assert len(grid) == 6


def test_no_folder_of_a_machine_is_kept_in_a_notebook(finished):
    """The results of a run may lie elsewhere, as STROKELIB_RESULTS says."""
    path = finished.results / "06_ablations.ipynb"
    book = json.loads(path.read_text())
    table, own = finished.results / "figures" / "table1.csv", f"{keep.ROOT}/configs/study.toml"
    picture = {"data": {"image/png": f"iVBORw0KGgo{finished.results}/AAAA"}}  # by chance, where the folder is short
    outputs = [{"text": [f"wrote {table}"]}, picture]
    book["cells"] = [{"cell_type": "code", "metadata": {}, "source": [own], "outputs": outputs}]
    path.write_text(json.dumps(book))
    keep.keep(finished)
    (cell,) = json.loads((finished.kept / "06_ablations.ipynb").read_text())["cells"]
    assert cell["outputs"][0]["text"] == ["wrote results/study/figures/table1.csv"]
    assert cell["source"] == ["configs/study.toml"] and cell["outputs"][1] == picture


def test_links_of_a_kept_notebook_lead_somewhere():
    text = "see [06](06_ablations.ipynb), [11](11_seeds.ipynb#one) and [out](https://example.org/11_seeds.ipynb)"
    assert keep.linked(text, {"06_ablations.ipynb"}) == (
        "see [06](06_ablations.ipynb), [11](../../notebooks/11_seeds.ipynb#one) and "
        "[out](https://example.org/11_seeds.ipynb)")
    for path in sorted((keep.ROOT / "figures").glob("*/[0-9][0-9]_*.ipynb")):
        for target in re.findall(r"\]\(([\w./]+\.ipynb)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file(), f"{path.name} leads to {target}"


def test_a_notebook_that_was_cut_off_has_no_hours(finished):
    path = finished.results / "rt_sm" / "fold0" / "05_crossvalidation.ipynb"
    noted = {"start_time": "2026-01-01T10:00:00+00:00", "end_time": None, "duration": None}
    path.write_text(json.dumps({"metadata": {"papermill": noted}, "cells": []}))
    assert keep.hours(finished)["notebooks"] == len(keep.KEPT) + 3 + 3 and keep.minutes(path) is None


def test_the_hours_reckoned_before_a_run_stand_beside(finished, monkeypatch):
    assert "hours_reckoned" not in keep.hours(finished)
    monkeypatch.setattr(keep.estimate.os, "cpu_count", lambda: 2 * finished.threads)
    found = {"device": "cpu", "seconds": {"train": 3600, "cohort": 1800}, "jobs": {"train": 4, "cohort": 1}}
    (finished.results / "estimate.json").write_text(json.dumps(found))
    assert keep.hours(finished)["hours_reckoned"] == 2.5
    (finished.results / "estimate.json").write_text("{half")
    assert "hours_reckoned" not in keep.hours(finished)


def test_a_run_without_an_end_or_a_notebook_is_not_kept(finished):
    (finished.results / "08_errors_and_uncertainty.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match="08_errors_and_uncertainty"):
        keep.keep(finished)
    (finished.results / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing; run tools/run\.py study to its end first"):
        keep.keep(finished)
    assert not finished.kept.exists()


def ran_alone(settings):
    """Leave what notebook 18, made when asked for, leaves."""
    book(settings.results / "18_imbalance.ipynb", 60)
    depends = stages.depends("18_imbalance", settings)
    made = {"settings": {"data": {"source": "synthetic"}}, "depends": depends}
    (settings.results / "figures" / "18_imbalance.manifest.json").write_text(json.dumps(made))
    write_table(settings.results / "imbalance_metrics.csv", pd.DataFrame({"case": [1], "dsc": [0.5]}))
    write_table(settings.results / "figures" / "imbalance.csv", pd.DataFrame({"dsc": [0.5]}))


def test_a_notebook_made_when_asked_for_is_kept_alone_and_stays_when_the_run_is_kept_again(finished):
    keep.keep(finished)
    before = {path: path.read_bytes() for path in finished.kept.rglob("*") if path.is_file()}
    ran_alone(finished)
    added = keep.keep_one(finished, "18_imbalance")
    names = {path.relative_to(finished.kept).as_posix() for path in added}
    assert names == {
        *("18_imbalance.ipynb", "18_imbalance.manifest.json", "imbalance.csv", "behind/imbalance_metrics.csv")
    }
    assert {path: path.read_bytes() for path in before} == before, "nothing else has changed"
    for path in finished.results.rglob("*imbalance*"):  # as on another machine
        path.unlink()
    (finished.kept / "behind" / "old.csv").write_text("of a run before")
    keep.keep(finished)
    there = {path.relative_to(finished.kept).as_posix() for path in finished.kept.rglob("*") if path.is_file()}
    assert names <= there and "behind/old.csv" not in there


def test_what_was_made_with_other_settings_is_not_kept(finished):
    ran_alone(finished)
    keep.keep(finished)
    before = {path: path.read_bytes() for path in finished.kept.rglob("*") if path.is_file()}
    now = dataclasses.replace(finished, seed=7)
    with pytest.raises(ValueError, match=r"manifest\.json is of other settings than study has now; run tools/run\.py"):
        keep.keep(now)
    with pytest.raises(ValueError, match=r"18_imbalance\.manifest\.json is of other settings .*run 18_imbalance"):
        keep.keep_one(now, "18_imbalance")
    assert {path: path.read_bytes() for path in finished.kept.rglob("*") if path.is_file()} == before


def test_what_every_run_makes_or_nobody_made_is_not_kept_alone(finished):
    with pytest.raises(ValueError, match=r"06_ablations is none of 09_sensitivity, .*13_ladder, .*kept with their run"):
        keep.keep_one(finished, "06_ablations")
    with pytest.raises(FileNotFoundError, match=r"18_imbalance\.ipynb is missing; run 18_imbalance to its end first"):
        keep.keep_one(finished, "18_imbalance")
