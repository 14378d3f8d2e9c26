"""Jobs of a run on a SLURM cluster: how they are named, and what becomes of those whose run has ended before them.

All jobs of the runs in one results folder have one name, with snakemake's own for the run after it. A run writes that
name into its results folder before it submits anything. When tools/run.py or the machine it runs on is lost, its jobs
go on; the next run there finds the name, on whatever it runs itself, and cancels them before it starts anything.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import time
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib.run.runtime import ROOT, write_whole
from strokelib.run.settings import Settings

CANCELLED_S = 120  # after so long a cancelled job should have left the queue
ANSWER_S = 60  # of a command of SLURM
FAILED = "ended as FAILED"  # a job whose notebook may tell more


class ClusterError(Exception):
    """The cluster cannot be used or does not answer; one sentence says what to do."""


def find_profile(name: str) -> Path:
    """Return the folder of a profile for SLURM, by its name in profiles/ or its path.

    Raises
    ------
    ClusterError : there is no such profile, or what it needs is not installed.
    """
    folders = [ROOT / "profiles" / name, Path(name).expanduser().resolve()]
    found = [folder for folder in folders if name and (folder / "config.yaml").is_file()]
    if not found or not re.search(r"^executor: *slurm\b", (found[0] / "config.yaml").read_text(), re.MULTILINE):
        raise ClusterError(
            f"no profile {name!r} for SLURM: it is a name in profiles/, as slurm, or a folder with a config.yaml in "
            "which executor is slurm"
        )
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        raise ClusterError(
            "snakemake-executor-plugin-slurm is not installed: make cluster (pip install -r requirements-cluster.lock)"
        )
    return found[0]


def job_name(settings: Settings) -> str:
    """Name the jobs of the runs in this results folder, which nobody else's have; the executor takes 50 characters."""
    plain = re.sub(r"[^A-Za-z0-9]", "-", settings.name)[:20]
    where = f"{os.getuid()} {settings.results.resolve()}"
    return f"strokelib_{plain}_{hashlib.sha256(where.encode()).hexdigest()[:12]}"


def options(profile: Path, settings: Settings) -> list[str]:
    """Return what snakemake is told of the cluster: the profile, the name of the jobs, and where their logs go."""
    logs = settings.results / "slurm_logs"
    return [f"--workflow-profile={profile}", f"--slurm-jobname-prefix={job_name(settings)}", f"--slurm-logdir={logs}"]


def jobs(name: str) -> list[str]:
    """List the numbers of this user's jobs of a name that wait, run or end.

    Raises
    ------
    ClusterError : SLURM's squeue is missing or fails.
    """
    told = _call("squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%j")
    pairs = (line.strip().partition("|") for line in told.splitlines())
    return sorted({number for number, _, full in pairs if full.startswith(f"{name}_")})


def cancel(name: str) -> int:
    """Cancel this user's jobs of a name, wait until they have ended, and return how many they were.

    Raises
    ------
    ClusterError : SLURM's commands are missing or fail, or a job does not end.
    """
    found, began = set(), time.monotonic()
    while left := jobs(name):
        if time.monotonic() - began > CANCELLED_S:
            raise ClusterError(f"the jobs {', '.join(left)} were cancelled and have not ended; see squeue, try later")
        if new := set(left) - found:  # also those that a process submitted while it was being killed
            _call("scancel", *sorted(new))
            found |= new
        time.sleep(1)
    return len(found)


def clear(settings: Settings, profile: Path | None) -> None:
    """Cancel what an earlier run in this results folder left behind; note the name of what is to come.

    It is called under the lock of the folder. A run without a profile asks only where a run on a cluster was not ended.

    Raises
    ------
    ClusterError : SLURM cannot be asked, and there may be such jobs.
    """
    note = _note(settings)
    names = {note.read_text().strip()} if note.is_file() else set()
    names |= {job_name(settings)} if profile else set()
    for name in sorted(names):
        try:
            count = cancel(name)
        except ClusterError as error:
            if not note.is_file():
                raise
            raise ClusterError(
                f"a run on a cluster in {settings.results} was not ended, and its jobs, named {name}_..., cannot be "
                f"cancelled here: {error}. Start on a machine of that cluster, or, once no such job is left, remove "
                f"{note}"
            ) from error
        if count:
            print(f"cancelled {count} jobs of a run that had been lost, {name}_...", flush=True)
    if profile:
        write_whole(note, lambda path: path.write_text(f"{job_name(settings)}\n"))
    else:
        note.unlink(missing_ok=True)


def end(settings: Settings) -> None:
    """Cancel the jobs of a run that ends; the name stays noted where that cannot be done."""
    try:
        if count := cancel(job_name(settings)):
            print(f"cancelled its {count} jobs on the cluster", flush=True)
    except ClusterError as error:
        print(f"its jobs on the cluster may go on: {error}; the next run cancels them", flush=True)
    else:
        with contextlib.suppress(OSError):
            _note(settings).unlink()


def reason(message: str | None, logs: list[str]) -> str:
    """Shorten what the executor says of a failed job: how SLURM ended it, or why it did not take it; "" for nothing."""
    ended = re.search(r"SLURM-job '(\w+)' failed, SLURM status is: '(\w+)'", message or "")
    if ended:
        return f"SLURM's job {ended[1]} ended as {ended[2]}, see {' '.join(logs)}"
    refused = re.search(r"error message was '(.*?)'\.$", message or "", re.MULTILINE | re.DOTALL)
    return f"not submitted: {' '.join(refused[1].split())}" if refused else (message or "").partition("\n")[0]


def _note(settings: Settings) -> Path:
    return settings.results / ".cluster"


def _call(*command: str) -> str:
    """Run a command of SLURM; return what it prints."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except FileNotFoundError as error:
        raise ClusterError(f"{command[0]}, a command of SLURM, is not on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{command[0]} did not answer within {ANSWER_S} s") from error
    if told.returncode:
        raise ClusterError(f"{command[0]} failed: {' '.join(told.stderr.split())}")
    return told.stdout
