"""The whole study on a tiny cohort, run by the real workflow in a copy of this folder."""

import csv
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from project import TINY, call, copy_project, edited, surroundings
from tiny_run import finished_copy

from strokelib.run.runtime import ROOT
from strokelib.run.variants import VARIANTS


def planned(folder, settings=TINY, *targets):
    """Return {rule: number of jobs} that snakemake would run now."""
    options = ["-n", "--nolock", "--config", f"settings={settings}", "--", *targets]
    told = call(folder, "-m", "snakemake", *options)
    assert told.returncode == 0, told.stderr
    text = told.stdout + told.stderr
    if "Nothing to be done" in text:
        return {}
    table = text[text.index("Job stats:") :]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


# Every network of a run, as notebook 06 looks at them.
VERIFY = f"""
from strokelib.run import provenance
from strokelib.run.settings import load_settings
for variant in ("baseline", "rt", "rt_sm", "rt_sm_uf"):
    for fold in (0, 1):
        provenance.verify(load_settings("{TINY}"), f"{{variant}}/fold{{fold}}/predictions.csv")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy after one whole run, with what that printed."""
    return finished_copy(tmp_path_factory)


@pytest.fixture
def change(finished):
    """Edit files of the copy; they are put back after the test."""
    project, before = finished[0], {}

    def edit(name, old, new):
        before.setdefault(name, (project / name).read_text())
        edited(project / name, old, new)

    yield edit
    for name, text in before.items():
        (project / name).write_text(text)


def test_plan_of_the_full_study(project):
    once = ("cohort", "preprocess", "sampling", "model", "ablations", "leaderboard", "errors", "trust", "ladder")
    once += ("published", "segment", "overview")
    # The study trains rt_sm with inner folds, too, and keeps two rows at three budgets.
    for name, trained, kept in (("phantom", 15, 0), ("study", 15 + 5, 2 * 3 * 5)):
        jobs = planned(project, name)
        assert jobs["train"] == trained
        assert jobs["predict"] == 5 + kept, "rt_sm_uf predicts with rt_sm's networks and trains none"
        assert [jobs[rule] for rule in once] == [1] * len(once)
        assert jobs["total"] == trained + 5 + kept + len(once) + 1


def test_plan_of_the_sensitivity(project):
    """Four rows of Table 1, one as it was on the way, and nineteen changes, nine of prediction alone, in two folds."""
    jobs = planned(project, "study", "sensitivity")
    assert (jobs["train"], jobs["predict"]) == (2 * (3 + 10), 2 * (1 + 1 + 9))
    assert not {"ablations", "leaderboard", "errors", "overview"} & jobs.keys()


def test_plan_of_the_seeds_and_of_rt_apart(project):
    """Two more seeds of every row; seven cells beside RT, and all eight by the other monitor, too."""
    jobs = planned(project, "study", "seeds")
    assert (jobs["train"], jobs["predict"]) == (3 * 15, 3 * 5) and jobs["ablations"] == 1
    jobs = planned(project, "study", "rt_apart")
    assert (jobs["train"], jobs["predict"]) == (5 * (7 + 1), 5 * (1 + 8)) and "ablations" not in jobs


def test_plan_of_the_chapters_that_train(project):
    """Three other ways to make folds and rt_sm itself, in all folds; losses in two, with theirs, balanced and not."""
    jobs = planned(project, "study", "leakage")
    assert (jobs["train"], jobs["predict"]) == (5 * (3 + 1), 5) and "ablations" not in jobs
    jobs = planned(project, "study", "imbalance")
    assert (jobs["train"], jobs["predict"]) == (2 * (12 + 2), 2)


def test_plan_of_other_cohorts(project):
    """Five seeds; six symmetries, and affine registration at the largest that has networks. Each is one notebook."""
    assert planned(project, "study", "cohorts") == {"other_cohort": 5, "cohorts": 1, "total": 6}
    assert planned(project, "study", "symmetry") == {"other_cohort": 7, "symmetry": 1, "total": 8}


def test_a_run_ends_well_and_prints_table_1_and_the_figures(finished):
    told = finished[1]
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert "Table 1, synthetic cohort" in told.stdout
    assert "results/tiny/figures/fig4.png" in told.stdout
    lines = [line for line in told.stdout.splitlines() if re.match(r" *\d+ of 27 ", line)]
    assert len(lines) == 27
    assert all(" left" in line for line in lines[:-1])


