"""The README and docs/findings.md say what the committed tables say, and so does the overview."""

import dataclasses
import json
import re

import gpu_day
import numpy as np
import pandas as pd
import pytest

from strokelib import voxelwise
from strokelib.evaluation import (
    beyond,
    budget,
    calibration,
    chain,
    factors,
    information,
    learning_curve,
    sentences,
    stats,
    tables,
)
from strokelib.evaluation.conformal import load_interval
from strokelib.evaluation.symmetry import ONCE
from strokelib.own.scan import DISCLAIMER
from strokelib.own.segment import INTERVALS, MODES
from strokelib.phantom.patient import KNOBS
from strokelib.phantom.scan import plan_cohort
from strokelib.run import stages
from strokelib.run.provenance import sha256
from strokelib.run.runtime import ROOT, rng
from strokelib.run.settings import load_settings
from strokelib.run.variants import ASKED
from strokelib.vocabulary import LOSSES, METRICS, NAMES

README = (ROOT / "README.md").read_text()
FLAT = " ".join(README.split())  # sentences are broken into lines there
FINDINGS = {
    part.partition("\n")[0]: " ".join(part.split())
    for part in (ROOT / "docs" / "findings.md").read_text().split("\n## ")[1:]
}  # by question
RUNS = ("study", "study_1500", "study_1500_inputs", "study_750")
TWICE = ("learning_curve_metrics", "learning_curve_metrics_elsewhere")  # in bf16, and on a processor without it
STUDY, SHORT, INPUTS, BRIEF = (ROOT / "figures" / name for name in RUNS)


def kept(name: str, folder=STUDY):
    """Read a table of the study; None where the run it is of has not been made."""
    path = folder / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else None


def millimeters_of(row) -> str:
    """Write a difference of HD with its interval: "-5.6 mm (-10.1 to -1.7)"."""
    return f"{row.mean_difference:+.1f} mm ({row.low:+.1f} to {row.high:+.1f})"


def points_of(row) -> str:
    """Write a difference of DSC with its interval as the README does: "+1.3 (-0.5 to +3.4)"."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in (row.mean_difference, row.low, row.high)))


def headline():
    table1, claims, seeds, table2, vote = map(kept, ("table1", "tests_of_significance", "seeds", "table2", "vote"))
    if seeds is None:
        ours = table1[table1["source"] == "this run, nested"].set_index("variant")["dsc_mean"]
        seeds = pd.DataFrame([{"name": "rt_sm over rt", "metric": "dsc", "value": ours["rt_sm"] - ours["rt"]}])
    return sentences.headline(table1, claims, seeds, table2, vote)


def test_the_readme_repeats_table_1_of_the_study():
    """With the paper's way of choosing pairs, the DSC with nested ones, and its interval by patient."""
    raw = kept("table1")
    table = tables.table1(raw).set_index(["method", "source"])
    nested, paper = (table.xs(source, level="source")["DSC (%)"] for source in ("this run, nested", "paper"))
    intervals = 100 * raw[raw["source"] == "this run, nested"].set_index("variant")[["dsc_low", "dsc_high"]]
    for _, row in raw[raw["source"].eq("this run") | raw["variant"].eq("conventional_tuned")].iterrows():
        name = NAMES[row["variant"]]
        told = table.loc[name, row["source"]]
        numbers = [told[c] for c in ("DSC (%)", "PPV (%)", "sensitivity (%)", "HD (voxels)", "R²")]
        found = intervals.loc[row["variant"]] if row["variant"] in intervals.index else None
        by_patient = "–" if found is None else f"{nested[name].split()[0]} ({found.iloc[0]:.1f} to {found.iloc[1]:.1f})"
        own = [numbers[0], by_patient] if row["source"] == "this run" else ["–", by_patient]
        assert f"| {name} | {' | '.join([*own, *numbers[1:], paper.get(name, '–')])} |" in README
    assert raw["source"].eq("this run").sum() == 5 and len(paper) == 4


def test_the_overview_says_the_headline():
    book = json.loads((ROOT / "notebooks" / "00_overview.ipynb").read_text())
    shown = [output.get("data", {}) for cell in book["cells"] for output in cell.get("outputs", [])]
    overview = " ".join("".join(data.get("text/markdown", "")) for data in shown)
    for sentence in headline():
        assert sentence in overview


def test_the_readme_is_short_and_narrow():
    lines = README.splitlines()
    assert len(lines) <= 156  # a line for each question that was asked besides
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))] == []


