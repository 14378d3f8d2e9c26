"""Table 1 and the claims made again from the scans that are kept with them, for every run that has these."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import redo

from strokelib.evaluation import stats, summary
from strokelib.postprocess import Pair
from strokelib.run.runtime import ROOT, rng
from strokelib.run.saved import write_table
from strokelib.run.variants import LEAKAGE, VARIANTS

SEED, SCANS = 7, 24
RUNS = sorted(path.parent for path in (ROOT / "figures").glob("*/table1.csv"))
PAIRS = {name: Pair(0.1 * (k + 1), 50 * (k + 1)) for k, name in enumerate(VARIANTS)}


def scores(generator, variants, shift=0.0):
    """Scores of some variants on the same scans, two of each third patient, some without PPV and HD."""
    rows = []
    for k, variant in enumerate(variants):
        for case in range(1, SCANS + 1):
            truth = 20.0 + case
            dsc = float(np.clip(0.4 + 0.05 * k + shift + 0.2 * generator.standard_normal(), 0, 0.95))
            row = {"variant": variant, "case": case, "patient": f"P{case - (case % 3 == 0)}", "fold": case % 4}
            row |= {"dsc": dsc, "ppv": dsc / 2 + 0.3, "sensitivity": dsc / 2 + 0.2}
            row |= {"hd_mm": 90 - 80 * dsc, "hd_voxels": 95 - 80 * dsc + k}
            if case == 5 and k < 2:  # nothing found
                row |= {"dsc": 0.0, "ppv": np.nan, "sensitivity": 0.0, "hd_mm": np.inf, "hd_voxels": np.inf}
            rows.append(row | {"volume_ml": truth * (0.6 + dsc), "truth_volume_ml": truth})
    return pd.DataFrame(rows)


def grid_of(frame, pair_of):
    """A grid whose rows at the chosen pair are the scores, and others at another pair."""
    chosen = frame.assign(threshold=0.0, min_lesion_voxels=0, diagonal_mm=300.0)
    for place, row in frame.iterrows():
        pair = pair_of(row)
        chosen.loc[place, "threshold"], chosen.loc[place, "min_lesion_voxels"] = pair.threshold, pair.min_lesion_voxels
    return chosen


def draw_less(patch):
    """Let bootstraps of made up scores draw less often, which nothing here depends on."""
    for module in (stats, summary):
        patch.setattr(module, "RESAMPLES", 300, raising=False)


@pytest.fixture
def folder(whole, tmp_path, monkeypatch):
    """A copy of the kept run to be spoiled."""
    draw_less(monkeypatch)
    return shutil.copytree(whole, tmp_path / "kept")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A kept run, made of random scores by the functions that notebook 06 calls."""
    home = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        draw_less(patch)
        leave_run(home)
    return home


def leave_run(home):
    """Write the tables of such a run and those behind them."""
    generator = np.random.default_rng(3)
    ours = scores(generator, VARIANTS)
    every = pd.concat([scores(generator, ["conventional"]), ours], ignore_index=True)
    nested = scores(generator, VARIANTS, 0.02)
    inner = {fold: Pair(0.5, 100 + fold) for fold in range(4)}
    choice = [{"variant": name, "choice": "all folds", "fold": None, **vars(pair)} for name, pair in PAIRS.items()]
    choice += [{"variant": name, "choice": "nested", "fold": fold, **vars(pair)}
               for name in VARIANTS for fold, pair in inner.items()]  # fmt: skip
    grids = [grid_of(ours, lambda row: PAIRS[row["variant"]]), grid_of(nested, lambda row: inner[row["fold"]])]
    behind = {"metrics": every, "metrics_nested": nested, "choice": pd.DataFrame(choice), "grid": pd.concat(grids)}
    for name, frame in behind.items():
        write_table(home / "behind" / f"{name}.csv", frame.assign(cohort="made up"))
    numbers = summary.table1(every, {"conventional": None} | PAIRS)
    of_folds = summary.table1(nested, dict.fromkeys(VARIANTS), "this run, nested")
    write_table(home / "table1.csv", summary.beside_paper(numbers, of_folds).assign(cohort="made up"))
    claims = pd.concat(
        stats.claims_table(frame, unit, rng(SEED, "claims", unit)).assign(choice=kind)
        for kind, frame in (("nested", nested), ("all folds", ours))
        for unit in stats.UNITS
    )
    write_table(home / "tests_of_significance.csv", claims.assign(cohort="made up"))


