"""Run the workflow for one settings file: python tools/run.py demo; or one target of it: ... study sensitivity

With --profile slurm every notebook is a job of a SLURM cluster, as profiles/slurm says, and all else is the same.

Prints a line for every notebook that finishes, with the time left, then Table 1, beside the kept one where there is
one, and the figures.
When something fails, the last line names the notebook that holds the error.
"""

import argparse
import contextlib
import csv
import errno
import json
import os
import platform
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import ahead  # this copy of the project first
import cluster
import estimate
import on_gpu
import psutil

from strokelib.run.digest import digest
from strokelib.run.notebook import time_left
from strokelib.run.paths import place_environment
from strokelib.run.private import check_results
from strokelib.run.provenance import git, machine
from strokelib.run.provenance import short as short_path
from strokelib.run.runtime import ROOT, write_whole
from strokelib.run.settings import Settings, check_sensitivity, load_settings
from strokelib.run.variants import ASKED
from strokelib.run.worlds import check_curve, check_truth, check_worlds, listed

TARGETS = {  # what can be asked for, and the table that is printed at its end
    "": ("Table 1", "table1.csv"),
    "sensitivity": ("One thing changed", "sensitivity.csv"),
    "seeds": ("Differences averaged over training seeds", "seeds_averaged.csv"),
    "rt_apart": ("RT taken apart", "rt_apart.csv"),
    "uncertainty": ("Which measure says what scans to keep", "selective.csv"),
    "leakage": ("What folds leak", "leakage.csv"),
    "imbalance": ("Answers to imbalance", "imbalance.csv"),
    "remarks": ("The paper's remarks", "remarks.csv"),
    "cohorts": ("Other cohorts", "cohorts.csv"),
    "symmetry": ("Symmetry: dose and response", "symmetry.csv"),
    "raw_series": ("What the raw series adds", "raw_series_steps.csv"),
    "beyond": ("Beyond the paper", "beyond.csv"),
    "learning_curve": ("Learning curve", "learning_curve.csv"),
    "finalists": ("The challenge's other finalists, in our reading", "finalists_tests.csv"),
    "chain": ("The chain of rows", "chain_steps.csv"),
}
PROGRESS = re.compile(r"\d+ of \d+ [^,\n]+(, about .+ left)?")  # what strokelib.run.notebook.progress shows
CHANGE = ["mean_difference", "low", "high", "p_holm"]
TOLD = {  # of long tables, which rows and columns are printed
    "leakage": ("metric == 'dsc' and unit == 'patient' and group == 'all patients'", ["scheme", "n", *CHANGE]),
    "imbalance": ("metric == 'dsc'", ["loss", "balanced", "mean", "low", "high", "mean_difference", "p_holm"]),
    "remarks": ("verdict == verdict", ["remark", "section", "verdict"]),
    "cohorts": (
        "cohorts > 0",
        ["metric", "mean", "error", "usual", "honest", "detectable", "flips_sign", "flips_verdict"],
    ),
    "symmetry": (
        "metric == 'dsc' and misfit_mm == 0 and misfit_deg == 0",
        ["new", "old", "symmetry", "registration", "n", "mean_difference", "low", "high", "p", "detectable"],
    ),
    "raw_series_steps": ("metric == 'dsc'", ["new", "old", "n", *CHANGE]),
    "beyond": ("metric == 'dsc'", ["new", "old", "n", *CHANGE, "detectable", "cost"]),
    "learning_curve": (
        "metric == 'dsc'",
        ["variant", "training_scans", "training_patients", "mean", "low", "high", "passes", "training_loss"],
    ),
    "finalists_tests": ("metric == 'dsc'", ["new", "old", "n", *CHANGE, "detectable", "verdict"]),
    "chain_steps": ("metric == 'dsc'", ["step", "new", "old", "n", *CHANGE, "detectable"]),
}
QUIET_S = 60  # after so long without a line, say what is running


@dataclass
class Jobs:
    """What snakemake has said of its jobs so far."""

    planned: dict[str, int] = field(default_factory=dict)  # by rule
    running: dict[int, tuple] = field(default_factory=dict)  # by job id: rule, notebook, start
    seconds: dict[str, list] = field(default_factory=dict)  # by rule, of the finished ones
    failed: dict[str, str] = field(default_factory=dict)  # notebooks, and what the cluster said of them, if anything
    usual: dict[str, float] = field(default_factory=dict)  # seconds by rule, as they were reckoned
    at_once: float = 1.0  # notebooks, as far as one knows before any has finished


