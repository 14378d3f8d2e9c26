"""A study on a real SLURM: a run that is stopped, one that is lost, a fold that fails once. README.md says how.

The notebooks are pretended (tests/pretended.py), so that it takes some minutes; all else is what a study runs.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from project import TIMEOUT_S, TINY, call, copy_project, edited, surroundings

from strokelib.run.runtime import ROOT


def missing():
    """Say what keeps a test from using SLURM here; "" for nothing."""
    if not shutil.which("sbatch"):
        return "no sbatch here; tests/slurm/README.md says how to set up a SLURM"
    if subprocess.run(["sinfo", "-h"], capture_output=True, timeout=60).returncode:
        return "SLURM does not answer; tests/slurm/README.md says how to start one"
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return "snakemake-executor-plugin-slurm is not installed; make cluster"
    return ""


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing())]
RUN = ("tools/run.py", TINY, "--profile", "slurm")
TRAINED = 6 + 2  # networks of Table 1, and those with inner folds
FOLDS = TRAINED + 2 + 4  # and rt_sm_uf by those of rt_sm, and what was kept of rt and rt_sm on the way


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, with pretended notebooks and a profile that looks more often."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    shutil.copy(ROOT / "tests" / "pretended.py", folder / "tools" / "execute.py")
    profile = folder / "profiles" / "slurm" / "config.yaml"
    edited(profile, "seconds-before-status-checks: 20", "seconds-before-status-checks: 3")
    edited(profile, "latency-wait: 60", "latency-wait: 5")
    if "= loopback\n" in subprocess.check_output(["scontrol", "show", "config"], text=True):
        edited(profile, "train: {slurm_partition: \"''\"}", "train: {slurm_partition: gpu}")
    yield folder
    for process in started(folder, "tools/run.py"):  # of a test that failed
        process.terminate()
        process.wait(TIMEOUT_S)


def started(project, script):
    """List the processes that run a script of tools/ in this project."""
    found = psutil.process_iter(["cwd", "cmdline"])
    return [p for p in found if p.info["cwd"] == str(project) and script in (p.info["cmdline"] or [])]


def queued(project, states="pending,running,completing"):
    """Return {number: (state, comment)} of the jobs of this project's run, by what the run itself noted."""
    note = project / "results/tiny/.cluster"
    name = note.read_text().strip() if note.exists() else "none"
    asked = ["squeue", "--noheader", f"--user={os.getuid()}", f"--states={states}", "--format=%A|%T|%k|%j"]
    rows = [line.strip().split("|") for line in subprocess.check_output(asked, text=True).splitlines()]
    return {row[0]: tuple(row[1:3]) for row in rows if row[3].startswith(f"{name}_")}


def begin(project):
    """Start a run of which folds do not end, and wait until all were submitted and two of them run."""
    (project / "hold").touch()
    command = [sys.executable, *RUN]
    process = subprocess.Popen(
        command, cwd=project, env=surroundings(project), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: folds_wait(project), process)
    return process


def folds_wait(project):
    jobs = [*queued(project).values()]
    running = sum(state == "RUNNING" for state, _ in jobs)
    return len(jobs) == TRAINED and running >= 2 and all(comment.startswith("rule_train") for _, comment in jobs)


def until(found, process=None):
    began = time.monotonic()
    while not found():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() - began < TIMEOUT_S
        time.sleep(0.5)


def test_a_run_that_is_stopped_takes_its_jobs_with_it(project):
    process = begin(project)
    there = queued(project)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=TIMEOUT_S)[0]
    assert process.returncode != 0 and "stopped; the same command goes on from here" in told
    assert f"cancelled its {len(there)} jobs on the cluster" in told
    assert not (project / "results/tiny/.cluster").exists()
    left = subprocess.check_output(["squeue", "--noheader", "--format=%A"], text=True).split()
    assert not {*there} & {*left}


