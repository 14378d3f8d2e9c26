"""A run in sentences: the paper's claims in words, how many hold, and the three that stand first."""

import numpy as np
import pandas as pd
from test_stats import scores

from strokelib.evaluation import sentences, stats, summary, tables
from strokelib.postprocess import Pair
from strokelib.run.variants import VARIANTS


def of_both(**more):
    """Claims of both units, nested and with the paper's way of choosing pairs, which finds nothing here."""
    frames = {"nested": scores(**more), "all folds": scores(gain=0.0, n=6)}
    return pd.concat(
        stats.claims_table(frame, unit).assign(choice=choice)
        for choice, frame in frames.items()
        for unit in stats.UNITS
    )


def test_every_comparison_says_what_the_cohort_was_tuned_to():
    assert {(claim.new, claim.old) for claim in stats.CLAIMS} == set(sentences.TUNED)
    assert "symmetric" in sentences.TUNED["rt_sm", "rt"] and "symmetry" in sentences.TUNED["rt_sm_uf", "baseline"]


def test_claims_in_words_have_the_stricter_reading_and_what_was_tuned():
    claims = of_both()
    lines = sentences.claims_in_words(claims, tuned=True)
    assert len(lines) == len(stats.CLAIMS)
    assert lines[0].startswith("**holds**: *Single + RT* has higher DSC than *Baseline* (paper: +4.5 points, p < 0.0")
    other = claims.query("choice == 'all folds' and unit == 'scan'").iloc[0]
    assert f"in the paper: {100 * other['mean_difference']:+.1f} points, {tables.p_both(other)}, " in lines[0]
    assert "(Wilcoxon p " in lines[4], "HD is told by both tests"
    assert "By patients and Holm: holds. *Tuned:* how hard the cohort is" in lines[0]
    assert lines[3].startswith("**opposite**: *Single + RT + SM* has lower sensitivity than *Single + RT*")
    assert " voxels, 95 % interval -" in lines[4]
    assert not any("Tuned" in line for line in sentences.claims_in_words(claims, tuned=False))
    weak = claims.assign(p_holm=0.2, verdict_holm="inconclusive")
    assert "By patients and Holm: inconclusive." in sentences.claims_in_words(weak, tuned=False)[0]
    assert sentences.strictly(claims) == "7 hold, 2 come out opposite and none is inconclusive"
    assert sentences.strictly(weak) == "none holds, none comes out opposite and 9 are inconclusive"


def run_of_a_study():
    """Make the committed tables of a run as `headline` reads them."""
    frame = pd.concat([scores(), scores(variants=("conventional",), gain=0)])
    rule = {"conventional": None}
    table1 = summary.beside_paper(summary.table1(frame, rule | dict.fromkeys(VARIANTS, Pair(0.3, 100))))
    claims = of_both().assign(cohort="synthetic cohort")
    seeded = pd.concat(scores(gain=gain, seed=2).assign(seed=seed) for seed, gain in ((7, 0.02), (8, -0.01)))
    seeds = stats.seed_values(seeded, "dsc", [("rt_sm", "rt")])
    table2 = pd.DataFrame({"rank": [1, np.nan], "dsc_mean": [0.51, 0.472], "n": [62, 40]})
    vote = pd.DataFrame({"unit": stats.UNITS, "mean_difference": [0.012, -0.5]})
    return table1, claims, seeds, table2, vote


def test_the_headline_says_what_the_tables_say():
    table1, claims, seeds, table2, vote = run_of_a_study()
    levels, verdicts, rest = sentences.headline(table1, claims, seeds, table2, vote)
    ours = table1[table1["source"] == "this run"].set_index("variant")["dsc_mean"]
    first = [f"{100 * value:.1f}" for value in (ours["conventional"], ours["rt_sm_uf"])]
    assert "On the synthetic cohort, 20 scans" in levels and f"{first[0]} % for rCBF < 30 % and Tmax > 6 s" in levels
    assert f"{first[1]} % for Single + RT + SM + UF" in levels and "49.0, 53.5, 54.8, 54.7 %" in levels
    # Every metric grows from variant to variant here, so the two claims of a lower sensitivity are turned round.
    assert "9 claims of significance, each tested with pairs that no scan chose for itself, 7 hold (RT − " in verdicts
    assert "2 come out opposite (RT + SM − RT: sensitivity down; RT + SM + UF − RT + SM: sensitivity down)" in verdicts
    assert "and none is inconclusive" in verdicts and "after Holm's correction 7 hold, 2 come" in verdicts
    gain = 100 * seeds.query("kind == 'difference'")["value"]
    assert f"by {gain.min():+.1f} to {gain.max():+.1f} points over 2 seeds" in rest and gain.min() < 0 < gain.max()
    assert "on 40 testing scans all networks together reach 47.2 %, +1.2 points" in rest