def test_the_short_answers_say_no_number_that_the_long_ones_do_not():
    lines = README.partition("| asked | answer | notebook |\n|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    asked = [line.strip("| ").split(" | ") for line in lines]
    assert [question for question, _, _ in asked] == [*FINDINGS]
    numbers = re.compile(r"[-+]?\d[\d.,]*\d|[-+]?\d")
    for question, answer, links in asked:
        assert {*numbers.findall(answer)} <= {*numbers.findall(FINDINGS[question])}, question
        assert {*re.findall(r"\((.+?)\)", links)} == {*re.findall(r"\(\.\./(.+?)\)", FINDINGS[question])}, question
        assert ("inconclusive" in answer) <= ("inconclusive" in FINDINGS[question]), question


def test_the_readme_tells_how_long_the_demo_took():
    run = json.loads((ROOT / "figures" / "demo" / "run.json").read_text())["manifest"]
    assert run["cpus"] == 2 and f"no GPU and took {run['seconds'] / 60:.0f} minutes on two cores; it ends" in FLAT


def test_the_readme_tells_what_a_gpu_does_as_measured():
    read = {name: pd.read_csv(ROOT / "figures" / "gpu" / f"{name}.csv") for name in ("check", "speed", "dsc", "plan")}
    check, speed = read["check"].set_index("check"), read["speed"].set_index(["way", "folds"])["patches_per_s"]
    assert check["passed"].all() and "all checks pass" in FLAT
    further = " ".join((ROOT / "profiles" / "slurm" / "README.md").read_text(encoding="utf-8").split())
    step = "gradient of one step, {}, recorded, compiled"
    errors = [f"{check.loc[step.format(precision), 'found']:.1e}" for precision in ("float32", "bf16")]
    assert f"within {errors[0]} of that in float64, in bf16 within {errors[1]}" in further
    own = load_settings("isles2018").compute
    assert (own.precision, own.compile, own.folds_at_once) == ("float32", True, 1)
    ways = [("float32, recorded, compiled", 1), ("float32, kernel by kernel", 1), ("bf16, recorded, compiled", 5)]
    one, slowest, together = (f"{speed[way]:,.0f}" for way in ways)
    assert f"Kernel by kernel it is {slowest}" in further
    assert f"trains {one} patches a second, five in bf16 together {together};" in FLAT
    assert all({*table["cohort"]} == {"synthetic cohort"} for table in read.values())
    assert "On one H100, on the synthetic cohort" in FLAT
    dsc = read["dsc"].set_index("precision")
    updates = {f"after {n:,} updates" for n in dsc["updates"]}
    assert len(updates) == 1 and f"{updates.pop()} the mean DSC of bf16" in FLAT
    assert f"is {dsc.loc['bf16', 'from_float32'].iloc[0]:+.3f} from float32's" in FLAT
    plan = read["plan"].set_index("measured")["value"]
    (scan,) = plan[plan.index.str.contains("8 slices.*passes 3")]
    assert f"with three passes takes {scan:.2f} s" in FLAT
    cohort = plan_cohort(load_settings("phantom").cohort)
    scans = sum(scan.slices for scan in cohort if scan.split == "TRAINING") / 8
    reckoned = gpu_day.minutes_of_table1([*plan.iloc[:2]], [*plan.iloc[2:4]], scans, 5)
    assert plan["minutes of Table 1 at 20 epochs, extrapolated"] == pytest.approx(reckoned, rel=1e-5)
    minutes = f"{reckoned:.0f} minutes"
    assert f"Table 1 at 20 epochs, five folds together in bf16, {minutes}" in FLAT


def test_the_readme_tells_differences_as_the_tables_do():
    table = stats.told(kept("tests_of_significance")).query("unit == 'scan'")
    claims = table.set_index(["new", "old", "metric"]).sort_index()
    rt, filtered = claims.loc[("rt", "baseline", "dsc")], claims.loc[("rt_sm_uf", "rt_sm")]
    points = [f"{100 * value:+.1f}" for value in (rt["mean_difference"], rt["low"], rt["high"])]
    assert f"{points[0]} DSC points, 95 % by scan {points[1]} to {points[2]}" in FLAT
    own = kept("table1").query("source == 'this run, nested'").set_index("variant")["dsc_mean"]
    assert f"add {100 * (own['rt_sm'] - own['rt']):+.1f} DSC points" in FLAT
    shown = kept("table1").query("source == 'this run' or variant == 'conventional_tuned'").set_index("variant")
    without = shown["hd_mm_undefined"].astype(int)
    assert without[without > 0].index.tolist() == ["conventional", "conventional_tuned", "rt"]
    undefined = without[without > 0]
    told = "PPV and HD leave out scans in which nothing is found: {} by the rule, {} by it tuned, {} by RT."
    assert told.format(*undefined) in FLAT
    for metric in ("ppv", "sensitivity"):
        ours, theirs = 100 * claims.loc[("rt_sm", "rt", metric), ["mean_difference", "paper_difference"]]
        assert f"{ours:+.1f} of {METRICS[metric].name} (paper: {theirs:+.1f})" in FLAT
    pair = [f"{100 * filtered.loc['sensitivity', name]:+.1f}" for name in ("mean_difference", "paper_difference")]
    assert f"lowers sensitivity ({pair[0]} points; paper: {pair[1]})" in FLAT
    hd = filtered.loc["hd_voxels"]
    assert f"({hd['mean_difference']:+.2f} voxels, {tables.p_both(hd)})" in FLAT
    answer = FINDINGS["Do the paper's claims hold?"]
    assert f"the paper's nine claims {sentences.verdicts(table)}" in answer
    strictly = stats.told(kept("tests_of_significance")).query("unit == 'patient'")["verdict_holm"].value_counts()
    counts = [strictly[verdict] for verdict in ("holds", "opposite", "smaller", "inconclusive")]
    assert "after Holm's correction {}, {}, {} and {}.".format(*counts) in answer and sum(counts) == 9
    told = "*Smaller* is not told from 0, but told to be below half of the paper's difference, on either side of 0"
    assert (table["share"] == 0.5).all() and told in answer
    least = filtered.loc["sensitivity"]
    assert (least["verdict"], least["verdict_holm"]) == ("holds", "holds") and least["p_smaller"] < 0.001
    assert f"UF's sensitivity, {pair[0]} points in place of {pair[1]}." in answer


def test_the_findings_tell_what_the_raw_series_adds():
    answer = FINDINGS["What do raw series still know?"]
    areas, steps = kept("raw_series_areas").set_index("map"), kept("raw_series_steps").query("metric == 'dsc'")
    told = {name: [f"{area:.2f}" for area in (row.provided_auc, row.fitted_auc)] for name, row in areas.iterrows()}
    again = information.compare_aucs(kept("series_areas", STUDY / "behind"), 2018).set_index("map")
    assert np.allclose(again["gain"], areas["gain"].reindex(again.index), atol=1e-5)
    sides = {row.Index: stats.side(row) for row in again.itertuples()}
    assert sides == {"MTT": 1, "CBF": 1, "CBV": -1, "Tmax": 0}
    both = "MTT fitted to them tells the core better (area under the ROC curve {} as provided, {} fitted)"
    assert both.format(*told["MTT"]) in answer
    assert "and CBF ({}, {}), CBV worse ({}, {});".format(*told["CBF"], *told["CBV"]) in answer
    gains = steps.set_index("new")[["mean_difference", "low", "high"]]
    logistic, trees = gains.loc["logistic_both"], gains.loc["trees_both"]
    points = [f"{100 * value:+.1f}" for value in (*logistic, *trees)]
    told = "added to the provided maps the fitted ones bring {} points of DSC ({} to {}) by logistic regression and {} "
    told += "({} to {}) by boosted"
    assert told.format(*points) in answer
    assert all(row.low < 0 < row.high for row in (logistic, trees)) and "trees: inconclusive" in answer


def test_the_findings_climb_the_ladder():
    answer = FINDINGS["What does context add?"]
    means = {name: f"{100 * mean:.1f}" for name, mean in kept("ladder").set_index("variant")["dsc_mean"].items()}
    told = "logistic regression {logistic} %, boosted trees {trees} %, with mirrors {logistic_sm} and {trees_sm} %. "
    assert told.format(**means) in answer
    assert "The true flow under one threshold has {flow_one} %, the true core {core} %".format(**means) in answer
    steps = kept("ladder_steps").query("metric == 'dsc'").set_index(["new", "old"])[["mean_difference", "low", "high"]]
    plain, mirrored = (100 * steps.loc[pair] for pair in (("rt", "trees"), ("rt_sm", "trees_sm")))
    told = "adds {:+.1f} ({:+.1f} to {:+.1f}) to the trees, {:+.1f} ({:+.1f} to {:+.1f}) where both have mirrors"
    assert told.format(*plain, *mirrored) in answer
    assert f"means of {max(voxelwise.SMOOTHING_MM):g} mm around it" in answer


def test_the_findings_tell_what_mirrors_gain_by_symmetry():
    answer = FINDINGS["Do mirrors need symmetric heads?"]
    own = kept("symmetry", SHORT).query("metric == 'dsc' and registration == 'rigid' and new == 'logistic_sm'")
    still = own.query("misfit_mm == 0 and misfit_deg == 0").set_index("symmetry")
    ends = still.loc[[0.0, 1.0], ["mean_difference", "low", "high"]].to_numpy().flatten()
    told = "gains {} points ({} to {}) where no random anatomy is common to both sides, {} ({} to {}) where all is, "
    told += "both under one symmetric template; a slope of {} ({} to {}). With the midline 10 mm off it "
    off = own.query("misfit_mm == 10 and misfit_deg == 0")["mean_difference"]
    slope = kept("symmetry_slopes", SHORT).set_index(["metric", "new"]).loc[("dsc", "logistic_sm")]
    numbers = (*ends, *slope[["slope", "low", "high"]], off.min(), off.max())
    assert (told + "gains {} to {}. - The network,").format(*(f"{100 * value:+.1f}" for value in numbers)) in answer
    assert stats.side(slope) == 0 and slope["worlds"] == 6
    fell = kept("symmetry_slopes", SHORT).set_index(["metric", "new"]).loc[("sensitivity", "logistic_sm")]
    line = "{:+.1f} points ({:+.1f} to {:+.1f})".format(*(100 * fell[["slope", "low", "high"]]))
    assert f"the gain in sensitivity falls with symmetry, by {line}" in answer and stats.side(fell) == -1
    rows = kept("symmetry_metrics", BRIEF / "behind").query("registration == 'rigid' and misfit_mm == 0")
    levels = 100 * rows.groupby(["variant", "symmetry"])["dsc"].mean().loc[["rt", "rt_sm"]]
    told = "Without mirrors it has {:.1f}, {:.1f} and {:.1f} %, with them {:.1f}, {:.1f} and {:.1f} %."
    assert told.format(*levels) in answer
    own = kept("symmetry", BRIEF).query("metric == 'dsc' and registration == 'rigid' and new == 'rt_sm'")
    gains = [points_of(row) for row in own.sort_values("symmetry").itertuples()]
    told = "gains {} where nothing is common, {} where half is, {} at the cohort's 0.92: a slope of {}"
    slope = kept("symmetry_slopes", BRIEF).set_index(["metric", "new"]).loc[("dsc", "rt_sm")]
    line = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * slope[["slope", "low", "high"]]))
    assert f"{told.format(*gains, line)}, not told by one training each" in answer and slope["trainings"] == 1
    assert own["symmetry"].tolist() == [0.0, 0.5, 0.92] and stats.side(slope) == 1, "which other trainings may move"