def test_a_second_run_is_refused_while_the_first_lives_on_the_cluster_or_here(project):
    process = begin(project)
    there = queued(project)
    for command in (RUN, RUN[:2]):
        told = call(project, *command)
        assert told.returncode == 1 and "another run of tiny is active" in told.stderr
    assert queued(project).keys() == there.keys()
    process.kill()  # lost, for the next test: nobody told it
    process.wait()
    (project / "lost.json").write_text(json.dumps(there))


def test_a_lost_run_is_found_its_jobs_cancelled_and_gone_on_with_and_a_failed_fold_tried_again(project):
    lost = json.loads((project / "lost.json").read_text())
    until(lambda: not started(project, "tools/workflow.py"))
    assert queued(project).keys() == lost.keys(), "its jobs are there, and it submits no more"
    told = subprocess.run(
        [sys.executable, *RUN[:2]], cwd=project, env=surroundings(project) | {"PATH": "/nowhere"}, capture_output=True,
        text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert told.returncode == 1 and "cannot be cancelled here: squeue" in told.stderr
    before = (project / "started").read_text().splitlines()
    (project / "hold").unlink()
    (project / "fail_once").write_text("rt/fold1")
    told = call(project, *RUN)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert f"cancelled {len(lost)} jobs of a run that had been lost" in told.stdout
    assert "failed   rt/fold1/05_crossvalidation" in told.stdout and "failed:" not in told.stdout
    assert "Table 1, synthetic cohort" in told.stdout
    lines = (project / "started").read_text().splitlines()[len(before) :]
    trained = [line for line in lines if line.startswith("05")]
    assert len(trained) == FOLDS + 1 and sum("rt/fold1" in line for line in trained) == 2, "none twice but the failed"
    assert not [line for line in lines if line.startswith(("01", "02"))], "what was done is not done again"
    assert not (project / "results/tiny/.cluster").exists()


def test_each_fold_had_one_gpu_from_slurm(project):
    seen = [line.split()[-1] for line in (project / "started").read_text().splitlines() if line.startswith("05")]
    assert {*seen} <= {"0", "1"} and seen


def test_the_rest_is_as_of_a_run_here(project):
    facts = json.loads((project / "results/tiny/manifest.json").read_text())
    assert facts["profile"] == "slurm" and facts["packages"]["torch"]
    told = call(project, *RUN[:2])
    assert told.returncode == 0 and "nothing to do" in told.stdout and "Table 1" in told.stdout
    told = call(project, "tools/keep.py", TINY)  # nothing lies behind what was pretended
    assert told.returncode == 1 and "manifest.json is no manifest; run " in told.stderr
    assert not (project / "figures/tiny").exists()


def test_a_fold_that_fails_for_good_is_named_last_with_its_error(project):
    shutil.rmtree(project / "results/tiny/rt/fold0")
    (project / "fail").write_text("rt/fold0")
    told = call(project, *RUN)
    (project / "fail").unlink()
    assert told.returncode != 0
    last = "failed: results/tiny/rt/fold0/05_crossvalidation.ipynb: RuntimeError: out of paper"
    assert told.stdout.splitlines()[-1] == last
    assert list((project / "results/tiny/slurm_logs").rglob("*.log")), "SLURM's own log of it"


def test_a_partition_that_is_not_there_is_told_in_slurms_own_words(project):
    for path in (project / "results/tiny").glob("04_model.*"):
        path.unlink()
    profile = project / "profiles/slurm/config.yaml"
    edited(profile, "slurm_partition: \"''\"", "slurm_partition: nowhere")
    told = call(project, *RUN)
    edited(profile, "slurm_partition: nowhere", "slurm_partition: \"''\"")
    last = told.stdout.splitlines()[-1]
    assert told.returncode != 0
    assert last.startswith("failed: results/tiny/04_model.ipynb: not submitted: sbatch: error: ")
    assert "partition" in last
