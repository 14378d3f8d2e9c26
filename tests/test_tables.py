"""Numbers as text: what a table prints, one and several, tests and the paper's claims in a line."""

import itertools

import numpy as np
import pandas as pd
from test_stats import scores

from strokelib import submission
from strokelib.evaluation import agreement, stats, summary, tables
from strokelib.postprocess import Pair
from strokelib.run.variants import VARIANTS
from strokelib.vocabulary import METRICS, Metric


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
    assert told.startswith(f"{100 * row.mean_difference:+.1f} points, 95 % interval {low} to {high}, p < 0.001 (Wil")
    assert told.endswith(f"{row.d_z:.2f}, 20 scans")


def test_tests_stand_metric_by_metric_with_patients_below_scans():
    pairs = [("rt", "baseline"), ("rt_sm", "rt")]
    frame = pd.concat(
        stats.paired_tests(scores(), metric, pairs, unit).assign(choice=choice)
        for choice, unit, metric in itertools.product(("nested", "all folds"), stats.UNITS, ("hd_mm", "dsc"))
    )
    table = tables.tests(frame)
    assert table["metric"].tolist() == ["DSC"] * 8 + ["HD"] * 8
    assert table["pairs"].tolist() == (["nested"] * 2 + ["all folds"] * 2) * 4
    assert table["unit"].tolist() == ["scan", "patient"] * 8 and table["n"].tolist() == [20, 10] * 8
    assert table["step"].tolist()[:8] == ["RT − baseline"] * 4 + ["RT + SM − RT"] * 4
    assert table["difference"].str.split().str[1].tolist() == ["points"] * 8 + ["mm"] * 8
    row = frame.query("metric == 'dsc' and unit == 'scan'").iloc[0]
    assert table["d_z"][0] == f"{row['d_z']:.2f} ({row['d_z_low']:.2f} to {row['d_z_high']:.2f})"


def test_tests_averaged_over_seeds_count_who_lacks_one():
    frame = pd.concat([scores(), scores(seed=1)], keys=(1, 2), names=["seed"]).reset_index("seed")
    whole = tables.tests(stats.paired_tests(frame, "dsc", [("rt", "baseline")]))
    frame.loc[frame["case"].eq(3) & frame["seed"].eq(1) & frame["variant"].eq("rt"), "dsc"] = np.nan
    table = tables.tests(stats.paired_tests(frame, "dsc", [("rt", "baseline")]))
    assert table["fewer seeds"].tolist() == [1] and table["dropped"].tolist() == [0]
    assert not {"pairs", "fewer seeds"} & {*whole}
    frame["dsc"] = 0.5
    assert tables.tests(stats.paired_tests(frame, "dsc", [("rt", "baseline")]))["d_z"].tolist() == ["–"]


def test_the_spread_between_seeds_is_told_of_differences():
    values = pd.DataFrame({"seed": [1, 2, 3], "value": [-3.0, 1.0, -1.0]})
    values = values.assign(kind="difference", name="rt_sm over rt", metric="hd_mm")
    both = pd.concat([values, values.assign(kind="variant", name="rt")])
    (told,) = tables.spread(stats.seed_spread(both)).to_dict("records")
    assert (told["step"], told["difference"], told["SD"]) == ("RT + SM − RT", "-1.0 mm", "2.0")
    assert (told["from seed to seed"], told["95 % interval"]) == ("-3.0 to +1.0", "-6.0 to +4.0")
    alone = tables.spread(stats.seed_spread(both[both["seed"] == 1])).iloc[0]
    assert alone["95 % interval"] == "–" and alone["SD"] == "–"


def test_claims_by_seed_have_a_column_a_seed_and_the_stricter_reading_last():
    frames = {7: scores(gain=0.001), 8: scores(), np.nan: scores()}
    table = pd.concat(
        stats.claims_table(frame, unit).assign(seed=seed) for seed, frame in frames.items() for unit in stats.UNITS
    )
    text = tables.claims_by_seed(table)
    assert text.columns.tolist() == ["seed 7", "seed 8", "averaged", "averaged, by patients and Holm"]
    assert len(text) == 9 and text.index[0] == "RT − baseline: DSC up"
    assert text["averaged"].tolist() == text["seed 8"].tolist() != text["seed 7"].tolist()
    last = table[table["seed"].isna() & table["unit"].eq("patient")]["verdict_holm"]
    assert text.iloc[:, -1].tolist() == last.tolist()


def both_choices(**more):
    """Tests of one unit with nested pairs, and the paper's way of choosing them, which finds a little more."""
    frames = {"nested": scores(**more), "all folds": scores(**more | {"gain": 0.06})}
    return pd.concat(stats.claims_table(frame).assign(choice=choice) for choice, frame in frames.items())