def test_the_findings_tell_which_measure_of_uncertainty_serves():
    answer = FINDINGS["Which measure of uncertainty serves?"]
    scans = kept("uncertainty_detection", STUDY / "behind").query("zone == 'p > 0.05'")
    auc = scans.groupby("measure")["auc"].mean()
    assert auc.idxmax() == "doubt" and f"On {scans['case'].nunique()} testing scans" in answer
    told = "of the vote (area under the ROC curve {doubt:.3f}), before the spread of passes ({passes:.3f}), which UF "
    assert (told + "has, and that of networks ({networks:.3f})").format(**auc) in answer
    verdicts = kept("detection").query("zone == 'p > 0.05' and metric == 'auc'")["verdict"]
    assert verdicts.tolist() == ["doubt", "doubt", "passes"]
    areas = kept("selective").set_index("measure")
    assert areas["area"].idxmax() == "disagreement" and areas.loc["disagreement", "verdict"] == "inconclusive"
    assert "Which scans to hand over has its largest area by how the five disagree" in answer
    own, size, chance = areas.loc["disagreement", "area"], areas.loc["smallness", "area"], areas["chance"].iloc[0]
    told = f"mean DSC {100 * own:.1f} % over all shares kept (of the scans kept, averaged from all scans to "
    told += f"the surest one), by predicted volume alone {100 * size:.1f} %"
    over = [f"{100 * areas.loc['disagreement', name]:+.1f}" for name in ("over_reference", "over_low", "over_high")]
    assert len(areas) == 5, "four measures beside the volume"
    holm = f"{tables.p_text(areas.loc['disagreement', 'p_holm'])} after Holm's correction: inconclusive"
    corrected = f"({over[0]}, {over[1]} to {over[2]}; one of four measures, {holm})"
    assert f"{told} {corrected}, at random {100 * chance:.1f} %" in answer


