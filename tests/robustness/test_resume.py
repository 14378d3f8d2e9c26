"""Killed with SIGKILL while it writes, the study goes on and ends with the same files; kill_and_resume.py does more."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from kill_and_resume import alone, contents, differences, kill, prepare
from project import TINY, call, surroundings
from test_settings import tool

from strokelib.run.runtime import ROOT

FOLD = "results/tiny/rt/fold0"
LAST = f"{FOLD}/05_crossvalidation.manifest.json"  # what the notebook of this fold writes last
PREPARED = "results/tiny/02_preprocessing.manifest.json"
STUDY = ["-m", "snakemake", "--nolock", "--rerun-incomplete", "--cores", "2"]
STUDY += ["--config", f"settings={TINY}", "--", "results/tiny/registration.csv", PREPARED, LAST]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A copy in which the scans were made, prepared, and one network trained; and what all its files hold."""
    project = prepare(tmp_path_factory.mktemp("project"))
    told = call(project, *STUDY)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert (project / LAST).is_file()
    return project, contents(project)


def goes_on(undisturbed):
    """Go on to the end, and compare; what killed processes left is removed by the front door alone."""
    project, before = undisturbed
    told = call(project, *STUDY)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    for path in project.rglob(".*.part.*"):
        path.unlink()
    assert differences(before, contents(project)) == []


def test_training_killed_in_the_write_of_its_checkpoint_and_after_its_last_table(undisturbed):
    project, _ = undisturbed
    shutil.rmtree(project / FOLD)
    checkpoint = f"{FOLD}/network.checkpoint.safetensors"
    assert "writing" in kill(project, STUDY, checkpoint, 2)
    assert (project / checkpoint).is_file(), "that of the first epoch"
    assert not (project / FOLD / "network.safetensors").exists()
    left = [path.stat().st_size for path in (project / FOLD).glob(".*.part.*")]
    assert left and left[0] < (project / checkpoint).stat().st_size, "half of that of the second"
    notebook = alone(project, "05_crossvalidation", {"variant": "rt", "fold": 0})
    assert "writing" in kill(project, notebook, LAST)
    assert (project / FOLD / "predictions.csv").is_file() and not (project / LAST).exists()
    goes_on(undisturbed)


def test_preparing_killed_in_the_write_of_a_scan_and_after_its_last_figure(undisturbed):
    project, _ = undisturbed
    shutil.rmtree(project / "results/tiny/preprocessed")
    (project / "results/tiny/registration.csv").unlink()
    (project / PREPARED).unlink()
    notebook = alone(project, "02_preprocessing", {})
    assert "writing" in kill(project, notebook, "results/tiny/preprocessed/*.npz", 2)
    assert len(list((project / "results/tiny/preprocessed").rglob("case_*.npz"))) == 1
    assert "writing" in kill(project, notebook, PREPARED)
    assert (project / "results/tiny/registration.csv").is_file() and not (project / PREPARED).exists()
    goes_on(undisturbed)


COHORT = """
from strokelib.phantom.cohort import make_cohort
from strokelib.run.settings import load_settings
settings = load_settings("tests/tiny.toml")
if __name__ == "__main__":
    make_cohort(settings.data_root, settings.cohort)
"""


@pytest.mark.parametrize("pattern", ["data/synthetic/tiny/TESTING/*.nii.gz", "data/synthetic/tiny/phantom.json"])
def test_a_cohort_killed_in_the_write_of_a_file(pattern, undisturbed):
    project, before = undisturbed
    (project / "cohort.py").write_text(COHORT)
    for folder in ("TRAINING/case_2", "TESTING/case_1"):
        shutil.rmtree(project / "data/synthetic/tiny" / folder)
    assert "writing" in kill(project, ["cohort.py"], pattern)
    told = call(project, "cohort.py")
    assert told.returncode == 0, told.stderr
    assert not list(project.glob("data/synthetic/tiny/*/**/.*.part.*")), "none among the scans"
    for path in project.rglob(".*.part.*"):
        path.unlink()
    assert differences(before, contents(project)) == []


SPAWN = """
import subprocess, sys, time
while True:
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)", *sys.argv[1:]], start_new_session=True)
    time.sleep(0.02)
"""


def test_all_that_was_started_is_killed_also_by_one_that_starts_more_and_more(tmp_path):
    child = subprocess.Popen([sys.executable, "-S", "-c", SPAWN, str(tmp_path)])

    def there():
        return [p for p in psutil.process_iter(["cmdline", "status"]) if str(tmp_path) in (p.info["cmdline"] or [])]

    try:
        while len(there()) < 5:
            assert child.poll() is None
    finally:
        tool("run").stop(child)
    assert child.wait() == -signal.SIGKILL
    assert psutil.wait_procs(there(), timeout=20)[1] == []


def test_the_processes_that_make_a_cohort_end_with_the_one_that_started_them(tmp_path):
    """Out of memory, the system kills one process alone: the notebook's."""
    script = tmp_path / "cohort.py"
    text = COHORT.replace("tests/tiny.toml", str(ROOT / TINY))
    script.write_text(text.replace("settings.data_root", repr(str(tmp_path / "data"))))
    child = subprocess.Popen([sys.executable, script], env=surroundings(ROOT), stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "data" / "TRAINING").exists():
            assert child.poll() is None
        started = psutil.Process(child.pid).children(recursive=True)
        assert len(started) >= 2, "two workers"
        child.kill()
        assert psutil.wait_procs(started, timeout=60)[1] == []
    finally:
        tool("run").stop(child)
        child.wait()
