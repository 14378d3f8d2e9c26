import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.weightstats import DescrStatsW
from test_stats import scores

from strokelib.evaluation import summary
from strokelib.postprocess import Pair
from strokelib.run.runtime import rng
from strokelib.run.variants import VARIANTS
from strokelib.vocabulary import METRICS, Metric


def test_r_squared():
    generator = np.random.default_rng(1)
    true = generator.random(30)
    predicted = 2 * true + 1 + generator.normal(0, 0.2, 30)
    assert summary.r_squared(predicted, true) == pytest.approx(scipy.stats.pearsonr(predicted, true).statistic ** 2)
    assert summary.r_squared(2 * true + 1, true) == pytest.approx(1) == summary.r_squared(-true, true)
    assert summary.identity_r_squared(true, true) == 1
    assert summary.identity_r_squared(np.full(30, true.mean()), true) == pytest.approx(0)
    assert summary.identity_r_squared(2 * true + 1, true) < 0
    assert summary.identity_r_squared([1, 2, 4], [1, 2, 3]) == pytest.approx(1 - 1 / 2)


@pytest.mark.parametrize("volumes", [([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 2.0]), ([np.nan, 1], [2, 3])])
def test_r_squared_undefined(volumes):
    assert np.isnan(summary.r_squared(*volumes)) and np.isnan(summary.identity_r_squared(*volumes))


def test_summary_is_over_finite_values_with_population_sd():
    mean, sd, undefined = summary.summarize([1.0, 3.0, np.nan, np.inf])
    assert (mean, sd, undefined) == (2.0, 1.0, 2)
    mean, sd, undefined = summary.summarize([np.nan, np.inf])
    assert np.isnan(mean) and np.isnan(sd) and undefined == 2


def test_paper_table1_as_printed():
    paper = summary.paper_table("table1")
    assert paper["variant"].tolist() == list(VARIANTS)
    assert paper["threshold"].tolist() == [0.4, 0.1, 0.2, 0.2]
    assert paper["min_lesion_voxels"].tolist() == [200, 300, 200, 200]
    assert paper["dsc_percent_mean"].tolist() == [49.0, 53.5, 54.8, 54.7]
    assert paper["r2"].tolist() == [0.67, 0.74, 0.78, 0.82]
    with pytest.raises(FileNotFoundError, match="table3"):
        summary.paper_table("table3")


def test_table1_rows():
    frame = scores()
    frame.loc[frame["variant"].eq("rt") & frame["case"].eq(4), ["ppv", "hd_mm", "hd_voxels"]] = [np.nan, np.inf, np.inf]
    choices = {v: Pair(0.3, 100) for v in VARIANTS}
    table = summary.table1(frame, choices).set_index("variant")
    rt = frame[frame["variant"] == "rt"]
    assert table.index.tolist() == list(VARIANTS)
    assert table.loc["rt", "ppv_mean"] == pytest.approx(np.nanmean(rt["ppv"]))
    assert table.loc["rt", "ppv_sd"] == pytest.approx(np.nanstd(rt["ppv"]))
    assert table.loc["rt", ["ppv_undefined", "hd_mm_undefined", "dsc_undefined", "n"]].tolist() == [1, 1, 0, 20]
    error = np.abs(rt["volume_ml"] - rt["truth_volume_ml"])
    assert table.loc["rt", "volume_error_ml_mean"] == pytest.approx(error.mean()) and error.mean() > 0
    assert table.loc["rt", "volume_error_ml_sd"] == pytest.approx(np.std(error))
    assert table.loc["rt", "r2"] == summary.r_squared(rt["volume_ml"], rt["truth_volume_ml"])
    assert (table["source"] == "this run").all()
    with pytest.raises(ValueError, match="'final' is not in the frame"):
        summary.table1(frame, {"final": Pair(0.2, 200)})


def test_the_papers_rows_are_in_our_units():
    rt = summary.paper_table1().set_index("variant").loc["rt"]
    assert rt["dsc_mean"] == pytest.approx(0.535) and rt["ppv_sd"] == pytest.approx(0.289)
    assert rt["hd_voxels_sd"] == 23.9 and rt["threshold"] == 0.1 and rt["source"] == "paper"
    assert set(summary.paper_table1().columns) < set(summary.table1(scores(), {"rt": None}).columns)


def test_rows_stand_beside_the_papers_variant_by_variant():
    frame = scores(variants=("conventional_tuned", *VARIANTS, "conventional"))
    own = summary.table1(frame, {"conventional": None} | dict.fromkeys(VARIANTS, Pair(0.3, 100)))
    nested = summary.table1(frame, dict.fromkeys((*VARIANTS, "conventional_tuned")), "this run, nested")
    table = summary.beside_paper(own, nested)
    assert table["variant"].tolist() == ["conventional", "conventional_tuned", *(v for v in VARIANTS for _ in range(3))]
    sources = ["this run", "this run, nested", *["this run", "this run, nested", "paper"] * 4]
    assert table["source"].tolist() == sources
    both = table[table["source"] == "this run"].set_index("variant")["dsc_mean"]
    assert both.tolist() == own["dsc_mean"].tolist()


def test_the_interval_of_a_mean_agrees_with_statsmodels():
    values = np.random.default_rng(0).normal(0.5, 0.3, 62)
    assert summary.mean_interval(values.mean(), values.std(), 62) == pytest.approx(DescrStatsW(values).tconfint_mean())
    assert np.isnan(summary.mean_interval(0.5, 0.0, 1)).all()