def edit(path, change):
    frame = pd.read_csv(path)
    write_table(path, change(frame))


def redone(folder):
    return redo.redo(redo.frames(folder), SEED)


def test_all_that_is_published_comes_out_again(folder):
    kept = redo.frames(folder)
    assert redo.can_be_redone(kept)
    count, lines = redo.redo(kept, SEED)
    assert lines == []
    table, claims = kept["table1"], kept["tests_of_significance"]
    cells = (table["source"] != "paper").sum() * (table.shape[1] - 1)  # without whose numbers they are
    tests = len(claims) * (claims.shape[1] - 2 - len(redo.KEY))  # nor whose, nor which choice
    assert len(claims) == 2 * 2 * len(stats.CLAIMS)
    assert count == cells + tests + 2 * len(VARIANTS) * SCANS


def test_claims_of_the_first_edition_name_no_choice_and_are_those_of_all_folds(folder):
    def first(claims):
        return claims[claims["choice"] == "all folds"].drop(columns="choice")

    edit(folder / "tests_of_significance.csv", first)
    count, lines = redone(folder)
    assert lines == [] and count > 0
    edit(folder / "tests_of_significance.csv", lambda claims: claims.assign(mean_difference=0.25))
    assert len(redone(folder)[1]) == 2 * len(stats.CLAIMS)


def spoil(path, column, change, row=0):
    def changed(frame):
        values = frame[column].astype(object)
        values[row] = change(values[row])
        return frame.assign(**{column: values})

    edit(path, changed)


def told(folder, *parts):
    """Tell whether one of the lines holds each part."""
    lines = redone(folder)[1]
    return all(any(part in line for line in lines) for part in parts)


def test_numbers_of_table_1_that_do_not_come_out_are_told(folder):
    table = folder / "table1.csv"
    assert pd.read_csv(table)["variant"][:2].tolist() == ["conventional", "baseline"]
    spoil(table, "dsc_mean", lambda value: value + 0.0002)
    spoil(table, "hd_mm_undefined", lambda value: value + 1)
    spoil(table, "r2", lambda value: value - 0.001, 1)
    spoil(table, "variant", lambda value: "unknown", 2)
    assert told(folder, "Table 1, conventional, this run: dsc_mean is 0.", "conventional, this run: hd_mm_undefined is",
                "Table 1, baseline, this run: r2 is", "Table 1, unknown,")  # fmt: skip
    assert len(redone(folder)[1]) == 4


def test_claims_that_do_not_come_out_are_told(folder):
    claims = folder / "tests_of_significance.csv"
    spoil(claims, "p", lambda value: value * 1.05)
    spoil(claims, "mean_difference", lambda value: value + 5e-4)
    spoil(claims, "n", lambda value: value - 1, 1)
    spoil(claims, "low", lambda value: value - 0.1, 2)
    spoil(claims, "verdict", lambda value: f"not {value}", 3)
    spoil(claims, "metric", lambda value: "hd_mm", 4)
    dsc, hd = "claims, nested, by scan: dsc of rt over baseline", "hd_mm of rt_sm_uf over rt_sm"
    assert told(folder, f"{dsc}: p is", f"{dsc}: mean_difference is", "sensitivity of rt over baseline: n is 23",
                "ppv of rt_sm over rt: low is", "sensitivity of rt_sm over rt: verdict is not",
                f"{hd}: the paper makes no such claim")  # fmt: skip
    assert len(redone(folder)[1]) == 6


def test_scores_that_no_chosen_pair_has_are_told(folder):
    rows = pd.read_csv(folder / "behind" / "metrics.csv")["variant"]
    spoil(folder / "behind" / "metrics.csv", "dsc", lambda value: value + 0.1, rows[rows == "rt"].index[0])
    spoil(folder / "behind" / "metrics_nested.csv", "dsc", lambda value: value + 0.1)
    spoil(folder / "behind" / "choice.csv", "threshold", lambda value: 0.95)
    none = "its scores are those of no"
    assert told(folder, f"rt, scan 1: {none} all folds' pair", f"baseline, scan 1: {none} nested pair",
                f"baseline, scan 24: {none} all folds' pair")  # fmt: skip