def test_figures_and_tables_are_there(finished):
    project, _ = finished
    for number in (1, 2, 3, 4):
        assert (project / f"results/tiny/figures/fig{number}.png").read_bytes().startswith(b"\x89PNG")
    with open(project / "results/tiny/figures/table1.csv", newline="") as file:
        table1 = list(csv.DictReader(file))
    with open(project / "results/tiny/figures/table2.csv", newline="") as file:
        table2 = list(csv.DictReader(file))
    assert {row["variant"] for row in table1 if row["source"] == "this run"} == {"conventional", *VARIANTS}
    assert {row["variant"] for row in table1 if row["source"] == "paper"} == {*VARIANTS}
    ours = [row for row in table2 if "this run" in row["user"]]
    assert len(table2) == 11
    assert [0 <= float(row["dsc_mean"]) <= 1 for row in ours] == [True]


def test_a_run_leaves_what_is_published_as_it_is(finished):
    project, _ = finished
    published = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "figures").rglob("*") if path.is_file()}
    there = {p.relative_to(project): p.read_bytes() for p in (project / "figures").rglob("*") if p.is_file()}
    assert there == published


def test_every_fold_left_its_networks_and_maps(finished):
    project, _ = finished
    for variant in VARIANTS:
        for fold in (0, 1):
            folder = project / "results/tiny" / variant / f"fold{fold}"
            assert list(folder.glob("case_*.nii.gz"))
            assert (folder / "network.safetensors").exists() == (variant != "rt_sm_uf")
            assert (folder / "network2.safetensors").exists() == (variant == "baseline")


def test_submission_holds_every_testing_scan(finished):
    project, _ = finished
    cases = {p.name for p in (project / "data/synthetic/tiny/TESTING").glob("case_*")}
    (archive,) = (project / "results/tiny/submission").glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if name.endswith(".nii")]
    assert len(names) == len(cases) > 0


def test_every_executed_notebook_has_its_html_and_holds_no_error(finished):
    project, _ = finished
    books = sorted((project / "results/tiny").rglob("*.ipynb"))
    assert len(books) == 12 + (4 + 3) * 2
    for path in books:
        assert path.with_suffix(".html").stat().st_size > 10_000
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                assert output["output_type"] != "error"
                assert output.get("name") != "stderr", (path, output)
                assert not "".join(output.get("data", {}).get("text/plain", "")).endswith(" left")


def test_manifest_says_what_made_the_results(finished):
    project, _ = finished
    facts = json.loads((project / "results/tiny/manifest.json").read_text())
    assert facts["settings"] == "tiny"
    assert facts["packages"]["torch"]
    assert facts["commit"] is None, "the copy is no repository"


def test_what_is_kept_of_a_run_is_of_no_machine_and_adds_up(finished):
    project, _ = finished
    told = call(project, "tools/keep.py", TINY)
    assert told.returncode == 0, told.stderr
    kept = project / "figures" / "tiny"
    for path in (project / "results" / "tiny" / "figures").iterdir():
        assert (kept / path.name).read_bytes() == path.read_bytes()
    facts = json.loads((kept / "run.json").read_text())
    assert facts["notebooks"] == len(list((project / "results" / "tiny").rglob("[0-9][0-9]_*.ipynb")))
    assert 0 < facts["hours_from_first_to_last"] < 1 and 0 < facts["hours_of_notebooks"] < 1
    assert facts["manifest"]["seed"] == 2018 and facts["manifest"]["processor"]
    for name in ("00_overview", "06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty"):
        book = json.loads((kept / f"{name}.ipynb").read_text())
        ran = json.loads((project / "results" / "tiny" / f"{name}.ipynb").read_text())
        assert [cell.get("outputs") for cell in book["cells"]] == [cell.get("outputs") for cell in ran["cells"]]
        assert "papermill" in ran["metadata"] and not book["metadata"].keys() - {"kernelspec", "language_info"}
        assert not [cell for cell in book["cells"] if cell["metadata"].keys() - {"tags"}]
        assert str(project) not in (kept / f"{name}.ipynb").read_text()
    behind = {path.stem for path in (kept / "behind").iterdir()}
    assert {"metrics", "metrics_nested", "choice", "grid", "histories", "predictions", "networks"} <= behind
    again = call(project, "tools/redo.py", "tiny")
    assert again.returncode == 0 and "; 0 differ" in again.stdout, again.stdout + again.stderr
    (kept / "of_a_run_before.png").write_text("old")
    assert call(project, "tools/keep.py", TINY).returncode == 0
    assert not (kept / "of_a_run_before.png").exists()
    shutil.rmtree(kept)


def test_a_run_that_is_not_finished_is_not_kept(project):
    told = call(project, "tools/keep.py", "phantom")
    assert told.returncode == 1 and "run tools/run.py phantom to its end first" in told.stderr
    assert not (project / "figures" / "phantom").exists()


