import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib.evaluation import entries, published, ranking
from strokelib.run.runtime import rng

SCORES = rng(0, "scores").random(62) ** 0.5


def printed(*means, sd=0.3, scans=62):
    names = [f"entry{k}" for k in range(len(means))]
    return pd.DataFrame({"user": names, "mean": means, "sd": sd, "scans": scans})


def test_correlations_are_those_of_numpy_over_scans_that_both_have():
    facts = {"variant": ["rt"] * 4 + ["rt_sm"] * 4, "case": [1, 2, 3, 4, 4, 3, 2, 1]}
    frame = pd.DataFrame(facts).assign(dsc=[0.1, 0.5, 0.7, np.nan, 0.2, 0.9, 0.4, 0.3])
    row = entries.correlations(frame).iloc[0]
    assert (row["one"], row["other"], row["scans"]) == ("rt", "rt_sm", 3)
    assert row["correlation"] == pytest.approx(np.corrcoef([0.1, 0.5, 0.7], [0.3, 0.4, 0.9])[0, 1])
    assert np.isnan(entries.correlations(frame.assign(dsc=0.5))["correlation"]).all()
    with pytest.raises(ValueError, match="a variant holds a scan twice"):
        entries.correlations(pd.concat([frame, frame.iloc[:1]]))
    assert entries.correlations(frame[frame["variant"] == "rt"]).empty


def test_our_own_rows_say_how_alike_two_entries_are():
    generator = rng(5, "rows")
    hard = generator.random(30)
    rows = {name: hard + 0.1 * generator.random(30) for name in ("conventional", "baseline", "rt", "rt_sm", "rt_sm_uf")}
    rows["conventional"] = generator.random(30)
    nested = pd.concat(pd.DataFrame({"variant": name, "case": range(30), "dsc": dsc}) for name, dsc in rows.items())
    singles = nested.query("variant in ['baseline', 'rt']").rename(columns={"variant": "network"})
    found = entries.own_correlations(nested, singles).set_index("name")
    assert found["pairs"].tolist() == [3, 3, 1] and found["scans"].tolist() == [30] * 3
    pairs = (("baseline", "rt"), ("baseline", "rt_sm_uf"), ("rt", "rt_sm_uf"))
    every = [np.corrcoef(rows[one], rows[other])[0, 1] for one, other in pairs]
    two = found.loc["two networks, other methods"]
    assert (two["least"], two["correlation"], two["most"]) == pytest.approx((min(every), np.mean(every), max(every)))
    assert found.loc["two networks, one method", "correlation"] == pytest.approx(every[0])
    assert len(entries.own_correlations(nested)) == 2


def test_levels_rise_and_where_there_is_none_one_is_taken():
    own = pd.DataFrame({"name": list("abcd"), "correlation": [0.951, -0.2, 0.949, np.nan]})
    assert entries.levels(own) == (0.0, 0.95)
    assert entries.levels(own.iloc[3:]) == (0.9,)


def test_the_first_scores_that_differ_stand_for_how_hard_scans_are():
    sources = ("none", None), ("the same", [0.5, 0.5, np.nan]), ("these", [0.1, np.inf, 0.3]), ("those", [0.2, 0.3])
    words, scores = entries.template(*sources)
    assert words == "these" and scores.tolist() == [0.1, 0.3]
    words, scores = entries.template(("the same", [0.0, 0.0]))
    assert words == "evenly spaced numbers" and len(scores) == 62 and np.ptp(scores) == 1


@pytest.mark.parametrize("correlation", [0.0, 0.7, 0.95, 1.0])
def test_made_up_entries_have_the_printed_numbers_and_the_correlation(correlation):
    table = published.leaderboard()
    found = entries.simulate(table, SCORES[:40], correlation, rng(2, "made up"))
    wide = found.pivot(index="case", columns="variant", values="dsc")[table["user"]]
    assert wide.shape == (62, 10)
    assert wide.mean().to_numpy() == pytest.approx(table["mean"].to_numpy())
    assert wide.std(ddof=0).to_numpy() == pytest.approx(table["sd"].to_numpy())
    between = np.corrcoef(wide.to_numpy().T)[np.triu_indices(10, 1)]
    assert between == pytest.approx(correlation)


def test_what_is_shared_is_as_our_scans_are():
    found = entries.simulate(printed(SCORES.mean(), sd=SCORES.std()), SCORES, 1.0, rng(0, "made up"))
    assert np.sort(found["dsc"]) == pytest.approx(np.sort(SCORES))


def test_made_up_entries_can_be_ranked_and_the_surer_the_more_they_are_alike():
    table, first = printed(0.51, 0.49, 0.47), {}
    for correlation in (0.5, 0.99):
        made = entries.simulate(table, SCORES, correlation, rng(3, "made up"))
        ranks = ranking.ranks(ranking.resample(made, ["dsc"], rng(3, "drawn"), 2000))
        first[correlation] = ranks.set_index("variant")["rank_1"] / 2000
    assert first[0.99]["entry0"] > first[0.5]["entry0"] > first[0.5]["entry1"] > first[0.5]["entry2"] > 0
    # Of two alone: the lead over its standard error, by the normal distribution.
    made = entries.simulate(table.head(2), SCORES, 0.9, rng(4, "made up"))
    ranks = ranking.ranks(ranking.resample(made, ["dsc"], rng(4, "drawn"), 10_000)).set_index("variant")
    error = 0.3 * np.sqrt(2 * 0.1 / 62)
    assert ranks.loc["entry0", "rank_1"] / 10_000 == pytest.approx(stats.norm.cdf(0.02 / error), abs=0.03)


@pytest.mark.parametrize(
    ("table", "scores", "correlation", "words"),
    [
        (printed(0.5, 0.4), [0.5] * 9, 0.5, "not all the same"),
        (printed(0.5, 0.4), [], 0.5, "finite scores of several scans"),
        (printed(0.5, 0.4), [0.1, np.nan], 0.5, "finite scores of several scans"),
        (printed(0.5, 0.4), SCORES, 1.2, r"must lie in \[0, 1\], got 1.2"),
        (printed(0.5, 0.4, scans=3), SCORES, 0.5, "2 entries need 4 scans or more"),
    ],
)
def test_what_cannot_be_made_up_is_refused(table, scores, correlation, words):
    with pytest.raises(ValueError, match=words):
        entries.simulate(table, scores, correlation, rng(0, "made up"))


def test_the_lead_among_equals_is_the_range_of_normal_numbers():
    """The mean range of ten normal numbers is 3.0775 (Tippett 1925), and of two 2 / sqrt(pi)."""
    error = 0.3 * np.sqrt(0.1 / 62)
    ten = entries.spreads(0.3, 0.9, rng(0, "equal"))
    assert ten.mean() == pytest.approx(3.0775 * error, rel=0.02)
    two = entries.spreads(0.3, 0.9, rng(0, "equal"), shown=2, entries=2)
    assert two.mean() == pytest.approx(2 / np.sqrt(np.pi) * error, rel=0.03)
    best = entries.spreads(0.3, 0.9, rng(0, "equal"), entries=entries.PARTICIPANTS)
    assert best.mean() < ten.mean(), "the best ten of many lie closer than ten alone"
    assert entries.spreads(0.3, 1.0, rng(0, "equal")).max() == 0
    for arguments in ((0.3, 0.5, rng(0), 1, 4), (0.3, 0.5, rng(0), 5, 4), (0.3, -0.1, rng(0))):
        with pytest.raises(ValueError, match=r"two entries shown|must lie in"):
            entries.spreads(*arguments)
