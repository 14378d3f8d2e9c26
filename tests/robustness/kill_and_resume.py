"""Kill a small study at many moments, let it go on, and compare all it made with that of an undisturbed one.

PYTHONPATH=tests python tests/robustness/kill_and_resume.py [--kills 40] [--seed 1] [--folder DIR]

The settings are those of tests/tiny.toml with twelve updates a row and no second seed. One copy of the project runs
undisturbed. Another is killed again and again, every process of it with SIGKILL, and each time started again: half of
the kills while tools/run.py runs the study, the others while papermill runs one notebook of it, of which the files had
been deleted. Some moments are drawn in seconds. At the others the process that writes a certain file is halted just
before the file gets its name, half of it written (tests/halt.py): networks and their checkpoints, scans, prepared
scans, maps, tables, figures, manifests, the submission. Every kill is a line; the last line counts.

Compared by sha256, name by name: all files below data/synthetic and results of these settings, so that a
temporary file of a killed process which stays there is a difference, too. Of executed notebooks the code and its
outputs are compared, without the metadata that papermill fills with times; and not after kills of papermill alone,
which leaves its copy of a notebook where it was killed, also of one whose files had all been there. Left out is what
holds times or nothing: results/<settings>/snakemake.log, manifest.json and estimate.json, the HTML of the notebooks,
the empty .lock.
The exit code is 1 where something differs.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from project import TIMEOUT_S, TINY, call, copy_project, edited, surroundings
from test_settings import tool

from strokelib.run.runtime import ROOT

SKIPPED = ("results/tiny/snakemake.log", "results/tiny/manifest.json", "results/tiny/.lock")
SKIPPED += ("results/tiny/estimate.json",)  # speed differs from one moment to the next
# What a whole study writes, in this order: moments of a kill under tools/run.py, with how many one process writes.
WRITTEN = [
    ("data/synthetic/tiny/TRAINING/*/*/*.nii.gz", 9), ("data/synthetic/tiny/.truth/*.npz", 2),
    ("data/synthetic/tiny/phantom.json", 1), ("results/tiny/cohort.csv", 1), ("results/tiny/01_*.manifest.json", 1),
    ("results/tiny/preprocessed/*/*.npz", 4), ("results/tiny/registration.csv", 1),
    ("results/tiny/figures/fig1.png", 1),
    ("results/tiny/*/*/network.checkpoint.safetensors", 3), ("results/tiny/*/*/network2.checkpoint.safetensors", 3),
    ("results/tiny/*/*/network.safetensors", 1), ("results/tiny/*/*/case_*.nii.gz", 2),
    ("results/tiny/*/*/predictions.csv", 1), ("results/tiny/*/*/05_*.manifest.json", 1), ("results/tiny/choice.csv", 1),
    ("results/tiny/figures/table1.csv", 1), ("results/tiny/06_*.manifest.json", 1),
    ("results/tiny/test_maps/*.nii.gz", 2),
    ("results/tiny/submission/submission.zip", 1), ("results/tiny/figures/table2.csv", 1),
]  # fmt: skip
# Notebook and parameters, what is deleted before it runs alone, and the moments of a kill; 0 stands for any second.
ALONE = [
    ("05_crossvalidation", {"variant": "rt", "fold": 0}, ["results/tiny/rt/fold0"], [
        "results/tiny/rt/fold0/network.checkpoint.safetensors", 0, "results/tiny/rt/fold0/network.safetensors",
        "results/tiny/rt/fold0/05_*.manifest.json"]),
    ("06_ablations", {}, ["results/tiny/figures/table1.csv", "results/tiny/choice.csv"], [
        "results/tiny/grid.csv", 0, "results/tiny/figures/fig4.png", "results/tiny/error_detection.csv"]),
    ("05_crossvalidation", {"variant": "baseline", "fold": 1}, ["results/tiny/baseline/fold1"], [
        0, "results/tiny/baseline/fold1/network2.checkpoint.safetensors", 0,
        "results/tiny/baseline/fold1/predictions.csv"]),
    ("02_preprocessing", {}, ["results/tiny/preprocessed", "results/tiny/registration.csv"], [
        "results/tiny/preprocessed/*.npz", "results/tiny/registration.csv", 0, "results/tiny/02_*.manifest.json"]),
    ("07_leaderboard_submission", {}, ["results/tiny/test_maps", "results/tiny/submission"], [
        "results/tiny/test_maps/*.nii.gz", "results/tiny/submission/*.zip", 0]),
    ("01_data_exploration", {}, ["data/synthetic/tiny", "results/tiny/cohort.csv"], [
        "data/synthetic/tiny/TRAINING/*.nii.gz", 0, "data/synthetic/tiny/TESTING/*.json",
        "results/tiny/figures/modalities.png"]),
]  # fmt: skip


def prepare(folder):
    """Copy the project, with settings that need a checkpoint and the halting of what writes."""
    copy_project(folder)
    for old, new in (
        ("max_updates = 4", "max_updates = 12"),
        ("patience = 1", "patience = 3"),
        ("seeds = [7]", "seeds = []"),
    ):
        edited(folder / TINY, old, new)
    shutil.copy(ROOT / "tests" / "halt.py", folder / "sitecustomize.py")
    return folder


def alone(project, notebook, parameters):
    """Return the command that runs one notebook without the workflow."""
    place = Path("results/tiny") / (f"{parameters['variant']}/fold{parameters['fold']}" if parameters else "")
    words = ["-m", "papermill", f"notebooks/{notebook}.ipynb", f"{place / notebook}.ipynb", "--cwd", "notebooks"]
    words += ["-k", "python3", "--no-progress-bar", "--no-log-output", "-r", "settings", str(project / TINY)]
    for name, value in parameters.items():
        words += ["-r" if isinstance(value, str) else "-p", name, str(value)]
    return words


def kill(project, command, moment, which=1):
    """Start a command, kill it with all that it started, and say at what moment; None where it ended before.

    Parameters
    ----------
    moment : seconds after the start, or the pattern of a path: when a process has half written such a file
    which : of the files of that pattern that one process writes
    """
    halted = project / ".halted"
    halted.unlink(missing_ok=True)
    timed = not isinstance(moment, str)
    around = surroundings(project) | ({} if timed else {"HALT_AT": f"{which}:{moment}"})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen([sys.executable, *command], cwd=project, env=around, **quiet)
    began = time.monotonic()
    try:
        while child.poll() is None and (time.monotonic() - began < moment if timed else not halted.is_file()):
            if time.monotonic() - began > TIMEOUT_S:
                raise TimeoutError(f"{command} did not end in {TIMEOUT_S} s")
            time.sleep(0.02)
        if child.poll() is not None:
            return None
        seconds, ran = time.monotonic() - began, running(project)
    finally:
        started = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        tool("run").stop(child)
        child.wait()
        while any(map(lives, started)):
            time.sleep(0.02)
    return f"after {seconds:5.1f} s, {'writing ' + halted.read_text() if not timed else 'any moment'}{ran}"


def lives(process):
    """Tell whether a process can still do something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running(project):
    """Name the notebooks that have been started and not ended, as papermill has last saved them."""
    names = []
    for path in sorted((project / "results/tiny").rglob("[0-9][0-9]_*.ipynb")):
        try:
            facts = json.loads(path.read_text())["metadata"]["papermill"]
        except (OSError, ValueError, KeyError):
            continue
        if facts.get("end_time") is None:
            names.append(str(path.relative_to(project / "results/tiny").with_suffix("")))
    return f" [{', '.join(names)}]" if names else ""