def test_the_findings_tell_which_answer_to_imbalance_works():
    answer = FINDINGS["Which answer to imbalance works?"]
    scores = kept("imbalance_metrics", BRIEF / "behind")
    losses = kept("imbalance", BRIEF).query("metric == 'dsc'").set_index("variant")["loss"]
    pairs = [(name, "rt_sm") for name in losses.index if name != "rt_sm"]
    tests = stats.paired_tests(scores, "dsc", pairs, "patient", rng(2018, "imbalance", "dsc")).set_index("new")
    twins = [(name, f"{name}_unbalanced") for name in losses.index if f"{name}_unbalanced" in losses.index]
    twins.append(("rt_sm", "no_balance"))
    balance = stats.paired_tests(scores, "dsc", twins, "patient", rng(2018, "imbalance", "balance"))
    assert [stats.side(row) for row in (*tests.itertuples(), *balance.itertuples())] == [0] * 20
    told = "on balanced patches or on patches as they come (detectable: {:.1f} to {:.1f} points)"
    assert told.format(*(100 * tests["detectable"].agg(["min", "max"]))) in answer
    errors = kept("imbalance_calibration", BRIEF).set_index("variant")
    summed = kept("imbalance_volumes", BRIEF).query("group == 'all' and estimator == 'summed probability'")
    summed = summed.set_index("variant")
    for row in balance.itertuples():
        cells = ["0" if row.new == "rt_sm" else points_of(tests.loc[row.new]), points_of(tests.loc[row.old])]
        cells += [points_of(row), f"{errors.loc[row.new, 'calibration_error']:.3f}"]
        line = " | ".join([LOSSES[losses[row.new]], *cells, f"{summed.loc[row.new, 'bias_ml']:+.1f}"])
        assert f"| {line} |" in answer
    beyond = kept("imbalance_interaction", BRIEF).set_index("loss")
    assert {row.Index for row in beyond.itertuples() if stats.side(row)} == {"dice_cross_entropy"}
    assert f"they add {points_of(beyond.loc['dice_cross_entropy'])} to Dice + cross-entropy, which is told" in answer
    balanced = errors[errors["balanced"]]
    ends = [balanced["calibration_error"].idxmin(), balanced["calibration_error"].idxmax()]
    assert ends == ["loss_cross_entropy", "loss_weighted_cross_entropy"]
    for row in balanced.loc[ends].itertuples():
        assert f"({row.calibration_error:.3f}, {row.low:.3f} to {row.high:.3f})" in answer
    over = summed[summed["balanced"] & (summed["low_ml"] > 0)]
    assert {*over.index} == {"loss_weighted_cross_entropy", "loss_focal"}
    weighted, focal = (f"({row.low_ml:.1f} to {row.high_ml:.1f})" for row in over.sort_values("bias_ml").itertuples())
    assert f"above 0 under weighted classes {weighted} and focal {focal} alone" in answer
    sides = kept("imbalance", BRIEF).query("p_holm < 0.05").set_index(["metric", "variant"])
    sides = sides.drop(columns=["low", "high"]).rename(columns={"difference_low": "low", "difference_high": "high"})
    traded = [("ppv", "loss_weighted_cross_entropy"), ("ppv", "loss_focal"), ("sensitivity", "loss_gdl_unbalanced")]
    assert sides.index.tolist() == traded
    told = "PPV {} under weighted classes and {} under focal, both balanced, sensitivity {} under GDL 1/v as they come"
    assert told.format(*map(points_of, sides.itertuples())) in answer
    assert scores.groupby("variant")["threshold"].agg(["min", "max"]).isin([0.1, 0.9]).any(axis=None)


def test_the_findings_tell_what_other_cohorts_say():
    answer = FINDINGS["Is one cohort enough?"]
    each, whole = kept("cohorts_claims", BRIEF).query("metric == 'dsc'"), kept("cohorts", BRIEF).set_index("metric")
    dsc = whole.loc["dsc"]
    assert each["cohort_seed"].nunique() == dsc["cohorts"] == 5 and each["seed"].nunique() == dsc["trainings"] == 2
    least, most = (f"{100 * bound:+.1f}" for bound in (each["mean_difference"].min(), each["mean_difference"].max()))
    mean = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * dsc[name] for name in ("mean", "low", "high")))
    assert f"mirrors add {least} to {most} points; over the cohorts {mean}, which leaves out 0." in answer
    assert dsc["low"] > 0
    counts = each["verdict"].value_counts()
    told = f"Of the ten readers of one cohort and one training {counts['higher']} call it higher and "
    assert f"{told}{counts['inconclusive']} inconclusive;" in answer and counts.sum() == len(each) == 10
    flips = [f"{100 * dsc[f'flips_{name}']:.0f} %" for name in ("sign", "verdict")]
    told = f"cohorts {flips[0]} see other signs and {flips[1]} come to another verdict, none to the opposite one"
    assert told in answer and dsc["flips_opposite"] == 0
    parts = [f"{100 * dsc[f'sd_{name}']:.1f}" for name in ("cohort", "training", "patient", "rest")]
    told = "The fit has an SD of {} points for cohorts, {} for trainings, {} for patients and {} for what is left."
    assert told.format(*parts) in answer and (whole["p_cohort"] > 0.05).all()
    assert f"do not tell the first from none, nor the second (p = {dsc['p_training']:.2f});" in answer
    assert dsc["p_training"] > 0.05 and (whole.drop(index="dsc")["p_training"] < 0.05).all()
    assert "; of PPV, sensitivity and HD trainings are told." in answer
    widths = [f"±{100 * dsc[name]:.1f}" for name in ("usual", "honest")]
    told = f"interval, {widths[0]} points by patients alone, should be {widths[1]}, {dsc['ratio']:.1f} times as wide; "
    assert f"{told}{dsc['ratio_of_few']:.1f} for so few cohorts alone." in answer
    own = kept("symmetry", BRIEF).query("metric == 'dsc' and registration == 'rigid' and new == 'rt_sm'")
    (alike,) = [points_of(row) for row in own[own["symmetry"] == KNOBS["real"].symmetry].itertuples()]
    assert f"The study's own cohort, trained once at this budget (notebook 22), has {alike}." in answer
    facts = json.loads((BRIEF / "21_cohorts.manifest.json").read_text())["settings"]
    assert facts["sensitivity"] | {"updates": 750, "folds": 2} == facts["sensitivity"]


def test_the_findings_tell_what_more_scans_bring():
    answer = FINDINGS["Do more scans help?"]
    table, steps = (kept(name, SHORT) for name in ("learning_curve", "learning_curve_steps"))
    dsc = table.query("metric == 'dsc'").set_index("variant")
    own, slope = dsc.loc["rt_sm"].sort_values("scans"), steps.query("kind == 'slope' and variant == 'rt_sm'").iloc[0]
    levels = [f"{100 * row['mean']:.1f} % with {row.training_scans:.0f}" for _, row in own.iloc[[0, -1]].iterrows()]
    assert f"RT + SM has {levels[0]} and {levels[1]} training scans," in answer
    own_way, elsewhere = (learning_curve.steps(kept(name, SHORT / "behind"), 2018).iloc[-1] for name in TWICE)
    assert own_way["mean_difference"] == pytest.approx(slope["mean_difference"], abs=1e-4)
    assert learning_curve.verdict(slope) == "more scans help" and learning_curve.verdict(elsewhere) == ONCE
    names = ("mean_difference", "low", "high", "network_low", "network_high")
    here, there = ([f"{100 * row[name]:+.1f}" for name in names] for row in (slope, elsewhere))
    told = "{} points a doubling ({} to {} over patients, {} to {} over the networks)"
    assert told.format(*here) in answer and "Of four networks, one training each" in answer and len(own) == 4
    assert "gave {} ({} to {}, {} to {}): not told there".format(*there) in answer


