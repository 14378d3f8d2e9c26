import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_resampling import Drawn

from strokelib.evaluation import ranking
from strokelib.run.runtime import rng
from strokelib.vocabulary import METRICS


def frame(**columns):
    """Two variants on three scans of two patients; A has two."""
    facts = {"variant": ["rt"] * 3 + ["rt_sm"] * 3, "case": [1, 2, 3] * 2, "patient": ["A", "A", "B"] * 2}
    return pd.DataFrame(facts | columns)


def made_up(variants=("baseline", "rt", "rt_sm"), seed=0):
    """Random scores of forty scans, rounded so that some means are equal."""
    generator, names = rng(seed, "made up"), [*variants]
    table = pd.DataFrame({"variant": np.repeat(names, 40), "case": [*range(40)] * len(names)})
    table["patient"] = table["case"] // 2
    for metric in ("dsc", "ppv", "hd_mm"):
        table[metric] = generator.random(len(table)).round(1)
    return table


def test_who_comes_first_how_often_by_hand():
    """rt is better on B, rt_sm on A: of the four draws of two patients rt comes first when B alone is drawn."""
    table = frame(dsc=[0.1, 0.1, 0.9, 0.5, 0.5, 0.5], hd_mm=[50.0, 50, 10, 20, 20, 20])
    means = ranking.resample(table, ["dsc", "hd_mm"], Drawn([2, 0], [1, 1], [1, 1], [0, 2]), resamples=4)
    found = ranking.ranks(means).set_index(["metric", "variant"])
    assert found["mean"].tolist() == pytest.approx([1.1 / 3, 0.5, 110 / 3, 20])
    assert found["place"].tolist() == [2, 1, 2, 1] and found["undefined"].tolist() == [0] * 4
    assert found["rank_1"].tolist() == [1, 3, 1, 3] and found["rank_2"].tolist() == [3, 1, 3, 1]


def test_more_of_a_share_is_better_and_less_of_all_else():
    assert [ranking.higher_is_better(name) for name in ("dsc", "sensitivity", "hd_mm", "volume_error_ml")] == [
        *(True, True, False, False)
    ]
    assert all(ranking.higher_is_better(name) == (metric.unit == "%") for name, metric in METRICS.items())


def test_equals_share_their_ranks():
    table = pd.concat([frame(dsc=[0.5] * 6), frame(dsc=[0.9] * 6).replace({"rt": "baseline", "rt_sm": "rt_sm_uf"})])
    found = ranking.ranks(ranking.resample(table, ["dsc"], rng(0, "drawn"), 100)).set_index("variant")
    assert found.loc["rt", ["place", "rank_1", "rank_2", "rank_3", "rank_4"]].tolist() == [3, 0, 0, 50, 50]
    assert found.loc["rt_sm_uf", ["place", "rank_1", "rank_2", "rank_3", "rank_4"]].tolist() == [1, 50, 50, 0, 0]


def test_every_resample_gives_every_rank_once():
    means = ranking.resample(made_up(), ["dsc", "ppv", "hd_mm"], rng(1, "drawn"), 500)
    found = ranking.ranks(means)
    held = found[["rank_1", "rank_2", "rank_3"]]
    assert np.allclose(held.sum(axis=1), 500)
    assert np.allclose(held.groupby(found["metric"]).sum(), 500)
    assert (held.to_numpy() % 1 != 0).any(), "some means are equal"


def test_who_is_better_on_every_patient_is_always_first_and_names_and_order_do_not_matter():
    table = made_up()
    table.loc[table["variant"] == "rt", "dsc"] = 0.95
    first = ranking.ranks(ranking.resample(table, ["dsc"], rng(2, "drawn"), 300)).set_index("variant")
    assert first.loc["rt", "rank_1"] >= 299.5
    shuffled = table.sample(frac=1, random_state=3)
    other = ranking.ranks(ranking.resample(shuffled, ["dsc"], rng(2, "drawn"), 300)).set_index("variant")
    assert np.allclose(first["rank_1"], other["rank_1"].reindex(first.index))


def test_what_is_undefined_counts_as_the_worst():
    gone = {"hd_mm": [np.inf, 10, 10, 20, 20, 20], "ppv": [np.nan, 0.9, 0.9, 0.5, 0.5, 0.5], "diagonal_mm": [300.0] * 6}
    found = ranking.ranks(ranking.resample(frame(**gone), ["ppv", "hd_mm"], rng(0, "drawn"), 10))
    assert found["mean"].tolist() == pytest.approx([0.6, 0.5, 320 / 3, 20])
    assert found["undefined"].tolist() == [1, 0, 1, 0]
    assert found["place"].tolist() == [1, 2, 2, 1], "silence on one scan costs the first place in HD"


@pytest.mark.parametrize("seed", range(4))
def test_tau_is_that_of_scipy(seed):
    means = ranking.resample(made_up(("baseline", "rt", "rt_sm", "rt_sm_uf"), seed), ["dsc", "hd_mm"], rng(seed), 200)
    found = ranking.kendall(means).iloc[0]
    dsc, hd = (np.round(drawn, ranking.DIGITS) for drawn in means.of_drawn)
    theirs = np.array([stats.kendalltau(a, -b).statistic for a, b in zip(dsc, hd, strict=True)])
    assert found["tau_mean"] == pytest.approx(np.nanmean(theirs))
    assert (found["tau_low"], found["tau_high"]) == pytest.approx(tuple(np.nanquantile(theirs, (0.025, 0.975))))
    of_all = means.of_all.round(ranking.DIGITS)
    assert found["tau"] == pytest.approx(stats.kendalltau(of_all[0], -of_all[1]).statistic)
    both = [(a == a.max()) & (b == b.min()) for a, b in zip(dsc, hd, strict=True)]
    assert found["same_first"] == pytest.approx(np.mean([first.any() for first in both]))


def test_tau_is_one_with_itself_and_unknown_where_all_are_equal():
    table = made_up().assign(ppv=lambda rows: rows["dsc"], hd_mm=1.0)
    found = ranking.kendall(ranking.resample(table, ["dsc", "ppv", "hd_mm"], rng(5, "drawn"), 50))
    assert found[["metric", "other"]].agg(" ".join, axis=1).tolist() == ["dsc ppv", "dsc hd_mm", "ppv hd_mm"]
    assert found["tau"].iloc[0] == found["tau_low"].iloc[0] == 1 and found["same_first"].tolist() == [1, 1, 1]
    assert found[["tau", "tau_mean", "tau_low", "tau_high"]].iloc[1:].isna().all(axis=None)


@pytest.mark.parametrize(
    ("table", "metric", "words"),
    [
        (frame(dsc=0.5).iloc[:-1], "dsc", "each of rt, rt_sm must hold each of the 3 scans once"),
        (pd.concat([frame(dsc=0.5), frame(dsc=0.5).iloc[:1]]), "dsc", "must hold each of the 3 scans once"),
        (frame(hd_mm=np.inf), "hd_mm", "lacks the columns diagonal_mm"),
        (frame(hd_voxels=np.inf), "hd_voxels", "hd_voxels is not finite in 6 rows"),
        (frame(dsc=0.5), "ppv", "lacks the columns ppv"),
    ],
)
def test_what_cannot_be_ranked_is_refused(table, metric, words):
    with pytest.raises(ValueError, match=words):
        ranking.resample(table, [metric], rng(0, "drawn"))
