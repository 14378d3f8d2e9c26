"""Numbers in words: what a table prints, one and several, the paper's claims, three sentences."""

import itertools

import numpy as np
import pandas as pd
from test_stats import scores

from strokelib import submission
from strokelib.evaluation import agreement, stats, summary, tables
from strokelib.postprocess import Pair
from strokelib.run.variants import VARIANTS
from strokelib.vocabulary import METRICS


def test_every_comparison_says_what_the_cohort_was_tuned_to():
    assert {(claim.new, claim.old) for claim in stats.CLAIMS} == set(tables.TUNED)
    assert "symmetric" in tables.TUNED["rt_sm", "rt"] and "symmetry" in tables.TUNED["rt_sm_uf", "baseline"]


def test_one_and_several():
    assert [tables.counted(n, "holds", "hold") for n in (0, 1, 2)] == ["none holds", "1 holds", "2 hold"]


def test_p_values_in_words():
    assert [tables.p_text(p) for p in (0.0009, 0.001, 0.0125, np.nan)] == [
        "p < 0.001",
        "p = 0.001",
        "p = 0.013",
        "p undefined",
    ]
    assert [tables.p_value(p) for p in (0.0009, 0.0125, np.nan)] == ["< 0.001", "0.013", "undefined"]


def test_differences_come_in_the_unit_of_their_metric():
    told = {metric: tables.difference(-0.031, metric) for metric in METRICS}
    assert told["dsc"] == told["sensitivity"] == "-3.1 points"
    assert (told["hd_mm"], told["hd_voxels"], told["volume_error_ml"]) == ("-0.0 mm", "-0.0 voxels", "-0.0 mL")


def test_a_mean_and_a_number_that_do_not_exist_are_dashes():
    assert (tables.mean_sd(54.84, 24.75), tables.mean_sd(np.nan, np.nan)) == ("54.8 ± 24.8", "–")
    assert (tables.number(0.2, 1), tables.number(None, 1)) == ("0.2", "–")


def test_a_test_in_words():
    (row,) = stats.paired_tests(scores(), "dsc", [("rt", "baseline")]).itertuples()
    low, high = (f"{100 * value:+.1f}" for value in (row.low, row.high))
    assert tables.interval(row) == f"{low} to {high}"
    assert tables.step(row) == "RT − baseline"
    told = tables.effect(row)
    assert told.startswith(f"{100 * row.mean_difference:+.1f} points, 95 % interval {low} to {high}, p < 0.001, d_z = ")
    assert told.endswith(f"{row.d_z:.2f}, 20 scans")


def test_tests_stand_metric_by_metric_with_patients_below_scans():
    pairs = [("rt", "baseline"), ("rt_sm", "rt")]
    frame = pd.concat(
        stats.paired_tests(scores(), metric, pairs, unit)
        for unit, metric in itertools.product(stats.UNITS, ("hd_mm", "dsc"))
    )
    table = tables.tests(frame)
    assert table["metric"].tolist() == ["DSC"] * 4 + ["HD"] * 4
    assert table["unit"].tolist() == ["scan", "patient"] * 4 and table["n"].tolist() == [20, 10] * 4
    assert table["step"].tolist()[:4] == ["RT − baseline"] * 2 + ["RT + SM − RT"] * 2
    assert table["difference"].str.split().str[1].tolist() == ["points"] * 4 + ["mm"] * 4


def both_units(**more):
    frame = scores(**more)
    return pd.concat(stats.claims_table(frame, unit) for unit in stats.UNITS)


def test_claims_in_words_have_the_stricter_reading_and_what_was_tuned():
    claims = both_units()
    lines = tables.claims_in_words(claims, tuned=True)
    assert len(lines) == len(stats.CLAIMS)
    assert lines[0].startswith("**holds**: *Single + RT* has higher DSC than *Baseline* (paper: p < 0.02). Here +")
    assert "By patients and Holm: holds. *Tuned:* how hard the cohort is" in lines[0]
    assert lines[3].startswith("**opposite**: *Single + RT + SM* has lower sensitivity than *Single + RT*")
    assert " voxels, 95 % interval -" in lines[4]
    assert not any("Tuned" in line for line in tables.claims_in_words(claims, tuned=False))
    weak = claims.assign(p_holm=0.2)
    assert "By patients and Holm: inconclusive." in tables.claims_in_words(weak, tuned=False)[0]
    assert tables.strict(claims) == 7 and tables.strict(weak) == 0