def contents(project, executed=True):
    """Return the digest of every file that counts, by its path; with the executed notebooks or without."""
    found, left_out = {}, (".html",) if executed else (".html", ".ipynb")
    for top in ("data/synthetic/tiny", "results/tiny"):
        for path in sorted((project / top).rglob("*")):
            name = str(path.relative_to(project))
            if not path.is_file() or name in SKIPPED or path.suffix in left_out:
                continue
            data = path.read_bytes()
            if path.suffix == ".ipynb":
                data = shown(json.loads(data)["cells"], project).encode()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def shown(cells, project):
    """Return the code and the outputs of a notebook, which hold no time, and not where the copy lies."""
    told = [[cell["source"], []] for cell in cells]
    for cell, (_, outputs) in zip(cells, told, strict=True):
        for output in cell.get("outputs", []):
            printed = "".join(output.get("text", ""))  # in one piece or in several, as it came
            if printed and outputs and outputs[-1][0] == output["name"]:
                outputs[-1][1] += printed
            else:
                outputs.append([output.get("name"), printed, output.get("data"), output.get("ename")])
    return json.dumps(told).replace(str(project), "")


def differences(one, other):
    """List the files that two copies, given by their `contents`, do not both have and have alike."""
    assert len(one) > 80, f"only {len(one)} files to compare"
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def whole(project, *command):
    """Run a command to its end, which must be a good one."""
    told = call(project, *command)
    if told.returncode:
        sys.exit(f"{' '.join(command)} in {project}\n{told.stdout[-3000:]}{told.stderr[-3000:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="a new folder for the copies, which stay there")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    top = options.folder or Path(tempfile.mkdtemp(prefix="kills"))
    top.mkdir(exist_ok=True)
    reference, project = (prepare(top / name) for name in ("undisturbed", "killed"))
    began = time.monotonic()
    whole(reference, "tools/run.py", TINY)
    count = len(contents(reference))
    print(f"undisturbed: {count} files in {time.monotonic() - began:.0f} s", flush=True)
    counts, bad = {"study": 0, "notebook": 0}, {}

    def tell(kind, moment):
        if moment is not None:
            counts[kind] += 1
            print(f"kill {sum(counts.values()):3d}  {kind:<8}  {moment}", flush=True)

    def check(stage, executed):
        bad[stage] = differences(contents(reference, executed), contents(project, executed))
        print(f"compared after {stage}: {', '.join(bad[stage]) or 'all the same'}", flush=True)

    rounds = 0
    while counts["study"] < options.kills // 2:
        rounds += 1
        for name in ("data/synthetic/tiny", "results/tiny", ".snakemake"):
            shutil.rmtree(project / name, ignore_errors=True)
        while counts["study"] < options.kills // 2:
            ahead = [(moment, most) for moment, most in WRITTEN if not any(project.glob(moment))]
            if not ahead:
                break
            moment, most = (draw.uniform(2, 20), 1) if draw.random() < 1 / 3 else draw.choice(ahead[:2])
            tell("study", kill(project, ["tools/run.py", TINY], moment, draw.randint(1, most)))
        whole(project, "tools/run.py", TINY)
        check(f"study {rounds}", True)
    turn = 0
    while counts["notebook"] < options.kills - options.kills // 2:
        notebook, parameters, lost, moments = ALONE[turn % len(ALONE)]
        turn += 1
        command = alone(project, notebook, parameters)
        for name in [*lost, command[3].replace(".ipynb", ".manifest.json")]:
            shutil.rmtree(project / name, ignore_errors=True)
            (project / name).unlink(missing_ok=True)
        (project / command[3]).parent.mkdir(exist_ok=True)  # papermill makes no folder
        for moment in moments:
            tell("notebook", kill(project, command, moment or draw.uniform(3, 12)))
        if draw.random() < 0.5:  # else the study goes on from the killed notebook
            whole(project, *command)
        whole(project, "tools/run.py", TINY)
        check(f"notebook {notebook} {turn}", False)
    differ = sum(map(len, bad.values()))
    print(
        f"{sum(counts.values())} kills, {counts['study']} of a study and {counts['notebook']} of a notebook: "
        f"{differ} differences in {len(bad)} comparisons of {count} files, "
        f"{time.monotonic() - began:.0f} s"
    )
    if not options.folder:
        shutil.rmtree(top)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
