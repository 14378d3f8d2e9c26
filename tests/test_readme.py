"""The README says what the committed tables say, and so does the overview."""

import dataclasses
import json

import pandas as pd

from strokelib.evaluation import sentences, stats, tables
from strokelib.run.digest import digest
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

README = (ROOT / "README.md").read_text()
FLAT = " ".join(README.split())  # sentences are broken into lines there
STUDY = ROOT / "figures" / "study"


def headline():
    names = ("table1", "tests_of_significance", "seeds", "table2", "vote")
    return sentences.headline(*(pd.read_csv(STUDY / f"{name}.csv") for name in names))


def test_the_readme_repeats_table_1_of_the_study():
    table = tables.table1(pd.read_csv(STUDY / "table1.csv"))
    ours, paper = (table[table["source"] == source] for source in ("this run", "paper"))
    assert len(ours) == 5 and len(paper) == 4
    reference = dict(zip(paper["method"], paper["DSC (%)"], strict=True))
    for _, row in ours.iterrows():
        numbers = [row[c] for c in ("DSC (%)", "PPV (%)", "sensitivity (%)", "HD (voxels)", "R²")]
        assert f"| {row['method']} | {' | '.join([*numbers, reference.get(row['method'], '–')])} |" in README


def test_the_overview_says_the_headline():
    book = json.loads((ROOT / "notebooks" / "00_overview.ipynb").read_text())
    shown = [output.get("data", {}) for cell in book["cells"] for output in cell.get("outputs", [])]
    overview = " ".join("".join(data.get("text/markdown", "")) for data in shown)
    for sentence in headline():
        assert sentence in overview


def test_the_readme_is_short_and_narrow():
    lines = README.splitlines()
    assert len(lines) <= 115
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))] == []


def test_the_readme_tells_what_a_gpu_does_as_measured():
    read = {name: pd.read_csv(ROOT / "figures" / "gpu" / f"{name}.csv") for name in ("check", "speed", "dsc", "plan")}
    check, speed = read["check"].set_index("check"), read["speed"].set_index(["way", "folds"])["patches_per_s"]
    assert check["passed"].all()
    step = "gradient of one step, {}, recorded, compiled"
    errors = [f"{check.loc[step.format(precision), 'found']:.1e}" for precision in ("float32", "bf16")]
    assert f"within {errors[0]} of that in float64, in bf16 within {errors[1]}" in FLAT
    fastest, slowest = speed["bf16, recorded, compiled", 5], speed["float32, kernel by kernel", 1]
    assert f"train {fastest:,.0f} patches a second together" in FLAT and f"float32: {slowest:,.0f})" in FLAT
    dsc = read["dsc"].set_index("precision")
    updates = {f"after {n:,} updates" for n in dsc["updates"]}
    assert len(updates) == 1 and f"{updates.pop()} the mean DSC of bf16" in FLAT
    assert f"is {dsc.loc['bf16', 'from_float32'].iloc[0]:+.3f} from float32's" in FLAT
    plan = read["plan"].set_index("measured")["value"]
    (scan,) = plan[plan.index.str.contains("8 slices.*passes 3")]
    assert f"with three passes takes {scan:.2f} s" in FLAT
    assert f"Table 1 at 20 epochs {plan['minutes of Table 1 at 20 epochs, extrapolated']:.0f} minutes" in FLAT


def test_the_readme_tells_differences_as_the_tables_do():
    read = {name: pd.read_csv(STUDY / f"{name}.csv") for name in ("seeds", "seeds_averaged", "tests_of_significance")}
    claims = stats.told(read["tests_of_significance"]).query("unit == 'scan'")
    claims = claims.set_index(["new", "old", "metric"]).sort_index()
    averaged = read["seeds_averaged"].query("unit == 'scan' and pair == 'rt_sm over rt'").set_index("metric")
    gains = read["seeds"].query("name == 'rt_sm over rt'").set_index("metric")["value"]
    rt, mirrored = claims.loc[("rt", "baseline", "dsc")], averaged.loc["dsc"]
    for row in (rt, mirrored):
        points = [f"{100 * value:+.1f}" for value in (row["mean_difference"], row["low"], row["high"])]
        assert points[0] in FLAT and f"95 % interval {points[1]} to {points[2]}" in FLAT
    for metric in ("dsc", "ppv"):
        one, two, three = (f"{100 * value:+.1f}" for value in gains[metric])
        assert f"({one}, {two} and {three}" in FLAT
    filtered = claims.loc[("rt_sm_uf", "rt_sm")]
    assert f"({100 * filtered.loc['sensitivity', 'mean_difference']:+.1f} points" in FLAT
    hd = filtered.loc["hd_voxels"]
    assert f"({hd['mean_difference']:+.1f} voxels, {tables.p_both(hd)})" in FLAT


def test_the_readme_counts_the_changes_of_the_sensitivity_study():
    changes = pd.read_csv(STUDY / "sensitivity.csv")
    assert f"{len(changes)} changes of one thing each, none of which differs" in FLAT
    assert (changes["p_holm"] >= 0.05).all()


def test_the_readme_tells_the_time_of_the_study():
    run = json.loads((STUDY / "run.json").read_text())
    hours, minutes = divmod(round(run["manifest"]["seconds"] / 60), 60)
    assert f"`make study` took {hours} h {minutes} min on two cores" in FLAT and run["manifest"]["cpus"] == 2


def test_the_readme_counts_the_claims_of_the_demo():
    table = pd.read_csv(ROOT / "figures" / "demo" / "tests_of_significance.csv").query("unit == 'scan'")
    claims = stats.told(table)
    assert len(claims) == 9 and f"significance {sentences.verdicts(claims)}: one short" in FLAT


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


def test_the_readme_says_where_the_kept_study_was_made_with_other_settings():
    settings = dataclasses.asdict(load_settings("study"))
    found = [json.loads(path.read_text()) for path in sorted(STUDY.glob("[01][0-9]_*.manifest.json"))]
    assert {"06_ablations", "07_leaderboard_submission", "08_sensitivity"} <= {facts["notebook"] for facts in found}
    (made_with,) = {facts["digest"] for facts in found}
    run = json.loads((STUDY / "run.json").read_text())
    assert run["hours_of_notebooks"] > run["hours_from_first_to_last"] > 1
    told = "The table is still of the study's first edition" in FLAT
    assert told == (made_with != digest(settings | {"name": ""}))