def test_claims_as_a_table_name_each_once_with_its_unit():
    table = tables.claims(both_units().query("unit == 'scan'"))
    assert table["claim"].is_unique and table["claim"][0] == "RT − baseline: DSC up"
    assert table["difference"].str.contains("points|voxels").all() and table["paper"][0] == "p < 0.02"


def run_of_a_study():
    """Make the committed tables of a run as `headline` reads them."""
    frame = pd.concat([scores(), scores(variants=("conventional",), gain=0)])
    rule = {"conventional": None}
    table1 = summary.beside_paper(summary.table1(frame, rule | dict.fromkeys(VARIANTS, Pair(0.3, 100))))
    claims = pd.concat(stats.claims_table(frame, unit) for unit in stats.UNITS).assign(cohort="synthetic cohort")
    seeded = pd.concat(scores(gain=gain, seed=2).assign(seed=seed) for seed, gain in ((7, 0.02), (8, -0.01)))
    seeds = stats.seed_values(seeded, "dsc", [("rt_sm", "rt")])
    table2 = pd.DataFrame({"rank": [1, np.nan], "dsc_mean": [0.51, 0.472], "n": [62, 40]})
    vote = pd.DataFrame({"unit": stats.UNITS, "mean_difference": [0.012, -0.5]})
    return table1, claims, seeds, table2, vote


def test_the_headline_says_what_the_tables_say():
    table1, claims, seeds, table2, vote = run_of_a_study()
    levels, verdicts, rest = tables.headline(table1, claims, seeds, table2, vote)
    ours = table1[table1["source"] == "this run"].set_index("variant")["dsc_mean"]
    first = [f"{100 * value:.1f}" for value in (ours["conventional"], ours["rt_sm_uf"])]
    assert "On the synthetic cohort, 20 scans" in levels and f"{first[0]} % for rCBF < 30 % and Tmax > 6 s" in levels
    assert f"{first[1]} % for Single + RT + SM + UF" in levels and "49.0, 53.5, 54.8, 54.7 %" in levels
    # Every metric grows from variant to variant here, so the two claims of a lower sensitivity are turned round.
    assert "9 claims of significance 7 hold (RT − baseline: DSC up;" in verdicts
    assert "2 come out opposite (RT + SM − RT: sensitivity down; RT + SM + UF − RT + SM: sensitivity down)" in verdicts
    assert "and none is inconclusive" in verdicts and "after Holm's correction 7 hold." in verdicts
    gain = 100 * seeds.query("kind == 'difference'")["value"]
    assert f"by {gain.min():+.1f} to {gain.max():+.1f} points over 2 seeds" in rest and gain.min() < 0 < gain.max()
    assert "on 40 testing scans all networks together reach 47.2 %, +1.2 points" in rest


def test_the_headline_without_any_evidence():
    table1, claims, seeds, table2, vote = run_of_a_study()
    none = claims.assign(verdict="inconclusive")
    verdicts = tables.headline(table1, none, seeds, table2, vote)[1]
    assert (
        "none holds, none comes out opposite and 9 are inconclusive" in verdicts
        and "correction none holds." in verdicts
    )


def test_in_short_tells_claims_and_testing_scans_where_they_could_be_scored():
    _, claims, _, table2, _ = run_of_a_study()
    claims, table2 = claims[claims["unit"] == "scan"], table2.assign(dsc_sd=0.3)
    text = tables.in_short(claims, table2, "synthetic cohort", 40)
    assert text.startswith("Of nine claims 7 hold, 2 come out opposite and none is inconclusive (synthetic cohort). ")
    assert "40 of the synthetic cohort, the networks together reach DSC 0.47 ± 0.30" in text
    unscored = tables.in_short(claims, table2.dropna(), "ISLES 2018", 62)
    assert unscored.endswith("The 62 testing scans have been predicted; their truth is not at hand, so none is scored.")
    none = tables.in_short(claims, table2.dropna(), "ISLES 2018, no testing scans", 0)
    assert none.endswith("(ISLES 2018, no testing scans). There are no testing scans here.")


def test_table1_as_text_prints_the_papers_strings():
    frame = scores()
    frame.loc[frame["variant"].eq("rt_sm") & frame["case"].eq(4), "hd_mm"] = np.inf
    text = tables.table1(summary.beside_paper(summary.table1(frame, dict.fromkeys(VARIANTS, Pair(0.3, 100)))))
    paper = text[text["source"] == "paper"].set_index("method")
    assert len(text) == 8 and len(paper) == 4
    row = paper.loc["Single + RT + SM"]
    columns = ["T", "S_min", "DSC (%)", "PPV (%)", "sensitivity (%)", "HD (mm)", "HD (voxels)", "|ΔV| (mL)", "R²"]
    assert row[columns].tolist() == [
        "0.2",
        "200",
        "54.8 ± 24.8",
        "58.3 ± 29.8",
        "63.7 ± 25.3",
        "–",
        "26.6 ± 19.9",
        "–",
        "0.78",
    ]
    ours = text[text["source"] == "this run"].set_index("method")
    assert ours["undefined"].tolist() == ["0", "0", "HD 1", "0"]
    assert ours.loc["Baseline", "T"] == "0.3"