def test_claims_as_a_table_name_each_once_with_its_unit_and_the_other_choice_last():
    found = both_choices(gain=0.001)
    table = tables.claims(found)
    assert table["claim"].is_unique and table["claim"][0] == "RT − baseline: DSC up"
    assert table["difference"].str.contains("points|voxels").all()
    assert table["paper"][0] == "+4.5 points, p < 0.02" and table["paper"][4] == "-3.1 voxels, p < 0.03"
    nested = found[found["choice"] == "nested"]
    assert table["verdict"].tolist() == nested["verdict"].tolist()
    assert table["Wilcoxon"].tolist() == [tables.p_value(p) for p in nested["p_wilcoxon"]]
    other = found.loc[found["choice"] == "all folds", "verdict"].tolist()
    assert table["with the paper's pairs"].tolist() == other != nested["verdict"].tolist()
    alone = tables.claims(nested.drop(columns="choice"))
    pd.testing.assert_frame_equal(alone, table.drop(columns="with the paper's pairs"))


def test_a_test_in_words_says_both_p_and_what_lacks():
    facts = {"metric": "hd_voxels", "mean_difference": -0.749, "low": -2.227, "high": 0.069, "p": 0.26774}
    facts |= {"p_wilcoxon": 0.0325845, "d_z": -0.115, "n": 90, "unit": "scan", "n_dropped": 4, "n_incomplete": 0}
    (row,) = pd.DataFrame([facts]).itertuples()
    assert tables.p_both(row) == "p = 0.268 (Wilcoxon p = 0.033)"
    assert tables.effect(row) == (
        "-0.7 voxels, 95 % interval -2.2 to +0.1, p = 0.268 (Wilcoxon p = 0.033), d_z = -0.12, 90 scans, 4 left out"
    )
    (row,) = pd.DataFrame([facts | {"n_dropped": 0, "n_incomplete": 2, "p_wilcoxon": np.nan}]).itertuples()
    assert tables.effect(row).endswith("(Wilcoxon p undefined), d_z = -0.12, 90 scans, 2 over fewer seeds")


def test_means_have_their_intervals_by_patient_and_every_metric():
    numbers = summary.table1(scores(), dict.fromkeys(VARIANTS, Pair(0.3, 100)))
    text = tables.means(summary.beside_paper(numbers))
    assert text["source"].tolist() == ["this run"] * 4, "the paper prints no interval"
    row = numbers.iloc[1]
    mean, low, high = (f"{100 * row[f'dsc_{part}']:.1f}" for part in ("mean", "low", "high"))
    assert text.loc[1, ["method", "DSC (%)"]].tolist() == ["Single + RT", f"{mean} ({low} to {high})"]
    assert text.loc[1, "HD (mm)"].startswith(f"{row['hd_mm_mean']:.1f} (") and "HD (voxels)" not in text


def test_levels_have_a_row_a_variant_and_a_column_a_metric_in_their_order():
    means = summary.variant_means(scores(), ["hd_mm", "dsc"], 1, "levels")
    text = tables.levels(means)
    assert [*text.columns] == ["HD (mm)", "DSC (%)"] and [*text.index] == [*dict.fromkeys(means["variant"])]
    row = means[(means["variant"] == "rt") & (means["metric"] == "dsc")].iloc[0]
    mean, low, high = (f"{100 * row[part]:.1f}" for part in ("mean", "low", "high"))
    assert text.loc["rt", "DSC (%)"] == f"{mean} ({low} to {high})"
    assert tables.levels(means.assign(low=np.nan)).loc["rt", "DSC (%)"] == f"{mean} (– to {high})"


def test_a_further_metric_stands_among_the_means_and_not_in_the_papers_table(monkeypatch):
    monkeypatch.setitem(METRICS, "nsd", Metric("NSD", "%", "points", 100, compared=False))
    numbers = summary.table1(scores().assign(nsd=0.25), dict.fromkeys(VARIANTS, Pair(0.3, 100)))
    assert tables.means(numbers)["NSD (%)"].tolist() == ["25.0 (25.0 to 25.0)"] * 4
    assert "NSD (%)" not in tables.table1(numbers)


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
    row |= {"high": 0.002, "d_z": -0.15, "p": 0.373, "p_holm": 1.0, "p_wilcoxon": 0.0412, "n": 38}
    (told,) = tables.changes(pd.DataFrame([row])).to_dict("records")
    assert told["of"] == "dropout at prediction, RT + SM + UF" and told["to"] == "20 %"
    assert (told["DSC (%)"], told["HD (mm)"], told["DSC points"]) == ("56.1", "–", "-1.0")
    assert (told["95 % interval"], told["p"], told["p (Holm)"]) == ("-3.3 to +0.2", "0.373", "1.000")
    assert (told["Wilcoxon"], told["patients"]) == ("0.041", 38)


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