def test_claims_of_each_training_seed_come_out_of_its_own_scans(folder):
    scans = pd.read_csv(folder / "behind" / "metrics_nested.csv").drop(columns="cohort")
    other = scores(np.random.default_rng(8), VARIANTS, -0.03)
    seeds = {7: scans, 2019: other}
    both = pd.concat(frame.assign(seed=seed) for seed, frame in seeds.items())
    write_table(folder / "behind" / "seeds_metrics.csv", both)
    claims = pd.concat(stats.claims_table(frame, unit, rng(SEED, "claims", unit)).assign(seed=seed)
                       for seed, frame in seeds.items() for unit in stats.UNITS)  # fmt: skip
    before, _ = redone(folder)
    write_table(folder / "seeds_claims.csv", claims.assign(cohort="made up"))
    count, lines = redone(folder)
    assert lines == [] and count - before == len(claims) * (claims.shape[1] - 1 - len(redo.KEY))
    edit(folder / "seeds_claims.csv", lambda table: table.assign(mean_difference=0.25))
    lines = redone(folder)[1]
    assert len(lines) == len(claims)
    assert lines[-1].startswith("claims, seed 2019, by patient: ppv of rt_sm_uf over baseline: mean_difference is 0.25")


def test_a_scan_that_is_gone_is_missed(folder):
    edit(folder / "behind" / "metrics.csv", lambda scans: scans[scans["case"] != 3])
    assert any(": n is 24 and comes out 23" in line for line in redone(folder)[1])


def test_a_row_without_scans_is_told(folder):
    edit(folder / "behind" / "metrics.csv", lambda scans: scans[scans["variant"] != "rt"])
    edit(folder / "tests_of_significance.csv", lambda claims: claims[claims["choice"] == "nested"])
    assert "Table 1, rt, this run: no scans of it are kept" in redone(folder)[1]


def test_a_run_without_its_scans_cannot_be_redone(folder):
    (folder / "behind" / "choice.csv").unlink()
    assert not redo.can_be_redone(redo.frames(folder))


@pytest.mark.parametrize("home", RUNS, ids=lambda path: path.name)
def test_every_run_that_keeps_its_scans_can_be_redone(home):
    kept = redo.frames(home)
    if not (home / "behind").is_dir():
        assert not redo.can_be_redone(kept), "of the first edition"
        return
    assert redo.can_be_redone(kept) and "tests_of_significance" in kept
    seed = json.loads((home / "run.json").read_text())["manifest"]["seed"]
    count, lines = redo.redo(kept, seed)
    assert lines == [] and count > 500
    check_folds(kept)
    assert sum(path.stat().st_size for path in (home / "behind").iterdir()) <= 4_000_000


def check_folds(kept):
    """Folds, histories and machines of a kept run are whole and fit its scans."""
    predicted, networks, histories = (kept[f"behind/{name}"] for name in ("predictions", "networks", "histories"))
    assert not predicted[predicted["variant"] != "rt_sm_by_slice"].duplicated(["variant", "case"]).any()
    own = predicted[~predicted["variant"].isin(LEAKAGE)]  # whose folds are others, to measure what they leak
    assert (own.groupby("patient")["fold"].nunique() == 1).all(), "a patient is in two folds"
    scans = kept["behind/metrics"]
    both = scans.merge(predicted, on=["variant", "case"], suffixes=("", "_there"))
    assert len(both) == scans["variant"].isin(predicted["variant"]).sum() > 0
    assert (both["fold"] == both["fold_there"]).all()
    assert np.allclose(both["truth_volume_ml"], both["truth_volume_ml_there"], rtol=1e-5)
    of_fold = networks.set_index(["variant", "fold"])
    assert of_fold.index.is_unique and {*of_fold.index} == {*zip(predicted["variant"], predicted["fold"], strict=True)}
    assert of_fold[["processor", "vector_instructions", "cores"]].notna().all(axis=None)
    assert {*zip(histories["variant"], histories["fold"], strict=True)} <= {*of_fold.index}