def test_one_training_seed_has_no_range_and_differences_are_of_nested_pairs():
    table1, claims, _, table2, vote = run_of_a_study()
    nested = table1[table1["source"] == "this run"].assign(source="this run, nested")
    nested.loc[nested["variant"] == "rt_sm_uf", "dsc_mean"] = nested.set_index("variant").dsc_mean["rt_sm"] - 1e-5
    one = pd.DataFrame([{"name": "rt_sm over rt", "metric": "dsc", "value": 0.064}])
    rest = sentences.headline(pd.concat([table1, nested]), claims, one, table2, vote)[2]
    assert "change the DSC, with nested pairs, by +6.4 points (one training seed) and unc" in rest
    assert "uncertainty filtering by -0.00; on" in rest


def test_the_headline_of_an_earlier_run_tells_what_it_has():
    """It was tested with the paper's pairs alone, and seeds.csv had one step; now it has all."""
    table1, claims, seeds, table2, vote = run_of_a_study()
    earlier = claims[claims["choice"] == "nested"].drop(columns=["choice", "p_smaller"])
    _, verdicts, rest = sentences.headline(table1, earlier, seeds, table2, vote)
    assert "9 claims of significance 7 hold (RT − baseline: DSC up;" in verdicts
    other = seeds.assign(value=0.5, name=seeds["name"].replace("rt_sm over rt", "rt over baseline"))
    assert sentences.headline(table1, earlier, pd.concat([seeds, other]), table2, vote)[2] == rest


def test_a_smaller_effect_is_counted_and_told_with_its_share():
    facts = {"new": "rt", "old": "baseline", "metric": "dsc", "paper_direction": "up"}
    claims = pd.DataFrame([facts | {"verdict": verdict} for verdict in ("holds", "smaller", "smaller", "inconclusive")])
    text = sentences.verdicts(claims)
    assert text == "1 holds, none comes out opposite, 2 are smaller than the paper's and 1 is inconclusive"
    assert "2 are smaller than the paper's (RT − baseline: DSC up; RT" in sentences.verdicts(claims, named=True)
    claims = of_both(gain=0.001, n=80)
    told = list(claims.query("choice == 'nested' and unit == 'scan'").itertuples())
    lines = sentences.claims_in_words(claims, tuned=False)
    assert {row.verdict for row in told} >= {"smaller"}
    for row, line in zip(told, lines, strict=True):
        said = f"less than 50 % of the paper's difference in its direction (one-sided {tables.p_text(row.p_smaller)})."
        said = said in line
        assert said == (row.p_smaller < 0.05 and row.verdict != "opposite")
        assert line.startswith(f"**{row.verdict}**: ")


def test_the_headline_without_any_evidence():
    table1, claims, seeds, table2, vote = run_of_a_study()
    none = claims.assign(verdict="inconclusive", verdict_holm="inconclusive")
    verdicts = sentences.headline(table1, none, seeds, table2, vote)[1]
    assert verdicts.count("none holds, none comes out opposite and 9 are inconclusive") == 2


def test_in_short_tells_claims_and_testing_scans_where_they_could_be_scored():
    _, claims, _, table2, _ = run_of_a_study()
    claims, table2 = claims[claims["unit"] == "scan"], table2.assign(dsc_sd=0.3)
    text = sentences.in_short(claims, table2, "synthetic cohort", 40)
    assert text.startswith("Of nine claims 7 hold, 2 come out opposite and none is inconclusive (synthetic cohort). ")
    assert "40 of the synthetic cohort, the networks together reach DSC 0.47 ± 0.30" in text
    unscored = sentences.in_short(claims, table2.dropna(), "ISLES 2018", 62)
    assert unscored.endswith("The 62 testing scans have been predicted; their truth is not at hand, so none is scored.")
    none = sentences.in_short(claims, table2.dropna(), "ISLES 2018, no testing scans", 0)
    assert none.endswith("(ISLES 2018, no testing scans). There are no testing scans here.")


def test_a_budget_is_told_in_updates_patches_and_epochs():
    said = sentences.budget(6000, 64, 300_000)
    assert said == (
        "Each row trains at most 6,000 updates a fold, both networks of a cascade together: 384,000 patches, 1.28 "
        "epochs of 300,000 patches, of which the paper takes 20 to 40"
    )
