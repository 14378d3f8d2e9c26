"""The README says what the committed tables say, and so does the overview."""

import dataclasses
import json

import pandas as pd

from strokelib.evaluation import tables
from strokelib.run.digest import digest
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

README = (ROOT / "README.md").read_text()
FLAT = " ".join(README.split())  # sentences are broken into lines there
STUDY = ROOT / "figures" / "study"


def headline():
    names = ("table1", "tests_of_significance", "seeds", "table2", "vote")
    return tables.headline(*(pd.read_csv(STUDY / f"{name}.csv") for name in names))


def test_the_readme_repeats_table_1_of_the_study():
    table = tables.table1(pd.read_csv(STUDY / "table1.csv"))
    shown = table[table["source"] != "this run, nested"]
    assert len(shown) == 9
    for _, row in shown.iterrows():
        numbers = [row[c] for c in ("DSC (%)", "PPV (%)", "sensitivity (%)", "HD (voxels)", "R²")]
        assert " | ".join(numbers) in README, row["method"]


def test_the_readme_and_the_overview_say_the_same_three_sentences():
    book = json.loads((ROOT / "notebooks" / "00_overview.ipynb").read_text())
    shown = [output.get("data", {}) for cell in book["cells"] for output in cell.get("outputs", [])]
    overview = " ".join("".join(data.get("text/markdown", "")) for data in shown)
    for sentence in headline():
        assert sentence in FLAT and sentence in overview


def test_the_readme_tells_differences_as_the_tables_do():
    read = {name: pd.read_csv(STUDY / f"{name}.csv") for name in ("seeds", "seeds_averaged", "tests_of_significance")}
    claims = read["tests_of_significance"].query("unit == 'scan'").set_index(["new", "old", "metric"]).sort_index()
    averaged = read["seeds_averaged"].query("unit == 'scan'").set_index("metric")
    gains = read["seeds"].query("kind == 'difference'").set_index("metric")["value"]
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
    assert f"({hd['mean_difference']:+.1f} voxels, {tables.p_text(hd['p'])})" in FLAT


def test_the_readme_tells_the_changes_as_notebook_08_does():
    start = FLAT.index("### One thing at a time")
    section = FLAT[start : FLAT.index("### The demo")]
    changes = pd.read_csv(STUDY / "sensitivity.csv")
    points = tables.changes(changes).set_index("change")["DSC points"]
    assert f"none of the {len(points)} changes" in section
    assert (changes["p_holm"] >= 0.05).all()
    sides = ", ".join(f"{side} {points[f'patch_{side}']}" for side in (16, 32, 48, 80, 96))
    told = [sides, f"48 gives {points['baseline_64']},", f"balancing {points['no_balance']},"]
    told += [f"offset {points['no_offset']},", f"copies {points['no_elastic']};", f"1/v {points['gdl_squared']}."]
    told += [f"16 {points['step_8']} and {points['step_4']}, of 32 {points['step_32']}."]
    told += [f"({points['passes_10']} with ten)", f"40 % {points['rate_20']} and {points['rate_40']},"]
    assert [words for words in told if words not in section] == []
    rank = pd.read_csv(STUDY / "stopping.csv").groupby("quantity")["rank"].mean()
    assert f"{rank['validation_loss']:.2f} against {rank['monitored']:.2f}" in section


def test_the_readme_tells_the_time_of_the_study():
    run = json.loads((STUDY / "run.json").read_text())
    hours, minutes = divmod(round(run["manifest"]["seconds"] / 60), 60)
    assert f"`make study` took {hours} h {minutes} min on two cores" in FLAT and run["manifest"]["cpus"] == 2
    assert f"worked for {run['hours_of_notebooks']} hours" in FLAT


def test_the_readme_counts_the_claims_of_the_demo():
    claims = pd.read_csv(ROOT / "figures" / "demo" / "tests_of_significance.csv").query("unit == 'scan'")
    assert len(claims) == 9 and f"significance {tables.verdicts(claims)}: one short" in FLAT


def test_the_demo_meets_what_the_project_promises_of_it():
    """Mean validation DSC of the mirrored variant at least 0.40, and above the conventional rule."""
    table = pd.read_csv(ROOT / "figures" / "demo" / "table1.csv")
    ours = table[table["source"] != "paper"]
    dsc = ours[ours["source"] == "this run"].set_index("variant")["dsc_mean"]
    assert dsc["rt_sm"] >= 0.40 and dsc["rt_sm"] > dsc["conventional"]
    assert ours["cohort"].str.contains("synthetic cohort").all()


def test_the_study_was_made_with_its_settings_as_they_are_here():
    settings = dataclasses.asdict(load_settings("study"))
    del settings["drawing"]  # which came after the study, and decides no number
    made_with = digest(settings | {"name": ""})
    found = [json.loads(path.read_text()) for path in sorted(STUDY.glob("0*.manifest.json"))]
    assert {"06_ablations", "07_leaderboard_submission", "08_sensitivity"} <= {facts["notebook"] for facts in found}
    assert {facts["digest"] for facts in found} == {made_with}
    run = json.loads((STUDY / "run.json").read_text())
    assert run["hours_of_notebooks"] > run["hours_from_first_to_last"] > 1
    whole = digest(settings)
    assert {facts["digest"] for facts in (run["manifest"], run["manifest_sensitivity"])} == {whole}