def test_the_findings_tell_what_was_tried_beyond_the_paper():
    answer = FINDINGS["Do later changes help?"]
    runs = [kept("beyond", folder).query("metric == 'dsc' and cost.notna()") for folder in (SHORT, INPUTS)]
    tried = pd.concat(runs).sort_values("mean_difference")
    assert [len(run) for run in runs] == [5, 3] and tried["new"].is_unique and set(tried["old"]) == {"rt_sm"}
    assert (tried["mean_difference"] < 0.01).all() and "where +1 was wanted" in answer, "the margin named before"
    told = {name: [f"{100 * value:+.1f}" for value in own] for name, *own in
            tried[["new", "mean_difference", "low", "high"]].itertuples(index=False)}
    sides = {row.new: stats.side(row) for row in tried.itertuples()}
    assert {name: side for name, side in sides.items() if side} == {"scan_statistics": -1, "windowed": -1}
    best, windows, scan = (told[name] for name in (tried["new"].iloc[-1], "windowed", "scan_statistics"))
    said = "Of eight, at 1,500 updates, on two folds with pairs of the other one, which fit one of them badly, one "
    said += "training each, six are inconclusive, the best {} ({} to {})"
    assert said.format(*best) in answer
    harmful = "fixed windows before the z-scores {} ({} to {}) and batch normalization by the scan's own "
    harmful += "statistics {} ({} to {}) are lower"
    assert harmful.format(*windows, *scan) in answer


def test_the_findings_tell_what_all_candidates_add_at_750_updates():
    answer = FINDINGS["Do later changes help?"]
    every = kept("beyond", BRIEF).query("metric == 'dsc'").sort_values("mean_difference").set_index("new")
    assert {beyond.verdict(row) for row in every.itertuples()} == {"inconclusive"} and len(every) == 26
    changed = every[every["cost"].notna()]
    assert changed.index[-2:].tolist() == ["windowed", "adamw_3e-3"] and changed.index[:2].tolist() == [
        "scan_statistics", "patch_96"]  # fmt: skip
    adamw, windows, patches, scan, again, after, three, whole = (
        points_of(every.loc[name]) for name in ("adamw_3e-3", "windowed", "patch_96", "scan_statistics", "again_1",
                                                "again_2", "vote_again", "vote"))  # fmt: skip
    told = f"Of {len(changed)} at 750 updates, on two folds, in bf16, one training each, pairs by patient, none is told"
    told += f" to add or to cost: AdamW at a constant rate {adamw}, fixed windows {windows}, by the third decimal"
    told += " short of the rule below, all others less than +1;"
    assert told in answer and changed["mean_difference"].iloc[-3] < 0.0095 < changed["mean_difference"].iloc[-2] < 0.01
    assert f"patches of 96 voxels {patches} and normalization by the scan {scan}, inconclusive" in answer
    assert "over 26." in answer and f"from the next two seeds, differs by {again} and {after}," in answer
    chance = every.loc[["again_1", "again_2"], "mean_difference"].abs().max()
    assert (changed["mean_difference"].abs() < chance).sum() >= len(changed) - 7
    p = tables.p_value(every.loc["vote_again", "p_holm"])
    told = f"voting, at three times the cost, {three}, inconclusive after Holm's correction (p = {float(p):.2f});"
    assert told in answer
    scores = kept("beyond_metrics", BRIEF / "behind")
    assert f"all {scores['variant'].nunique() - 2} maps voting {whole}." in answer, "and two votes"
    costs = changed["cost"].to_dict()
    kept_on = beyond.survivors(kept("beyond", BRIEF), costs)
    assert kept_on == ["adamw_3e-3"] == [*load_settings("study_750").further.chain]
    assert "one change goes on at 750 updates, AdamW at a constant rate, and none at 1,500." in answer
    readme = f"Of {len(changed)} at 750 updates none is told, the best {adamw}, where another seed alone gives "
    readme += f"{again.split(' ')[0]} and {after.split(' ')[0]}; "
    assert readme in README


def test_the_findings_tell_how_the_chain_was_put_to_the_test():
    answer = FINDINGS["Do later changes help?"]
    step, whole = kept("chain_steps", BRIEF).query("metric == 'dsc'").itertuples()
    assert (step.new, step.old, whole.old) == ("beyond", "rt_sm", "rt_sm_uf") and stats.side(step) == 0
    assert f"it is {points_of(step)} from RT + SM." in answer
    told = kept("confirmed", BRIEF).query("training == 'all'").set_index("metric", drop=False)
    dsc, hd, bias = (told.loc[name] for name in ("dsc", "hd_mm", chain.BIAS_SIZE))
    scores = kept("chain_metrics", BRIEF / "behind")
    facts = json.loads((BRIEF / "27_chain.manifest.json").read_text())["settings"]
    assert (bias["n"], dsc["n"], scores["fold"].nunique()) == (94, 63, 5) and facts["training"]["max_updates"] == 750
    assert facts["further"]["confirming_seed"] == 2201 and len(facts["further"]["confirming_training_seeds"]) == 3
    p = float(tables.p_value(dsc["p_claim_holm"]))
    assert f"is {points_of(dsc)} from RT + SM + UF, p = {p:.2f} after Holm's correction." in answer
    assert chain.goal(dsc).startswith(chain.MISSED) and "The goal, +8, is not reached: the whole interval" in answer
    assert chain.held(hd) == "not confirmed, nothing is outlined in one scan more"
    assert f"not confirmed, {millimeters_of(hd)}, since nothing is outlined in one scan more" in answer
    assert chain.held(bias) == "not confirmed, the opposite is seen"
    larger = f"{bias['mean_difference']:+.1f} mL ({bias['low']:+.1f} to {bias['high']:+.1f})"
    assert f"The bias of the volume is not smaller but larger, {larger}" in answer
    votes = kept("confirmed_votes", BRIEF).set_index(["metric", "new", "old"])
    ours, new = (votes.loc["dsc", f"{row}{chain.VOTING}", row] for row in ("rt_sm_uf", "beyond"))
    distance = votes.loc["hd_mm", f"rt_sm_uf{chain.VOTING}", "rt_sm_uf"]
    assert [stats.side(row) for row in (ours, new, distance)] == [1, 1, -1]
    voting = f"RT + SM + UF {points_of(ours)} to its single trainings, HD {millimeters_of(distance)}; the row with"
    assert f"{voting} AdamW {points_of(new)} to its own." in answer
    shown = (BRIEF / "27_chain.ipynb").read_text(encoding="utf-8")
    printed = re.findall(r"Single \+ RT \+ SM \+ UF ([\d.]+) %; .*?one threshold ([\d.]+) %; .*? ([\d.]+) %; true core "
                         r"([\d.]+) %", shown)  # fmt: skip
    room = "RT + SM + UF has a mean DSC of {} %, the true flow under one threshold {} %, under each scan's best {} %,"
    assert f"{room.format(*printed[0])} the true core {printed[0][3]} %." in answer
    readme = f"that best one is {points_of(dsc)}, three trainings voting {points_of(ours)} |"
    assert readme in README