def test_every_table_and_network_is_named_with_its_contents_in_a_manifest_beside_it(finished):
    project, _ = finished
    named = {}
    for path in (project / "results" / "tiny").rglob("*.manifest.json"):
        facts = json.loads(path.read_text())
        assert facts["settings"]["name"] == "tiny" and facts["versions"]["torch"] and facts["code"]
        named |= {path.parent / name: digits for name, digits in facts["files"].items()}
    made = (project / "results" / "tiny").rglob("*")
    made = [p for p in made if p.suffix in (".csv", ".safetensors", ".png") and ".checkpoint." not in p.name]
    made = [p for p in made if "own" not in p.parts]  # what notebook 16 leaves of a scan has a row of its own
    assert len([p for p in made if p.suffix == ".csv"]) > 30
    assert len([p for p in made if p.suffix == ".safetensors"]) >= 8
    for path in made:
        assert named[path] == hashlib.sha256(path.read_bytes()).hexdigest(), path


def test_the_truth_of_testing_scans_is_opened_for_scoring_alone_and_nothing_connects_to_anywhere(finished):
    project, _ = finished
    lines = (project / "watched.log").read_text().splitlines()
    assert not [line for line in lines if " open " not in line], "connections, and names looked up"
    hidden = [line for line in lines if "/.truth/" in line and ("testing_ot" in line or "TESTING_" in line)]
    scoring = {"07_leaderboard_submission.ipynb", "16_segment_a_scan.ipynb"}
    assert {line.split()[0] for line in hidden} == {"01_data_exploration.ipynb", *scoring}
    # Notebook 01 makes the cohort; of a testing scan's truth it reads back its record, not the outline.
    made = [line for line in hidden if line.startswith("01")]
    assert not [line for line in made if " r " in line and "testing_ot" in line]
    last = [line for line in lines if line.startswith("07")]
    archive = next(i for i, line in enumerate(last) if "submission.zip" in line)
    assert archive < min(i for i, line in enumerate(last) if line in hidden), "the submission is written first"


@pytest.mark.parametrize(
    ("notebook", "file", "message"),
    [
        ("06_ablations", "rt/fold1/case_5.nii.gz", "rt/fold1/case_5.nii.gz is not the file that"),
        ("07_leaderboard_submission", "rt_sm/fold1/network.safetensors", "network.safetensors is not the file that"),
    ],
)
def test_no_table_is_made_from_maps_or_networks_of_another_run(finished, tmp_path, notebook, file, message):
    project = shutil.copytree(finished[0], tmp_path / "project", symlinks=True)
    found = project / "results/tiny" / file
    others = [p for p in found.parent.glob("case_*.nii.gz") if p != found]
    other = others[0] if found.match("case_*") else found.parents[1] / "fold0" / found.name
    found.write_bytes(other.read_bytes())
    paths = (f"notebooks/{notebook}.ipynb", f"results/tiny/{notebook}.ipynb", "--cwd", "notebooks", "-k", "python3")
    told = call(project, "-m", "papermill", *paths, "-r", "settings", str(project / TINY))
    assert told.returncode != 0
    assert message in told.stderr and "run notebook 05_crossvalidation again for results/tiny/rt" in told.stderr


def test_a_second_run_runs_nothing_even_where_the_folder_has_moved(finished):
    project, _ = finished  # not where it ran
    before = {p: p.stat().st_mtime_ns for p in (project / "results/tiny").rglob("*.ipynb")}
    told = call(project, "tools/run.py", TINY)
    assert told.returncode == 0
    assert "nothing to do" in told.stdout
    assert "Table 1" in told.stdout
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_prose_and_comments_rerun_nothing_and_refuse_nothing(finished, change):
    project, _ = finished
    for path in (project / "notebooks").glob("*.ipynb"):
        change(f"notebooks/{path.name}", "**Purpose", "New prose. **Purpose")
    for path in (project / "strokelib").rglob("*.py"):
        change(path.relative_to(project), '"""', '"""New words. ')
        if path.stem != "__init__":
            change(path.relative_to(project), "\n\n", "\n# a comment\n\n")
    assert planned(project) == {}
    told = call(project, "-c", VERIFY)
    assert told.returncode == 0, told.stderr


def test_a_library_edit_reruns_what_uses_it_and_the_same_is_refused(finished, change):
    project, _ = finished
    change("strokelib/losses.py", '"""\n', '"""\n\nNEW = 1\n')
    jobs = planned(project)
    told = call(project, "-c", VERIFY)
    assert told.returncode != 0 and "made by other code" in told.stderr
    assert (jobs["train"], jobs["predict"]) == (8, 6), "six of Table 1 and two with inner folds; UF and what was kept"
    assert {"ablations", "leaderboard"} <= jobs.keys()
    assert not {"cohort", "preprocess"} & jobs.keys()