def follow(told: dict, jobs: Jobs):
    """Take in an event of tools/workflow.py; return (rule, notebook, seconds) of a finished job."""
    notebook = next(iter(told.get("log", [])), "")
    if told["event"] == "run_info":
        jobs.planned = {rule: count for rule, count in told["stats"].items() if rule != "total"}
    elif told["event"] == "job_info":
        jobs.running[told["jobid"]] = (told["rule_name"], notebook, time.monotonic())
    elif told["event"] == "job_error":
        jobs.running.pop(told["jobid"], None)
        if notebook:
            tries = [jobs.failed.get(notebook), cluster.reason(told["rule_msg"], told["log"][1:])]
            jobs.failed[notebook] = "; then ".join(filter(None, tries))
    elif told["event"] == "job_finished":
        rule, notebook, began = jobs.running.pop(told["job_id"])
        jobs.failed.pop(notebook, None)  # it was tried again
        jobs.seconds.setdefault(rule, []).append(time.monotonic() - began)
        return rule, notebook, jobs.seconds[rule][-1]
    return None


def last_error(log: Path) -> str:
    """Return the last line that looks like an error of what snakemake and its jobs have printed."""
    known = r"^(?!WorkflowError|CalledProcess|RuleException|Error in rule)[\w.]*(?:Error|Exception)\b.*"
    return ["", *re.findall(known, log.read_text(errors="replace"), re.MULTILINE)][-1]


def seconds_left(jobs: Jobs, elapsed_s: float) -> float | None:
    """Estimate the time left from the finished jobs of each kind, of others as reckoned; None where nobody knows."""
    now = time.monotonic()
    finished = sum(map(sum, jobs.seconds.values()))
    usual = {rule: jobs.usual.get(rule, estimate.OTHER_S) for rule in jobs.planned | jobs.seconds}
    reckoned = sum(usual[rule] * len(s) for rule, s in jobs.seconds.items())
    left = 0.0
    for rule, count in jobs.planned.items():
        done = jobs.seconds.get(rule, [])
        if rule == "train" and not done and rule not in jobs.usual:
            return None
        each = sum(done) / len(done) if done else usual[rule] * (finished / reckoned if reckoned else 1)
        left += each * (count - len(done))
    spent = sum(now - began for _, _, began in jobs.running.values())
    at_once = max(1.0, (finished + spent) / elapsed_s) if finished else jobs.at_once
    return max(0.0, left - spent) / at_once


def short(notebook: str, settings: Settings) -> str:
    """Name a notebook by its place in the results folder: rt_sm/fold0/05_crossvalidation."""
    return str((ROOT / notebook).relative_to(settings.results).with_suffix(""))


def outputs(notebook: str) -> list[dict]:
    """Return all outputs of a notebook; none where it cannot be read (papermill is writing it)."""
    try:
        cells = json.loads((ROOT / notebook).read_text())["cells"]
    except (OSError, ValueError):
        return []
    return [output for cell in cells for output in cell.get("outputs", [])]


def first_error(notebook: str) -> str:
    """Return the first line of the error a notebook stopped at."""
    for output in outputs(notebook):
        if output["output_type"] == "error":
            return f"{output['ename']}: {output['evalue']}".splitlines()[0]
    return ""


def progress_line(notebook: str) -> str:
    """Return the progress line of a running notebook, as papermill last saved it."""
    texts = ["".join(o.get("data", {}).get("text/plain", "")) for o in outputs(notebook)]
    return next((f": {text}" for text in reversed(texts) if PROGRESS.fullmatch(text)), "")


def written_since(notebook: str, moment: float) -> bool:
    """Tell whether papermill has begun to write a notebook; on a cluster a job may wait for long before."""
    try:
        return (ROOT / notebook).stat().st_mtime >= moment
    except OSError:
        return False


def clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def lock(settings: Settings):
    """Open the lock of this results folder and hold it; a second run stops here.

    Its open file becomes the standard input of snakemake and of what that starts, so that the lock
    lasts as long as any of them lives, and no longer.
    """
    import fcntl  # here, as Windows has none, which ahead.py says

    settings.results.mkdir(parents=True, exist_ok=True)
    file = open(settings.results / ".lock", "w")  # noqa: SIM115, closed by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another run of {settings.name} is active; wait for it or stop it")
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"this disk has no locks: start no second run of {settings.name} before this one ends", flush=True)
    return file