def test_the_findings_tell_what_the_other_finalists_reach():
    answer = FINDINGS["Would the other finalists' ideas do more?"]
    own = kept("finalists_tests", BRIEF).query("metric == 'dsc'").set_index(["old", "new"])
    names = ["liu", "hu", "chen", "song"]
    sides = {row: [stats.side(each) for each in own.loc[row, :].itertuples()] for row in ("rt", "rt_sm")}
    assert sides == {"rt": [0, 0, 0, 0], "rt_sm": [-1, -1, -1, 0]} and own.loc["rt"].index.tolist() == names
    words = "against RT all are inconclusive, Liu's weighted classes {}, Hu's two networks on difficult voxels {}, "
    words += "Chen's encoder a modality {}, Song's raw series at several scales {};"
    assert words.format(*map(points_of, own.loc["rt"].itertuples())) in answer
    liu, hu, chen, song = map(points_of, own.loc["rt_sm"].itertuples())
    told = f"against RT + SM, which has mirrors, all are lower: Liu {liu}, Hu {hu}, Chen {chen}, Song {song}, the last"
    assert f"{told} inconclusive after Holm's correction." in answer
    others = kept("finalists_tests", BRIEF).query("metric != 'dsc'").set_index(["metric", "new", "old"])
    surer = {index: row.mean_difference for index, row in others.iterrows() if stats.side(row)}
    asked = [("sensitivity", "liu"), ("sensitivity", "hu"), ("ppv", "song"), ("hd_mm", "hu")]
    assert {*surer} == {("ppv", "liu", "rt"), *((*pair, "rt_sm") for pair in asked)}
    assert f"PPV is told to be higher for Liu, {100 * surer['ppv', 'liu', 'rt']:+.1f};" in answer
    liu, hu, song, distance = (METRICS[pair[0]].scale * surer[*pair, "rt_sm"] for pair in asked)
    told = f"the sensitivity of Liu, {liu:+.1f}, and of Hu, {hu:+.1f}, the PPV of Song, {song:+.1f}, and the HD of Hu, "
    assert f"{told}{distance:+.1f} mm." in answer
    facts = json.loads((BRIEF / "26_finalists.manifest.json").read_text())["settings"]
    assert facts["training"]["max_updates"] == 750 and facts["sensitivity"]["folds"] == 2
    assert facts["further"]["finalists"] == names


def test_the_findings_tell_what_the_papers_remarks_come_to():
    answer = FINDINGS["Do remarks in passing hold?"]
    own = kept("remarks_tests", BRIEF).query("metric == 'dsc'").set_index("new")
    told = [row.Index for row in own.itertuples() if stats.side(row)]
    assert told == ["adadelta_1e1", "sgd_1e-1"] and (own.loc[told, "mean_difference"] < 0).all()
    trained = own[own["old"] == "rt_sm"]
    least, most = (100 * bound for bound in (trained["detectable"].min(), trained["detectable"].max()))
    told = f"on two folds, one training each, in bf16, 2 of {len(trained)} changes are told from the paper's way"
    rates = (points_of(row).split(" ", 1) for row in own.loc[["adadelta_1e1", "sgd_1e-1"]].itertuples())
    rates = " and that of SGD, ".join(" ".join(both) + "," for both in rates)
    ends = f"(detectable: {least:.1f} to {most:.1f} points), both a rate ten times as high: Adadelta's, {rates} which"
    assert f"At 750 updates, {told} {ends} diverged in one of the two folds" in answer
    scores = kept("remarks_metrics", BRIEF / "behind")
    silent = scores[scores["variant"] == "sgd_1e-1"].groupby("fold")["volume_ml"].max() == 0
    assert silent.tolist() == [False, True] and "finds nothing there" in answer
    for row in trained.itertuples():
        assert f"| {row.words} | {points_of(row)} |" in answer
    places = own[own["old"] == "rt_sm_uf"]
    assert len(trained) + len(places) == len(own) and len(places) == 2
    reach = 100 * places[["low", "high"]].abs().max(axis=None)
    assert f"Where dropout lies in UF moves the mean DSC by at most {reach:.1f} points" in answer
    found = kept("remarks", BRIEF).set_index("remark")
    cost, verdict = found.loc["uncertainty filtering triples the network's time", ["measured", "verdict"]]
    assert verdict == "smaller" and f"UF's three {re.search('passes cost [0-9.]+ times one', cost)[0]}" in answer
    said = found.loc[["uncertainty filtering worsens some", "uncertainty filtering adds outliers to some"], "verdict"]
    assert said.tolist() == ["holds", "inconclusive"]
    assert found.loc["a decoder of half the size does no harm", "verdict"] == "holds"
    assert "0 of 94 scans worse in HD by more than 5 mm" in found.loc[said.index[1], "measured"]
    assert "adds outliers to some is inconclusive: the HD of none of 94 grows by more than 5 mm." in answer
    rates = {"Adadelta": ["adadelta_1e-1", "adadelta_1e1"], "AdamW": [f"adamw_1e-{n}" for n in (4, 3, 2)]}
    rates["SGD"] = [f"sgd_1e-{n}" for n in (3, 2, 1)]
    count = {name: sum(not stats.side(row) for row in own.loc[each].itertuples()) for name, each in rates.items()}
    assert count == {"Adadelta": 1, "AdamW": 3, "SGD": 2}, "and Adadelta's own"
    assert "Of the other rates, Adadelta's 0.1, all three of AdamW's and two of SGD's three are not told from" in answer
    assert found.loc["R² rises with every step", "verdict"] == "inconclusive"
    worse = found.loc[found.index.str.contains("worsen"), "measured"]
    mirrors, filtering = worse.str.extract(r"(\d+ of 94) scans worse")[0]
    told = f"RT + SM is worse than RT by more than a point on {mirrors} scans, and UF makes {filtering} worse:"
    assert told in answer


