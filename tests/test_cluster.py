"""tools/cluster.py without a cluster: squeue and scancel are scripts over a table of jobs. tests/slurm has one."""

import os
import re
import subprocess
import sys

import cluster
import pytest
import yaml
from test_settings import tool

from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

# One line a job: number|name|user. A job that is cancelled leaves the table when it is looked at once more.
SQUEUE = """#!/bin/sh
cd "{folder}"
[ -e broken ] && {{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }}
user=$(printf "%s\\n" "$@" | sed -n "s/^--user=//p")
awk -F '|' -v user="$user" '$3 == user {{print $1 "|" $2}}' jobs
[ -e left ] && sed -i "$(sed 's,.*,/^&|/d;,' left)" jobs && rm left
[ -e cancelled ] && mv cancelled left
exit 0
"""
SCANCEL = """#!/bin/sh
cd "{folder}"
echo "$@" >> scancel.log
printf "%s\\n" "$@" >> cancelled
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of a pretended cluster, with a function that puts jobs into its queue."""
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / "bin" / name).write_text(text.format(folder=folder))
        (folder / "bin" / name).chmod(0o755)
    (folder / "jobs").touch()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")

    def put(number, name, user=None):
        with open(folder / "jobs", "a") as file:
            file.write(f"{number}|{name}|{os.getuid() if user is None else user}\n")

    return folder, put


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "results"))
    found = load_settings(ROOT / "tests" / "tiny.toml")
    found.results.mkdir(parents=True)
    return found


def queue(folder):
    return [line.split("|")[0] for line in (folder / "jobs").read_text().splitlines()]


PROFILE = ROOT / "profiles" / "slurm"
SNAKEFILE = (ROOT / "Snakefile").read_text()


def test_jobs_are_named_after_settings_and_results_folder_as_the_executor_allows(settings, tmp_path, monkeypatch):
    name = cluster.job_name(settings)
    assert name.startswith("strokelib_tiny_") and name == cluster.job_name(settings)
    monkeypatch.setenv("STROKELIB_RESULTS", str(tmp_path / "others"))
    assert cluster.job_name(load_settings(ROOT / "tests" / "tiny.toml")) != name
    odd = tmp_path / "A.longer_name-of_settings.2026.toml"
    odd.write_text((ROOT / "tests" / "tiny.toml").read_text())
    name = cluster.job_name(load_settings(odd))
    assert len(name) <= 50 and name.isascii() and name.replace("_", "").replace("-", "").isalnum()


def test_the_jobs_of_a_lost_run_are_cancelled_and_no_others(slurm, settings, capsys):
    folder, put = slurm
    name = cluster.job_name(settings)
    put(11, f"{name}_0b5e")
    put(12, f"{name}_0b5e")
    put(13, f"{name}x_0b5e")  # of another folder
    put(14, f"{name}_77aa", user=os.getuid() + 1)
    put(15, "wrap")
    cluster.clear(settings, PROFILE)
    assert (folder / "scancel.log").read_text() == "11 12\n" and queue(folder) == ["13", "14", "15"]
    assert capsys.readouterr().out == f"cancelled 2 jobs of a run that had been lost, {name}_...\n"
    assert (settings.results / ".cluster").read_text() == f"{name}\n", "noted before anything is submitted"


def test_a_run_on_this_machine_also_cancels_what_a_lost_one_left_on_the_cluster(slurm, settings):
    """By the name that the lost run noted, which need not be what it would have now."""
    folder, put = slurm
    (settings.results / ".cluster").write_text("strokelib_tiny_elsewhere\n")
    put(21, "strokelib_tiny_elsewhere_0b5e")
    cluster.clear(settings, None)
    assert queue(folder) == [] and not (settings.results / ".cluster").exists()


def test_a_run_on_this_machine_asks_no_cluster_without_reason(slurm, settings):
    (slurm[0] / "broken").touch()
    cluster.clear(settings, None)


def test_a_run_that_ends_cancels_its_jobs_and_forgets_its_name(slurm, settings, capsys):
    folder, put = slurm
    cluster.clear(settings, PROFILE)
    put(31, f"{cluster.job_name(settings)}_0b5e")
    cluster.end(settings)
    assert queue(folder) == [] and not (settings.results / ".cluster").exists()
    assert capsys.readouterr().out == "cancelled its 1 jobs on the cluster\n"


def test_a_name_stays_noted_where_its_jobs_cannot_be_cancelled(slurm, settings, capsys):
    folder, put = slurm
    cluster.clear(settings, PROFILE)
    put(41, f"{cluster.job_name(settings)}_0b5e")
    (folder / "broken").touch()
    cluster.end(settings)
    assert "Unable to contact slurm controller; the next run cancels them" in capsys.readouterr().out
    for profile in (PROFILE, None):
        with pytest.raises(cluster.ClusterError, match=r"was not ended.*cancelled here: squeue failed.*remove"):
            cluster.clear(settings, profile)
    (folder / "broken").unlink()
    cluster.clear(settings, None)
    assert queue(folder) == []