def stop(child: subprocess.Popen) -> None:
    """End a process and all that it started; the next run redoes what was half written.

    They are frozen from the top down before any is ended: one that still runs may be starting another.
    """
    frozen = [psutil.Process(child.pid)] if child.poll() is None else []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in frozen:
            process.suspend()
        while frozen and (new := set(frozen[0].children(recursive=True)) - set(frozen)):
            for process in new:
                frozen.append(process)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
    for process in frozen:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def clear(settings: Settings) -> None:
    """Remove the temporary files of `runtime.write_whole` whose process is gone: killed, it could not do so itself."""
    folders = [settings.results] + ([settings.data_root] if settings.synthetic else [])
    for folder in folders:
        for path in folder.rglob(".*.part.*"):
            found = re.match(r"\.(\d+)\.part\.", path.name)
            if found and not _writes(int(found[1]), path):
                path.unlink(missing_ok=True)


def _writes(number: int, path: Path) -> bool:
    """Tell whether the process of this number lives and can have written the file, which is not older than it."""
    try:
        process = psutil.Process(number)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= path.stat().st_mtime
    except (psutil.NoSuchProcess, OSError):
        return False


def manifest_file(settings: Settings, target: str) -> Path:
    """Say where the record of a run lies that has come to its end."""
    return settings.results / (f"manifest_{target}.json" if target else "manifest.json")


