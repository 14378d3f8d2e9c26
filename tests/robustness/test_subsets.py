"""Parts of ISLES 2018, as its twin: the training split alone, testing scans without ids, most scans unusable."""

import csv
import gzip
import json
import shutil
import zipfile

import pytest
import twin
from project import TINY, call, copy_project, edited

PART = "part.toml"
TRAINING = (1, 2, 3, 4, 10, 14)  # of four patients
SIDE = 96
LABEL = "ISLES 2018, 6 of 94 training scans"


def project_with(folder, training=TRAINING):
    """Copy the project, with some scans of the twin in data/isles2018 and tiny settings for them."""
    folder = copy_project(folder)
    twin.write(folder / "data" / "isles2018", twin.scans("TRAINING", training), SIDE)
    shutil.copy(folder / TINY, folder / PART)
    edited(folder / PART, 'source = "synthetic"', 'source = "isles2018"')
    edited(folder / PART, "data/synthetic/tiny", "data/isles2018")
    edited(folder / PART, "seeds = [7]", "seeds = []")
    return folder


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def text(folder, name):
    """Return what an executed notebook of the run has printed and shown."""
    book = json.loads((folder / "results" / "part" / f"{name}.ipynb").read_text())
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in outputs]
    return "".join("".join(output.get("text", "")) for output in outputs) + "".join(
        "".join(data.get(kind, "")) for data in shown for kind in ("text/plain", "text/markdown")
    )


@pytest.fixture(scope="module")
def training_alone(tmp_path_factory):
    """The copy after one whole run on training scans alone, with what that printed."""
    folder = project_with(tmp_path_factory.mktemp("training"))
    return folder, call(folder, "tools/run.py", PART)


def test_training_scans_alone_come_to_table_1_and_their_label_says_so(training_alone):
    folder, told = training_alone
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    label = f"{LABEL}, no testing scans"
    assert f"Table 1, {label} (" in told.stdout and f"   scans    {label}\n" in told.stdout
    results = folder / "results" / "part"
    for name in ("cohort", "registration", "layers", "metrics", "rt/fold0/predictions", "figures/trained"):
        assert {row["cohort"] for row in table(results / f"{name}.csv")} == {label}, name
    ours = {row["cohort"] for row in table(results / "figures/table1.csv") if row["source"] != "paper"}
    assert ours == {label}
    notebooks, pages = (list(results.rglob(f"[0-9][0-9]_*.{kind}")) for kind in ("ipynb", "html"))
    assert len(notebooks) == len(pages) == 11 + 7 * 2


def test_without_testing_scans_nothing_is_scored_or_handed_in(training_alone):
    folder, _ = training_alone
    results = folder / "results" / "part"
    said = text(folder, "07_leaderboard_submission")
    assert "no testing scans here" in said
    sentence = "No submission is written, which does not affect Table 1: there are no testing scans"
    assert said.count(sentence) == 2, "where it would be written, and at the end"
    rows = table(results / "figures/table2.csv")
    assert len(rows) == 10 and {row["cohort"] for row in rows} == {"ISLES 2018, by the paper"}
    made = {path.name for path in results.rglob("*")}
    assert not made & {"submission.zip", "test_maps", "test_metrics.csv", "test_map.png", "vote.csv"}
    assert "There are no testing scans here." in text(folder, "00_overview")
    assert "nothing to do" in call(folder, "tools/run.py", PART).stdout


def test_testing_scans_without_ids_are_predicted_and_not_handed_in(training_alone, tmp_path):
    folder = shutil.copytree(training_alone[0], tmp_path / "project", symlinks=True)
    for scan in twin.scans("TESTING", (11, 12)):
        for path in twin.write(tmp_path / "twin", [scan], SIDE).rglob("*.nii"):
            plain = path.name.split(".")[4].removeprefix("CT_").lower()
            target = folder / "data/isles2018/TESTING" / f"case_{scan.number}" / f"{plain}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.compress(path.read_bytes(), 1))
        shutil.rmtree(tmp_path / "twin")
    told = call(folder, "tools/run.py", PART)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert f"Table 1, {LABEL}, 2 of 62 testing scans (" in told.stdout
    results = folder / "results" / "part"
    assert len(list((results / "test_maps").glob("case_*.nii.gz"))) == 2
    said = text(folder, "07_leaderboard_submission")
    assert "case_11 has no SMIR id in the name of its MTT file" in said and ", like 2 of 2; the" in said
    assert not list(results.rglob("*.zip")) and not (results / "test_metrics.csv").exists()
    assert len(table(results / "figures/table2.csv")) == 10
    assert "no submission will be written; Table 1 is not affected" in text(folder, "01_data_exploration")


def test_a_part_of_the_testing_scans_makes_a_submission_that_is_not_complete(training_alone, tmp_path):
    folder = shutil.copytree(training_alone[0], tmp_path / "project", symlinks=True)
    twin.write(folder / "data/isles2018", twin.scans("TESTING", (11, 12)), SIDE)
    told = call(folder, "tools/run.py", PART)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    with zipfile.ZipFile(folder / "results/part/submission/submission.zip") as file:
        assert len(file.namelist()) == 2
    sentence = "The submission is not complete: it holds 2 of the challenge's 62 testing scans."
    assert text(folder, "07_leaderboard_submission").count(sentence) == 2


def spoil(folder, numbers):
    for number in numbers:
        (path,) = (folder / "data/isles2018/TRAINING" / f"case_{number}").glob("*CBF*/*.nii")
        path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("left", [0, 1])
def test_where_most_scans_are_unusable_one_sentence_names_the_first(left, tmp_path):
    folder, spoilt = project_with(tmp_path), TRAINING[: len(TRAINING) - left]
    spoil(folder, spoilt)
    told = call(folder, "tools/run.py", PART)
    assert told.returncode == 1 and "Traceback" not in told.stdout + told.stderr
    last = told.stdout.splitlines()[-1]
    assert f"2 folds need as many patients, there are {left}; training scans that can be used: {left};" in last
    assert f"{len(spoilt)} more cannot be used, mend these first: case_1: cannot read" in last
    assert "lower folds.count" not in last
    said = text(folder, "01_data_exploration")
    assert all(f"case_{number}: cannot read" in said for number in spoilt)


def test_fewer_patients_than_folds_are_told_at_once(tmp_path):
    folder = project_with(tmp_path, (1, 2))
    last = call(folder, "tools/run.py", PART).stdout.splitlines()[-1]
    assert last.startswith("failed: results/part/01_data_exploration.ipynb: ValueError: 2 folds need as many patients")
    assert last.endswith("there are 1; training scans that can be used: 2; add scans or lower folds.count")


def test_a_scan_that_is_refused_is_named_in_the_terminal(tmp_path):
    folder = project_with(tmp_path)
    spoil(folder, (3,))
    for _ in range(2):  # the second time notebook 01 does not run
        told = call(folder, "tools/run.py", PART)
        assert told.returncode == 1
        assert told.stdout.count("   refused  1 scan, all in results/part/bad_cases.csv") == 1
        assert told.stdout.count("            case_3: cannot read") == 1
        assert "02_preprocessing.ipynb: CaseError: 1 of 6 scans cannot be used" in told.stdout.splitlines()[-1]