def test_a_settings_edit_reruns_the_stages_that_use_it(finished, change):
    project, _ = finished
    change(TINY, "thresholds = [0.3, 0.5]", "thresholds = [0.3, 0.6]")
    jobs = planned(project)
    assert {"ablations", "leaderboard"} <= jobs.keys()
    assert not {"cohort", "preprocess", "sampling", "model"} & jobs.keys()


def test_a_lost_fold_alone_is_made_again_with_the_network_it_has(finished):
    """A network may have taken days, and what is made again before or after it need not change its weights."""
    project, _ = finished
    folder = project / "results/tiny/rt/fold1"
    times = {path: path.stat() for path in folder.iterdir()}
    network, kept = folder / "network.safetensors", folder / "predictions.csv"
    target, before = str(kept.relative_to(project)), kept.read_bytes()
    kept.unlink()
    assert planned(project, TINY, target) == {"train": 1, "total": 1}
    options = ["--nolock", "--cores", "1", "--config", f"settings={TINY}"]
    told = call(project, "tools/workflow.py", target, *options)
    assert told.returncode == 0, told.stderr
    assert network.stat().st_ino == times[network].st_ino, "it was deleted, or trained once more"
    assert kept.read_bytes() == before
    for path, stat in times.items():  # nothing that was made of it is older
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert planned(project) == {}


def test_a_second_run_at_once_is_refused(finished):
    project, _ = finished
    with open(project / "results/tiny/.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = call(project, "tools/run.py", TINY)
    assert told.returncode == 1
    assert "another run of tiny is active" in told.stderr


def test_unknown_settings_are_named(project):
    told = call(project, "tools/run.py", "demmo")
    assert told.returncode == 1
    listed = sorted(path.stem for path in (ROOT / "configs").glob("*.toml"))
    assert "demo" in listed and f"settings are one of {listed}" in told.stderr


def test_results_lie_elsewhere_where_the_environment_says_so(project, tmp_path):
    around = surroundings(project) | {"STROKELIB_RESULTS": str(tmp_path)}
    target = tmp_path / "tiny" / "04_model.manifest.json"
    words = ["-m", "snakemake", "--nolock", "--cores", "1", "--config", f"settings={TINY}", "--", str(target)]
    told = subprocess.run([sys.executable, *words], cwd=project, env=around, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-3000:]
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"tiny/layers.csv", "tiny/figures/fig2.png", "tiny/04_model.ipynb", "tiny/04_model.manifest.json"} <= made
    assert str(tmp_path) not in target.read_text()


def test_a_misspelt_parameter_stops_the_notebook(project):
    (project / "results").mkdir(exist_ok=True)
    paths = ("notebooks/04_model.ipynb", "results/misspelt.ipynb", "--cwd", "notebooks")
    told = call(project, "-m", "papermill", *paths, "-k", "python3", "-p", "setings", "phantom")
    assert told.returncode != 0
    assert "unknown parameter 'setings'; did you mean 'settings'?" in told.stderr


def test_a_damaged_scan_stops_the_run_or_is_left_out_by_name(finished, tmp_path):
    project = shutil.copytree(finished[0], tmp_path / "project", symlinks=True)
    scan = next((project / "data/synthetic/tiny/TRAINING/case_2").glob("*CBF*/*.nii*"))
    scan.write_bytes(scan.read_bytes()[:2000])

    def run(name):
        paths = (f"notebooks/{name}.ipynb", f"results/tiny/{name}.ipynb", "--cwd", "notebooks", "-k", "python3")
        return call(project, "-m", "papermill", *paths, "-r", "settings", str(project / TINY))

    assert run("01_data_exploration").returncode == 0
    stopped = run("02_preprocessing")
    assert stopped.returncode != 0 and "CaseError: 1 of " in stopped.stderr
    assert "case_2" in (project / "results/tiny/02_preprocessing.ipynb").read_text()
    edited(project / TINY, "skip_bad_cases = false", "skip_bad_cases = true")
    told = run("02_preprocessing")
    assert told.returncode == 0, told.stderr[-2000:]
    with open(project / "results/tiny/registration.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [int(row["case"]) for row in rows if row["split"] == "TRAINING"]
    assert 2 not in numbers and {1, 3} <= set(numbers)
    assert {row["cohort"] for row in rows} == {"synthetic cohort, 1 bad case left out"}


def test_a_failed_notebook_is_kept_and_named_last(finished, change):
    project, _ = finished
    name = "06_ablations.ipynb"
    change(f"notebooks/{name}", r"run = start(\"06_ablations\", settings)", r"raise RuntimeError(\"out of\\npaper\")")
    told = call(project, "tools/run.py", TINY)
    assert told.returncode != 0
    assert told.stdout.splitlines()[-1] == f"failed: results/tiny/{name}: RuntimeError: out of"
    assert "out of" in (project / "results/tiny" / name).read_text()
    assert (project / "results/tiny/06_ablations.html").stat().st_size > 0