def test_the_findings_tell_what_folds_leak():
    answer = FINDINGS["What do folds leak?"]
    own = kept("leakage", SHORT).query("metric == 'dsc' and unit == 'patient' and group == 'all patients'")
    by = own.set_index("new").loc[["rt_sm_by_slice", "rt_sm_by_scan"]]
    assert [stats.side(row) for row in by.itertuples()] == [1, 0]
    told = 100 * by[["mean_difference", "low", "high"]]
    slices, scans = ([f"{value:+.1f}" for value in row] for row in told.to_numpy())
    over = "over folds by patient, both shuffled"
    assert f"folds by slice flatter by {slices[0]} points ({slices[1]} to {slices[2]}) {over}" in answer
    scores = kept("leakage_metrics", SHORT / "behind")
    pair = [("rt_sm_by_slice", "rt_sm_at_1500")]
    (unshuffled,) = stats.paired_tests(scores, "dsc", pair, "patient", rng(2018, "leakage")).itertuples()
    told = f"Against the study's own folds by patient, not shuffled, those by slice have {points_of(unshuffled)}:"
    assert f"{told} inconclusive as a fourth comparison." in answer
    assert stats.holm([unshuffled.p, *own["p"]])[0] > 0.05 and len(own) == 3
    assert f"those by scan by {scans[0]} ({scans[1]} to {scans[2]}): inconclusive" in answer
    control = kept("leakage", SHORT).query("new == 'rt_sm_by_scan' and unit == 'patient' and group == 'with one scan'")
    dsc, sensitivity = (points_of(control.set_index("metric").loc[metric]) for metric in ("dsc", "sensitivity"))
    assert f"whom folds by scan cannot leak: DSC differs by {dsc}, sensitivity by {sensitivity}." in answer


def test_the_findings_tell_what_carries_rt():
    answer = FINDINGS["What carries RT?"]
    own = kept("rt_apart", SHORT).query("metric == 'dsc' and unit == 'patient'")
    assert factors.carriers(own) == [] and "no part of it is told to add DSC at both ends" in answer
    claim = kept("tests_of_significance").query("new == 'rt' and metric == 'dsc' and choice == 'nested'")
    assert (claim["mean_difference"] < 0).all() and "in the study RT is no better than the baseline" in answer
    means = own[own["end"] == "mean"].set_index("part")
    (told,) = [part for part, row in means.iterrows() if stats.side(row)]
    points = [f"{100 * means.loc[told, name]:+.1f}" for name in ("mean_difference", "low", "high")]
    assert told == "patch_size" and f"Side 64 for 48 costs points, {points[0]} ({points[1]} to {points[2]})" in answer
    ends = own[(own["part"] == told) & own["end"].isin(["baseline", "rt"])]
    assert [stats.side(row) for row in ends.itertuples()] == [0, 0]
    assert "as the mean of both ends, told at neither alone" in answer
    shown = (SHORT / "12_rt_apart.ipynb").read_text()
    (same,) = re.findall(r"side 64 +stopping on L1 \+ error rate +as the mean of both ends +(\S+) points", shown)
    assert f"but {same} where all cells stop on L1 + error rate" in answer


def test_the_readme_tells_of_other_seeds_and_changes_what_has_been_run():
    """A part of the study that is not kept is said to be missing, and one that is there is not."""
    assert ("one training seed" in FLAT) == (kept("seeds") is None)
    missing = FLAT.partition("Not run yet:")[2].partition(".")[0]
    for name in ASKED.values():
        table = "selective" if name == "uncertainty" else name
        made = any(kept(table, folder) is not None for folder in (STUDY, SHORT, BRIEF))
        assert (f"`make {name.replace('_', '-')}`" in missing) != made, name
    if (changes := kept("sensitivity")) is not None:
        assert f"{len(changes)} changes of one thing each, none of which differs" in FLAT
        assert (changes["p_holm"] >= 0.05).all()
    if (seeds := kept("seeds")) is not None:
        averaged = kept("seeds_averaged").query("unit == 'scan' and pair == 'rt_sm over rt'").set_index("metric")
        points = [f"{100 * averaged.loc['dsc', name]:+.1f}" for name in ("mean_difference", "low", "high")]
        assert points[0] in FLAT and f"95 % interval {points[1]} to {points[2]}" in FLAT
        for _, gains in seeds.query("name == 'rt_sm over rt' and metric in ['dsc', 'ppv']").groupby("metric")["value"]:
            one, two, three = (f"{100 * value:+.1f}" for value in gains)
            assert f"({one}, {two} and {three}" in FLAT


def test_the_findings_tell_what_trust_and_testing_scans_say():
    answer = FINDINGS["Do the scores flatter?"]
    table2, vote = kept("table2"), kept("vote").query("unit == 'scan'").iloc[0]
    own = table2[table2["rank"].isna()].iloc[0]
    assert f"where the five networks together reach {100 * own['dsc_mean']:.1f}" in answer
    assert f"{100 * vote['mean_difference']:+.1f} points from" in answer
    optimism = kept("optimism")
    (stopping,) = optimism[optimism["step"].str.startswith("stopping")].itertuples()
    points = [f"{100 * value:+.1f}" for value in (stopping.mean_difference, stopping.low, stopping.high)]
    assert f"is worth {points[0]} points (95 % interval {points[1]} to {points[2]}) over stopping" in answer
    (testing,) = optimism[optimism["step"] == "all but the pair"].itertuples()
    levels = [f"{100 * mean:.1f} %" for mean in (testing.flattered_mean, testing.fair_mean)]
    points = [100 * value for value in (testing.mean_difference, testing.low, testing.high)]
    apart = "{:+.1f}, {:+.1f} to {:+.1f}".format(*points)
    assert f"Single networks with UF have {levels[0]} nested and {levels[1]} on {testing.fair_scans} testing" in answer
    assert not testing.paired and testing.fair_scans == own["n"]
    assert f"{testing.fair_scans} testing scans (other patients: {apart})" in answer
    assert abs(optimism["mean_difference"].iloc[:2]).max() < 0.0025 and "next to nothing away" in answer


def test_the_findings_tell_what_longer_training_brings():
    """Of the study's predictions, as notebook 10 of the demo prints them."""
    answer = FINDINGS["Would longer training help?"]
    settings = load_settings("study")
    found = budget.at_half(kept("predictions", STUDY / "behind"), budget.points_of(settings), rng(2018, "at half"))
    whole = found[found["new"].isin(["rt", "rt_sm"]) & found["old"].str.endswith("_at_750")]
    rt, mirrored = ([f"{100 * value:+.1f}" for value in (r.mean_difference, r.low, r.high)] for r in whole.itertuples())
    told = "from 750 to 6,000 updates, at one threshold for all, 0.5, RT {} points ({} to {}), RT + SM {} ({} to {})"
    assert told.format(*rt, *mirrored) in answer and "Not told: from" in answer
    assert ((whole["low"] < 0) & (whole["high"] > 0)).all() and settings.seed == 2018