def test_table1_of_a_method_the_paper_lacks():
    frame = scores(variants=("rule",))
    frame["ppv"] = np.nan
    table = summary.table1(frame, {"rule": None})
    text = tables.table1(table)
    assert text["source"].tolist() == ["this run"]
    assert text.loc[0, ["method", "T", "S_min", "PPV (%)"]].tolist() == ["rule", "–", "–", "–"]
    assert table.loc[0, "ppv_undefined"] == 20


def test_table1_of_an_earlier_run_lacks_what_was_not_measured_then():
    table = summary.beside_paper(summary.table1(scores(), dict.fromkeys(VARIANTS, Pair(0.3, 100))))
    earlier = table[[name for name in table if not name.startswith("ppv_")]]
    pd.testing.assert_frame_equal(tables.table1(earlier), tables.table1(table).drop(columns="PPV (%)"))


def test_table1_is_the_same_read_back_from_its_file(tmp_path):
    table = summary.beside_paper(summary.table1(scores(), dict.fromkeys(VARIANTS, Pair(0.3, 100))))
    table.to_csv(tmp_path / "table1.csv", index=False, float_format="%.6g")
    pd.testing.assert_frame_equal(tables.table1(pd.read_csv(tmp_path / "table1.csv")), tables.table1(table))


def test_changes_are_told_in_words():
    row = {"change": "rate_20", "dsc_mean": 0.561, "hd_mm_mean": np.nan, "mean_difference": -0.01, "low": -0.033}
    row |= {"high": 0.002, "d_z": -0.15, "p": 0.373, "p_holm": 1.0, "n": 38}
    (told,) = tables.changes(pd.DataFrame([row])).to_dict("records")
    assert told["of"] == "dropout at prediction, RT + SM + UF" and told["to"] == "20 %"
    assert (told["DSC (%)"], told["HD (mm)"], told["DSC points"]) == ("56.1", "–", "-1.0")
    assert (told["95 % interval"], told["p"], told["p (Holm)"]) == ("-3.3 to +0.2", "0.373", "1.000")


def test_groups_and_limits_as_text():
    frame = scores(variants=("rt", "rt_sm"))
    frame = frame.assign(volume_group=agreement.volume_groups(frame["truth_volume_ml"]))
    table = agreement.by_group(frame, "volume_group").assign(by="volume_group")
    text = tables.groups(table)
    assert text.index.tolist() == [(m, v) for m in ("DSC", "HD (mm)") for v in ("Single + RT", "Single + RT + SM")]
    assert text.columns.name == "true lesion volume (mL)" and text.columns[0] == "< 5, n = 0"
    assert (text["< 5, n = 0"] == "–").all()
    row = table.query("variant == 'rt' and metric == 'dsc' and group == '20–60'").iloc[0]
    cell = text.loc[("DSC", "Single + RT"), f"20–60, n = {row['scans']}"]
    assert cell == f"{row['mean']:.2f} ± {row['sd']:.2f} ({row['median']:.2f})"
    found = agreement.bland_altman([9.0, 25.0, 60.0], [10.0, 20.0, 40.0])
    assert tables.limits(pd.DataFrame([found])).iloc[0].tolist()[2] == "-13 to 29"


def test_table2_as_text():
    ours = {"rank": None, "user": "this run", "reference": None, "n": 62, "hd_undefined": 7}
    ours |= {f"{name}_{part}": 0.5 for name in ("dsc", "ppv", "sensitivity") for part in ("mean", "sd")}
    text = tables.table2(submission.table2(ours=ours | {"hd_millions_mean": 11.3, "hd_millions_sd": 31.6}))
    authors = text.set_index("user").loc["clera2"]
    assert authors.tolist() == ["2", "0.49 ± 0.31", "0.51 ± 0.36", "0.57 ± 0.35", "11.3 ± 31.6", "7 of 62", "paper"]
    assert text.iloc[-1]["rank"] == "–" and text.iloc[-1]["HD (millions)"] == "11.3 ± 31.6"