def write_manifest(settings: Settings, gpu_count: int, elapsed_s: float, target: str, profile: Path | None) -> None:
    """Record what made these results: commit, settings, versions, this machine, and the profile of a cluster."""
    packages = ("torch", "numpy", "scipy", "pandas", "nibabel", "snakemake")
    facts = {
        "settings": settings.name,
        "digest": digest(settings),
        "seed": settings.seed,
        "commit": git("rev-parse", "HEAD"),
        "edited": bool(git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "system": platform.platform(),
        **machine(),
        "cpus": os.cpu_count(),
        "gpus": gpu_count,
        "profile": profile.name if profile else None,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(elapsed_s),
    }
    text = json.dumps(facts, indent=1) + "\n"
    write_whole(manifest_file(settings, target), lambda path: path.write_text(text))


def print_table(path: Path) -> None:
    """Print Table 1, the changes of notebook 09, or another table as it is, as a table of text."""
    import pandas as pd  # here, so that the first line of a run comes at once

    from strokelib.evaluation import tables

    write = {"sensitivity": tables.changes, "table1": tables.table1}.get(path.stem)
    table = pd.read_csv(path)
    if path.stem in TOLD:
        query, columns = TOLD[path.stem]
        table = table.query(query)[columns]
    print((write(table) if write else table).to_string(index=False))


def compare_table(table: Path, kept: Path) -> None:
    """Print the means of Table 1 beside those of the one that is kept, with the difference."""
    import pandas as pd

    from strokelib.evaluation.tables import NONE, number
    from strokelib.vocabulary import COMPARED, METRICS, NAMES

    ours, theirs = (pd.read_csv(path).query("source == 'this run'").set_index("variant") for path in (table, kept))
    whose = "".join(f", {label}" for label in dict.fromkeys(theirs.get("cohort", [])))
    print(f"\nBeside the one kept in {short_path(kept)}{whose}: mean here, mean there, difference")
    for variant in [variant for variant in ours.index if variant in theirs.index]:
        print(f"  {NAMES[variant]}")
        for name in [name for name in COMPARED if f"{name}_mean" in theirs]:
            here, there = (METRICS[name].scale * frame.loc[variant, f"{name}_mean"] for frame in (ours, theirs))
            difference = NONE if pd.isna(here - there) else f"{here - there:+.1f}"
            print(f"    {METRICS[name].column:<16} {number(here, 1):>7} {number(there, 1):>7} {difference:>7}")


def command(name: str, settings: Settings, target: str, profile: Path | None, gpu_count: int) -> list[str]:
    """Return the call of snakemake: on a cluster its profile says how many jobs, here cores and GPUs do."""
    words = [sys.executable, "tools/workflow.py", *([target] if target else [])]
    words += ["--nolock", "--rerun-incomplete", "--nocolor", "--config", f"settings={name}"]
    if profile:
        return words + cluster.options(profile, settings)
    # Without a GPU, as many notebooks as cores and memory allow; with some, tools/on_gpu.py hands them out.
    words += ["--resources", f"gpu={gpu_count * settings.compute.folds_at_once}"] if gpu_count else []
    return [*words, "--cores", str(estimate.cores(settings))]


def run(name: str, settings: Settings, target: str = "", profile: Path | None = None) -> int:
    """Run snakemake under the lock, following its jobs; return its exit code."""
    began = time.monotonic()
    gpu_count = len(on_gpu.gpus())
    reckoned = estimate.UNKNOWN if profile else estimate.estimate(settings, name, gpu_count)
    if too_long := estimate.too_long(reckoned, settings, target):
        sys.exit(too_long)
    called = command(name, settings, target, profile, gpu_count)
    names = [name for notebook, asked in ASKED.items() if asked == target for name in listed(notebook, settings)]
    jobs = Jobs(usual=estimate.usual(reckoned["seconds"], names), at_once=estimate.at_once(reckoned, settings))
    lines, last = queue.Queue(), began
    with lock(settings) as held, open(settings.results / "snakemake.log", "w") as log, contextlib.ExitStack() as at_end:
        cluster.clear(settings, profile)
        if profile:
            at_end.callback(cluster.end, settings)
        clear(settings)
        print(shlex.join(called), file=log, flush=True)
        child = subprocess.Popen(called, cwd=ROOT, stdin=held, stdout=subprocess.PIPE, stderr=log, text=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop(child))
        reader = threading.Thread(target=lambda: [*map(lines.put, child.stdout), lines.put(None)])
        at_end.callback(stop, child)  # which would live on with nobody to follow it
        reader.start()
        while True:
            try:
                line = lines.get(timeout=5)
            except queue.Empty:
                line = "{}"
            if line is None:
                break
            elapsed, failed, planned = time.monotonic() - began, len(jobs.failed), bool(jobs.planned)
            if done := follow({"event": ""} | json.loads(line), jobs):
                say_finished(done, jobs, elapsed, settings)
                last = time.monotonic()
            elif jobs.planned and not planned:
                left = seconds_left(jobs, elapsed)
                rest = f", {time_left(left)} by the speed measured here{estimate.busy()}" if jobs.usual else ""
                print(f"{sum(jobs.planned.values())} jobs to run{rest}", flush=True)
                manifest_file(settings, target).unlink(missing_ok=True)  # of the run before: this one has not ended
            elif len(jobs.failed) > failed:
                print(f"   failed   {short([*jobs.failed][-1], settings)}; what does not need it goes on", flush=True)
            elif time.monotonic() - last > QUIET_S:
                say_running(jobs, elapsed, settings)
                last = time.monotonic()
        code = child.wait()
        at_end.close()  # before a failure is told, which takes its time
        if code == 0:
            if jobs.seconds:
                write_manifest(settings, gpu_count, time.monotonic() - began, target, profile)
            else:
                print("nothing to do: all results are there and up to date")
            say_results(settings, target)
        else:
            say_failure(code, jobs, settings)
    return code if code >= 0 else 128 - code


def say_finished(done, jobs: Jobs, elapsed_s: float, settings: Settings) -> None:
    rule, notebook, seconds = done
    count, total = sum(map(len, jobs.seconds.values())), sum(jobs.planned.values())
    left = seconds_left(jobs, elapsed_s)
    if count == total:
        rest = ""
    elif left is None:
        rest = ", time left known after the first fold"
    else:
        rest = f", {time_left(left)}"
    label = short(notebook, settings) if notebook else rule
    print(
        f"{count:3d} of {total}  {label:<35} {clock(seconds):>7}   after {clock(elapsed_s)}{rest}",
        flush=True,
    )
    for text in ["".join(output.get("text", "")) for output in outputs(notebook)]:
        for line in text.splitlines():
            if line.endswith("training begins anew"):  # hours of work, perhaps; see `training.replaced`
                print(f"           {line}", flush=True)
    if rule == "cohort":
        say_scans(settings)
    if rule == "preprocess":
        say_remarks(settings)


def say_scans(settings: Settings) -> None:
    """Print whose scans notebook 01 found, where they are not all of a cohort, and those that cannot be used."""
    if settings.label != settings.source:
        print(f"   scans    {settings.label}")
    table = settings.results / "bad_cases.csv"
    if not table.is_file():
        return
    with open(table, newline="", encoding="utf-8") as file:
        problems = [row["problem"] for row in csv.DictReader(file)]
    if problems:
        print(f"   refused  {len(problems)} scan{'s' * (len(problems) > 1)}, all in {short_path(table)}; the first:")
    for problem in problems[:5]:
        print(f"            {problem}", flush=True)


def say_remarks(settings: Settings) -> None:
    """Print what notebook 02 remarks on scans that are used, the same on many of them once."""
    table = settings.results / "remarks.csv"
    if not table.is_file():
        return
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows:
        print(f"   remarks  {len({(row['split'], row['case']) for row in rows})} scans, see {short_path(table)}:")
    for remark, count in Counter(row["remark"] for row in rows).most_common(5):
        first = next(row for row in rows if row["remark"] == remark)
        more = f" and {count - 1} more" if count > 1 else ""
        print(f"            {first['split']} case_{first['case']}{more}: {remark}", flush=True)


def say_running(jobs: Jobs, elapsed_s: float, settings: Settings) -> None:
    for _, notebook, began in list(jobs.running.values()):
        if notebook:
            spent = time.monotonic() - began
            state = "running" if written_since(notebook, time.time() - spent) else "waiting"
            progress = progress_line(notebook) if state == "running" else ""
            print(f"   {state}  {short(notebook, settings)} for {clock(spent)}{progress}", flush=True)


def say_results(settings: Settings, target: str) -> None:
    name, file = TARGETS[target]
    figures = settings.results / "figures"
    print(f"\n{name}, {settings.label} ({short_path(figures / file)})")
    print_table(figures / file)
    if not target and (settings.kept / file).is_file():
        compare_table(figures / file, settings.kept / file)
    print("\nFigures")
    for path in sorted(figures.glob("*.png")):
        print(f"  {short_path(path)}")
    print(f"Notebooks as they ran, with HTML: {short_path(settings.results)}/")


def say_failure(code: int, jobs: Jobs, settings: Settings) -> None:
    """Convert the failed notebooks to HTML and end with the first of them and its error."""
    there = [notebook for notebook in jobs.failed if (ROOT / notebook).is_file()]
    if there:
        convert = [sys.executable, "tools/pages.py", *there]
        subprocess.run(convert, cwd=ROOT, stderr=subprocess.DEVNULL)
    if "cohort" not in jobs.seconds and any(name.endswith("02_preprocessing.ipynb") for name in jobs.failed):
        say_scans(settings)  # else they were printed when notebook 01 ended
    log = settings.results / "snakemake.log"
    error, killed = last_error(log), f"ended from outside, see {short_path(log)}"
    for notebook, reason in reversed(jobs.failed.items()):
        its_own = "" if reason and cluster.FAILED not in reason else first_error(notebook)
        print(f"failed: {notebook}: {its_own or reason or error or killed}")
    if code < 0:
        print("stopped; the same command goes on from here")
    elif not jobs.failed:
        print(f"stopped: {error or 'snakemake failed'} ({short_path(log)})")


def main() -> int:
    ahead.explain(__doc__)
    usage = (
        f"python tools/run.py SETTINGS [{' | '.join(filter(None, TARGETS))}] [--profile slurm]; "
        "SETTINGS: a name in configs/ or a .toml file"
    )
    parser = argparse.ArgumentParser(usage=usage, add_help=False)
    parser.error = lambda _: sys.exit(f"usage: {usage}")
    parser.add_argument("settings")
    parser.add_argument(  # make spells it rt-apart
        "target", nargs="?", default="", type=lambda word: word.replace("-", "_"), choices=list(TARGETS)
    )
    parser.add_argument("--profile")
    told = parser.parse_args()
    place_environment()
    try:
        settings = load_settings(told.settings)
        check_results(settings)
        if told.target:
            check_sensitivity(settings)
        if told.target in ("cohorts", "symmetry"):
            check_worlds(settings, {"cohorts": "21_cohorts", "symmetry": "22_symmetry"}[told.target])
        if told.target == "learning_curve":
            check_curve(settings)
        if told.target == "uncertainty":
            check_truth(settings)
        profile = cluster.find_profile(told.profile) if told.profile is not None else None
    except (ValueError, OSError, cluster.ClusterError) as error:
        sys.exit(f"{error}")
    name = str(Path(told.settings).resolve()) if told.settings.endswith(".toml") else told.settings
    try:
        return run(name, settings, told.target, profile)
    except cluster.ClusterError as error:
        sys.exit(f"stopped: {error}")
    except OSError as error:
        where = error.filename or settings.results
        sys.exit(f"stopped: cannot write {where} ({error.strerror}); mend that, and the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
