"""The README says what the committed tables say."""

import csv

from strokelib.config import ROOT


def rows(name):
    with open(ROOT / "figures" / "demo" / name, newline="") as file:
        return list(csv.DictReader(file))


def test_the_readme_repeats_table_1_of_the_demo():
    readme = (ROOT / "README.md").read_text()
    for row in rows("table1.csv"):
        if row["source"] != "this run, nested":
            numbers = [row[c] for c in ("DSC (%)", "PPV (%)", "Sens. (%)", "HD (voxels)", "R²")]
            assert " | ".join(numbers) in readme, row["method"]


def test_the_readme_counts_the_claims_as_notebook_06_does():
    verdicts = [row["verdict"] for row in rows("tests_of_significance.csv") if row["unit"] == "scan"]
    holds, opposite, open_ = (verdicts.count(v) for v in ("holds", "opposite", "cannot be told"))
    told = f"{opposite or 'none'} comes out opposite and {open_} cannot be told"
    sentence = f"{holds} hold{'s' * (holds == 1)} here, {told}"
    assert len(verdicts) == 9 and sentence in " ".join((ROOT / "README.md").read_text().split())


def test_the_demo_meets_what_the_project_promises_of_it():
    """Mean validation DSC of the mirrored variant at least 0.40, and above the conventional rule."""
    dsc = {row["method"]: float(row["DSC (%)"].split()[0]) for row in rows("table1.csv") if row["source"] == "this run"}
    assert dsc["Single +RT +SM"] >= 40 and dsc["Single +RT +SM"] > dsc["rCBF < 30 % and Tmax > 6 s"]
    assert all("synthetic cohort" in row["cohort"] for row in rows("table1.csv") if row["source"] != "paper")