def test_the_interval_of_a_mean_by_patient_by_hand():
    """Two patients, one of two scans: half of the draws take both, a quarter each of them twice."""
    low, high = summary.patient_interval([0.0, 0.4, 1.0, np.nan, np.inf], ["a", "a", "b", "b", "c"])
    assert (low, high) == pytest.approx((0.2, 1.0)), "means of a drawn twice and of b drawn twice"
    assert np.isnan(summary.patient_interval([0.3, 0.4], ["a", "a"])).all(), "one patient says nothing of others"
    assert np.isnan(summary.patient_interval([np.nan, 0.4], ["a", "b"])).all()


def test_the_interval_by_patient_is_about_the_mean_over_scans_and_near_that_of_t():
    values = np.random.default_rng(3).normal(0.5, 0.3, 80)
    low, high = summary.patient_interval(values, range(80))
    peer = DescrStatsW(values).tconfint_mean()
    assert (low, high) == pytest.approx(peer, abs=0.006)
    assert (low, high) == summary.patient_interval(values, range(80)), "one seed"
    assert (low, high) != summary.patient_interval(values, range(80), rng(1, "patients"))


def test_twin_scans_are_no_further_evidence():
    """A patient whose scan is there twice counts once: the interval stays; by scan it would shrink by the root of 2."""
    values = np.random.default_rng(3).normal(0.5, 0.3, 40)
    alone = summary.patient_interval(values, range(40))
    assert summary.patient_interval(np.repeat(values, 2), np.repeat(range(40), 2)) == pytest.approx(alone)
    low, high = summary.patient_interval(np.repeat(values, 2), range(80))
    assert high - low == pytest.approx((alone[1] - alone[0]) / np.sqrt(2), rel=0.05)


def test_the_interval_by_patient_covers_the_mean():
    """Patients of one and of two scans, whose scans share the patient's part: near 95 %, as 60 patients allow."""
    generator, hits = np.random.default_rng(6), 0
    for _ in range(200):
        scans = generator.integers(1, 3, 60)
        patients = np.repeat(np.arange(60), scans)
        values = generator.normal(0, 1, 60)[patients] + generator.normal(0, 0.3, len(patients))
        low, high = summary.patient_interval(values, patients, generator)
        hits += low < 0 < high
    assert 0.91 <= hits / 200 <= 0.98


def test_table1_has_the_interval_of_every_mean_and_the_metrics_that_were_measured():
    frame = scores().assign(surface=0.5)
    table = summary.table1(frame, {"rt": Pair(0.3, 100)}).iloc[0]
    rt = frame[frame["variant"] == "rt"]
    for metric in ("dsc", "ppv", "sensitivity", "hd_mm", "hd_voxels"):
        assert tuple(table[[f"{metric}_low", f"{metric}_high"]]) == summary.patient_interval(rt[metric], rt["patient"])
        assert table[f"{metric}_low"] < table[f"{metric}_mean"] < table[f"{metric}_high"]
    assert table["volume_error_ml_low"] > 0 and "surface_mean" not in table, "no name in the vocabulary"
    fewer = summary.table1(frame.drop(columns="ppv"), {"rt": None})
    assert not [name for name in fewer if name.startswith("ppv")] and "dsc_low" in fewer
    with pytest.raises(ValueError, match="patient"):
        summary.table1(frame.drop(columns="patient"), {"rt": None})


def test_table1_has_a_further_metric_of_the_vocabulary(monkeypatch):
    monkeypatch.setitem(METRICS, "nsd", Metric("NSD", "%", "points", 100, compared=False))
    table = summary.table1(scores().assign(nsd=lambda f: f["dsc"] / 2), dict.fromkeys(VARIANTS))
    for part in ("mean", "low", "high", "sd"):
        assert table[f"nsd_{part}"].to_numpy() == pytest.approx(table[f"dsc_{part}"] / 2)


def test_means_by_variant_leave_out_what_is_not_finite_and_draw_the_same_patients():
    rows = {"patient": ["a", "b", "b"], "dsc": [0.2, 0.4, 0.6], "hd_mm": [10.0, np.inf, 30.0]}
    frame = pd.concat([pd.DataFrame(rows).assign(variant=name) for name in ("one", "other")])
    table = summary.variant_means(frame, ("dsc", "hd_mm"), 3, "somewhere")
    assert table.variant.tolist() == ["one", "one", "other", "other"]
    first, second = (own.drop(columns="variant").reset_index(drop=True) for _, own in table.groupby("variant"))
    assert first.equals(second)
    found = first.set_index("metric")
    assert found["mean"].to_dict() == pytest.approx({"dsc": 0.4, "hd_mm": 20.0})
    assert found.scans.to_dict() == {"dsc": 3, "hd_mm": 2} and found.patients.tolist() == [2, 2]
    assert (found.low <= found["mean"]).all() and (found["mean"] <= found.high).all()
    assert not summary.variant_means(frame, ["dsc"], 4, "somewhere").empty
    nothing = summary.variant_means(frame.assign(dsc=np.nan), ["dsc"], 3, "somewhere")
    assert nothing[["mean", "low", "high"]].isna().all(axis=None) and (nothing.patients == 0).all()