def test_the_readme_tells_how_often_the_volume_interval_held():
    """Of the mode that `make segment` takes unless told otherwise, on scans that no network was made or chosen on."""
    interval = load_interval(ROOT / "networks" / INTERVALS, MODES[0])
    seen = interval.coverage
    assert f"the {interval.level:.0%}".replace("%", " %") + " interval of the core's volume held" in FLAT
    assert f"held {seen.held} of {seen.scans} synthetic scans" in FLAT
    assert f"({100 * seen.share:.0f} % by patient; the other {seen.above} cores were larger)" in FLAT and not seen.below
    assert f"half of these intervals are wider than {seen.median_width_ml:.0f} mL" in FLAT
    assert DISCLAIMER in FLAT


def test_the_readme_lists_every_notebook_once():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert README.count(f"| [{path.stem}](notebooks/{path.name}) |") == 1, path.stem


def test_the_readme_counts_what_is_like_real_scans():
    words = calibration.in_words(pd.read_csv(STUDY / "behind" / "calibration.csv"), "synthetic cohort")[0]
    count, inside = re.match(r"Of (\d+) figures of real scans .*?, (\d+) come out inside", words).groups()
    assert f"{inside} of {count} come out inside their range" in FLAT


def test_the_readme_tells_the_time_of_the_study():
    run, histories = json.loads((STUDY / "run.json").read_text()), pd.read_csv(STUDY / "behind" / "histories.csv")
    done = histories.groupby(["variant", "fold", "network"])["updates"].max()
    assert f"{done.sum():,} updates" in FLAT and run["manifest"]["cpus"] == 2
    assert f"took {run['hours_from_first_to_last']:.1f} hours on two cores" in FLAT
    assert f"({run['hours_reckoned']:.1f} had been reckoned)" in FLAT


def test_the_findings_count_the_claims_of_the_demo():
    table = pd.read_csv(ROOT / "figures" / "demo" / "tests_of_significance.csv").query("unit == 'scan'")
    claims = stats.told(table)
    answer = FINDINGS["Do the paper's claims hold?"]
    assert len(claims) == 9 and f"significance {sentences.verdicts(claims)}: one short" in answer


def test_the_demo_meets_what_the_project_promises_of_it():
    """Mean validation DSC of the mirrored variant at least 0.40, and above the conventional rule."""
    table = pd.read_csv(ROOT / "figures" / "demo" / "table1.csv")
    ours = table[table["source"] != "paper"]
    dsc = ours[ours["source"] == "this run"].set_index("variant")["dsc_mean"]
    assert dsc["rt_sm"] >= 0.40 and dsc["rt_sm"] > dsc["conventional"]
    assert ours["cohort"].str.contains("synthetic cohort").all()


def test_the_readme_tells_the_budget_of_the_study():
    settings = load_settings("study")
    training, listed = settings.training, round(94 * 4 / 5) * settings.sampling.patches_per_case
    patches = training.max_updates * training.batch_size
    assert f"up to {training.max_updates:,} updates a row and fold, {patches:,} patches or" in FLAT
    assert f"{patches / listed:.2f} epochs of the paper" in FLAT


def test_the_kept_study_was_made_with_these_settings():
    settings = stages.flat(dataclasses.asdict(load_settings("study")))
    found = [json.loads(path.read_text()) for path in sorted(STUDY.glob("[0-9][0-9]_*.manifest.json"))]
    assert {"06_ablations", "07_leaderboard_submission", "10_trust"} <= {facts["notebook"] for facts in found}
    later = {*ASKED, "13_ladder"}  # made when asked for, or added since; the rest is of one run
    assert len({facts["digest"] for facts in found if facts["notebook"] not in later}) == 1
    run = json.loads((STUDY / "run.json").read_text())
    assert run["hours_of_notebooks"] > run["hours_from_first_to_last"] > 1
    for facts in found:
        check_settings(facts, settings)


def check_settings(facts, settings):
    """Keys that came later decide nothing of what was made before, nor does what other notebooks are to try."""
    own = stages.STAGES[facts["notebook"]].depends
    told = stages.flat(facts["settings"])
    others = ("further.", "sensitivity.apart_folds")
    told = {key: value for key, value in told.items() if key in own or not key.startswith(others)}
    now = json.loads(json.dumps({key: settings[key] for key in told}))
    if (seeds := "further.training_seeds") in told:  # a second training adds to what the first has shown
        now[seeds] = now[seeds][: len(told[seeds])]
    assert now == told


@pytest.mark.parametrize("folder", [SHORT, INPUTS, BRIEF], ids=lambda folder: folder.name)
def test_what_is_kept_of_a_shorter_study_was_made_with_its_settings(folder):
    settings, found = stages.flat(dataclasses.asdict(load_settings(folder.name))), [*folder.glob("*.manifest.json")]
    assert found
    for path in found:
        check_settings(json.loads(path.read_text()), settings)


def test_the_kept_ladder_rests_on_the_kept_scores():
    """It was run later than the study, on the same scans and what the study had found."""
    read = json.loads((STUDY / "13_ladder.manifest.json").read_text())["read"]
    for name in ("registration.csv", "metrics_nested.csv", "choice.csv"):
        assert read[name] == sha256(STUDY / "behind" / name)
    ladder, nested = (kept(name, STUDY / "behind") for name in ("ladder_metrics", "metrics_nested"))
    both = ladder.merge(nested, on=["variant", "case"], suffixes=("", "_before"))
    assert both.groupby("variant").size().to_dict() == dict.fromkeys(("conventional_tuned", "rt", "rt_sm"), 94)
    assert both["dsc"].equals(both["dsc_before"]) and both["fold"].equals(both["fold_before"])


def test_the_kept_measures_of_uncertainty_are_of_the_networks_that_ship():
    read = json.loads((STUDY / "15_uncertainty.manifest.json").read_text())["read"]
    ship = json.loads((ROOT / "networks" / "facts.json").read_text())["networks"]
    files = {f"rt_sm/fold{network['fold']}/network.safetensors": network["sha256"] for network in ship}
    assert files == {name: digits for name, digits in read.items() if name.endswith("safetensors")} and len(files) == 5
    assert read["choice.csv"] == sha256(STUDY / "behind" / "choice.csv")
    own, study = (kept(name, STUDY / "behind").set_index("case") for name in ("uncertainty_scans", "test_metrics"))
    assert own.index.equals(study.index), "the study's testing scans, made on another processor, which rounds otherwise"
    assert own["truth_volume_ml"].to_numpy() == pytest.approx(study["truth_volume_ml"].to_numpy(), rel=1e-4)
