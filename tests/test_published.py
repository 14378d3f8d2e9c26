import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib.evaluation import published
from strokelib.evaluation.summary import paper_table, paper_table1
from strokelib.run.runtime import rng


def entries(*means, sd=0.3, scans=62):
    names = [f"entry{k}" for k in range(len(means))]
    return pd.DataFrame({"user": names, "mean": means, "sd": sd, "scans": scans})


def test_the_published_results_are_the_papers_own_where_it_has_them():
    found = published.load().set_index(["authors", "year", "grouped_by"])
    own = found.loc[("Clèrigues et al.", 2019, "patient")]
    table1 = paper_table1().set_index("variant").loc["rt_sm_uf"]
    assert (own["mean"], own["sd"]) == pytest.approx((table1["dsc_mean"], table1["dsc_sd"])) and own["scans"] == 94
    table2 = paper_table("table2").set_index("user")
    for user, who in (("songt1", ("Song et al.", 2018)), ("clera2", ("Clèrigues et al.", 2019))):
        row = found.loc[(*who, "hidden test")]
        assert (row["mean"], row["sd"]) == tuple(table2.loc[user, ["dsc_mean", "dsc_sd"]])


def test_every_result_without_a_number_says_why_and_none_has_an_interval_without_an_sd():
    found = published.load()
    assert set(found["grouped_by"]) <= set(published.GROUPED) and found["source"].notna().all()
    missing = found[found["mean"].isna()]
    assert len(missing) and missing["certain"].str.contains("not found|no score").all()
    known = found["low"].notna()
    assert known.equals(found["sd"].notna() & found["scans"].notna()) and known.sum() == 3


def test_the_interval_of_the_papers_crossvalidation_by_hand():
    """.242 / sqrt(93) = .02509 (population SD); times Student's 1.9858 it is .0498, times the normal 1.96 .049."""
    row = published.load().query("grouped_by == 'patient'").iloc[0]
    assert row["high"] - row["mean"] == pytest.approx(0.0498, abs=5e-5)
    assert 1.96 * 0.242 / np.sqrt(94) == pytest.approx(0.049, abs=1e-4)
    assert row["high"] - row["mean"] == pytest.approx(0.049, abs=1e-3)
    best = published.leaderboard().iloc[0]
    assert best["high"] - best["mean"] == pytest.approx(1.9996 * 0.31 / np.sqrt(61), abs=1e-5)
    assert 1.96 * 0.31 / np.sqrt(62) == pytest.approx(0.077, abs=5e-4)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("mean", 54.7, "Song et al. 2018: the mean must lie in .0, 1., got 54.7; write percent as a fraction"),
        ("mean", np.nan, "there is an SD of 0.31 and no mean"),
        ("grouped_by", "head", "grouped_by must be one of hidden test, patient, .* got 'head'"),
        ("certain", None, "say in the column certain"),
    ],
)
def test_a_bad_row_is_named(column, value, words):
    table = paper_table("published").astype({"mean": float})
    table.loc[0, column] = value
    with pytest.raises(ValueError, match=words):
        published.load(table)
    with pytest.raises(ValueError, match=f"lacks the columns {column}"):
        published.load(table.drop(columns=column))


def test_what_two_entries_must_differ_by_is_that_of_the_paired_test():
    """Made-up scores of 62 scans whose means lie just so far apart have p = .05 by scipy's paired t-test."""
    generator = rng(1, "pairs")
    one = generator.random(62)
    other = 0.5 * one + 0.5 * generator.random(62)
    r = np.corrcoef(one, other)[0, 1]
    least = published.least_difference(one.std(), other.std(), 62, r)
    shifted = other - other.mean() + one.mean() + least
    assert stats.ttest_rel(one, shifted).pvalue == pytest.approx(0.05)
    assert published.needed_correlation(least, one.std(), other.std(), 62) == pytest.approx(r)
    nine = published.least_difference(one.std(), other.std(), 62, r, 9)
    assert stats.ttest_rel(one, other - other.mean() + one.mean() + nine).pvalue == pytest.approx(0.05 / 9)


def test_the_needed_correlation_of_table_2_by_hand():
    """First to tenth: the SD of the differences must be below .04 sqrt(61) / 1.9996 = .15624."""
    expected = (0.31**2 + 0.32**2 - 0.15624**2) / (2 * 0.31 * 0.32)
    assert published.needed_correlation(0.04, 0.31, 0.32, 62) == pytest.approx(expected, abs=1e-4) == pytest.approx(
        0.8775, abs=1e-3
    )
    assert published.needed_correlation(0.02, 0.31, 0.31, 62) == pytest.approx(0.9682, abs=1e-3)
    assert np.isnan(published.needed_correlation(0.0, 0.31, 0.32, 62)), "SDs that differ leave differences"
    assert published.needed_correlation(0.9, 0.31, 0.31, 62) == -1, "seen whatever the correlation"


@pytest.mark.parametrize("arguments", [(0.3, 0.3, 62, 1.1), (0.3, 0.3, 1, 0.5), (0.3, 0.3, 62, 0.5, 0)])
def test_what_has_no_least_difference_is_refused(arguments):
    with pytest.raises(ValueError, match=r"a correlation lies in|expected two scans or more"):
        published.least_difference(*arguments)


def test_all_pairs_of_table_2_and_which_could_be_told_apart():
    found = published.pairs(published.leaderboard())
    assert len(found) == 45 and (found["difference"] >= 0).all()
    worst = found.set_index(["first", "second"]).loc[("songt1", "zhuoj2")]
    assert worst["difference"] == pytest.approx(0.04) and worst["needed"] == pytest.approx(0.8775, abs=1e-3)
    assert worst["needed_at_best"] < worst["needed"] < worst["needed_of_all"]
    assert published.told_apart(found["needed"], 0.8) == 0
    assert published.told_apart(found["needed"], 0.9) == (found["needed"] < 0.9).sum() > 0
    with pytest.raises(ValueError, match="share their scans"):
        published.pairs(entries(0.5, 0.4, scans=[62, 94]))


def test_all_ten_printed_distances_are_decoded():
    """19.4 % of 62 is 12, 17.7 % 11, 16.1 % 10, 11.3 % 7 and 9.7 % 6."""
    found = published.decode_hausdorff()
    assert found["undefined"].tolist() == [12, 7, 12, 11, 6, 11, 12, 10, 12, 7]
    assert found["user"].tolist() == paper_table("table2")["user"].tolist()
    assert (100 * found["share"]).round(1).tolist() == paper_table("table2")["hd_millions_mean"].tolist()


def test_the_interval_of_a_share_inverts_the_binomial_and_the_best_case_is_mcnemars():
    row = published.decode_hausdorff().set_index("user").loc["clera2"]
    assert stats.binom.sf(6, 62, row["low"]) == pytest.approx(0.025, abs=1e-6)
    assert stats.binom.cdf(7, 62, row["high"]) == pytest.approx(0.025, abs=1e-6)
    assert [published.best_case(k) for k in (0, 1, 2, 6)] == [1, 1, 0.5, 2 / 64]
    assert published.best_case(6) == pytest.approx(stats.binomtest(0, 6).pvalue)
    assert published.decode_hausdorff().set_index("user").loc["songt1", "p_first"] == 1 / 32