def test_a_job_that_does_not_end_stops_the_next_run(slurm, settings, monkeypatch):
    folder, put = slurm
    monkeypatch.setattr(cluster, "CANCELLED_S", 0)
    (folder / "bin" / "scancel").write_text("#!/bin/sh\n")
    put(51, f"{cluster.job_name(settings)}_0b5e")
    with pytest.raises(cluster.ClusterError, match="the jobs 51 were cancelled and have not ended"):
        cluster.clear(settings, PROFILE)
    assert not (settings.results / ".cluster").exists(), "nothing was begun"


def test_without_slurm_one_sentence_says_so(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cluster.ClusterError, match="squeue, a command of SLURM, is not on this machine"):
        cluster.clear(settings, PROFILE)


def test_a_profile_is_found_by_name_or_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("executor: slurm\n")
    assert cluster.find_profile("slurm") == PROFILE
    assert cluster.find_profile(str(tmp_path / "mine")) == tmp_path / "mine"
    for name in ("slrum", "default", "", str(tmp_path)):
        with pytest.raises(cluster.ClusterError, match=r"no profile '.*' for SLURM: it is a name in profiles/"):
            cluster.find_profile(name)


def test_a_profile_asks_for_its_packages(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(cluster.ClusterError, match="is not installed: make cluster"):
        cluster.find_profile("slurm")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, ""),
        ("SLURM-job '18' failed, SLURM status is: 'TIMEOUT'. Reason: x", "SLURM's job 18 ended as TIMEOUT, see 18.log"),
        (
            "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition: gup\nsbatch: error: Batch "
            "job submission failed'.\n    sbatch call:\n        sbatch --parsable",
            "not submitted: sbatch: error: invalid partition: gup sbatch: error: Batch job submission failed",
        ),
        ("Job submission failed with exception: no\nmore", "Job submission failed with exception: no"),
    ],
)
def test_what_slurm_says_of_a_failed_job_is_told_in_one_line(message, reason):
    assert cluster.reason(message, ["18.log"]) == reason


def test_each_try_of_a_failed_job_is_told_and_one_that_was_mended_is_not():
    run = tool("run")
    jobs, began = run.Jobs(), {"event": "job_info", "jobid": 3, "rule_name": "train", "log": ["a.ipynb"]}
    for number, status in ((1, "FAILED"), (2, "TIMEOUT")):
        words = f"SLURM-job '{number}' failed, SLURM status is: '{status}'."
        run.follow(began, jobs)
        run.follow({"event": "job_error", "jobid": 3, "log": ["a.ipynb", "b.log"], "rule_msg": words}, jobs)
    ended = "SLURM's job {} ended as {}, see b.log"
    assert jobs.failed == {"a.ipynb": f"{ended.format(1, 'FAILED')}; then {ended.format(2, 'TIMEOUT')}"}
    assert not jobs.running
    run.follow(began, jobs)
    assert run.follow({"event": "job_finished", "job_id": 3}, jobs)[:2] == ("train", "a.ipynb")
    assert jobs.failed == {}


def test_on_a_cluster_the_profile_says_how_many_jobs_and_the_name_goes_with_them(settings):
    run = tool("run")
    words = run.command("tests/tiny.toml", settings, "sensitivity", PROFILE, 4)
    assert words[1:3] == ["tools/workflow.py", "sensitivity"]
    assert not {"--cores", "--resources"} & {*words}
    assert f"--workflow-profile={PROFILE}" in words
    assert f"--slurm-jobname-prefix={cluster.job_name(settings)}" in words


def test_the_front_door_names_a_profile_that_it_does_not_know(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "run.py"), "demo", "--profile", "slrum"]
    around = os.environ | {"STROKELIB_RESULTS": str(tmp_path / "results")}
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=around)
    assert told.returncode == 1 and "no profile 'slrum'" in told.stderr and len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()



def test_every_rule_says_what_it_asks_of_a_cluster_and_the_readme_of_the_profile_repeats_it():
    rules = re.findall(r"^rule (\w+):.*?(?=^rule |\Z)", SNAKEFILE, re.MULTILINE | re.DOTALL)
    asked = re.findall(
        r"^rule (\w+):(?:(?!^rule ).)*?resources: (gpu=GPU, )?mem_mb=gigabytes\((.+?)\), runtime=hours\((\d+)\)",
        SNAKEFILE,
        re.MULTILINE | re.DOTALL,
    )
    assert len(rules) == 30 and [name for name, *_ in asked] == rules
    table = (PROFILE / "README.md").read_text()
    by_processes = {"2 + S.cohort.jobs": "2 GiB and 1 GiB for each of `cohort.jobs`"}
    for name, _, memory, hours in asked:
        said = re.escape(by_processes.get(memory, f"{memory} GiB"))
        assert re.search(rf"^\| {name} \|.*\| {said} \| {hours} h \|$", table, re.MULTILINE), name
    partitions = yaml.safe_load((PROFILE / "config.yaml").read_text())["set-resources"]
    assert [*partitions] == [name for name, gpu, *_ in asked if gpu], "each has a line for the partition with GPUs"
