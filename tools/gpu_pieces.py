"""The paper's numbers in pieces, for machines that are lent by the half hour: train, predict, pack, unpack.

Every piece goes on where the last one ended: networks that are finished stay, others continue from their last whole
epoch. The folds of a variant are trained in one process, which fills a GPU as notebooks side by side do not. What
notebooks do is done by the notebooks, by papermill where it is installed and else cell by cell in this process.
"""

import json
import os
import sys
import tarfile
import time
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from strokelib import cases, crossvalidation, extra_inputs, inference, preprocess, raw_series, training
from strokelib.phantom.cohort import finished
from strokelib.run import provenance, stages
from strokelib.run.notebook import time_left
from strokelib.run.runtime import ROOT, prepare_torch
from strokelib.run.settings import Settings
from strokelib.run.variants import ASKED, OF_FILES, OF_SERIES, compared, main_rows, method, weights
from strokelib.run.worlds import has_cohorts, listed
from strokelib.vocabulary import MONITORS

PART_BYTES = 15 * 2**20  # of a packed file
CHECKED_EVERY = 64  # steps between two looks at the clock
TOLD_EVERY_S = 30


def execute(notebook: str, saved: Path, **parameters) -> None:
    """Run a notebook with parameters; where papermill is installed, save it as it ran."""
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    if find_spec("papermill") and find_spec("ipykernel"):
        import papermill

        os.environ["STROKELIB_NOTEBOOK"] = str(saved)
        saved.parent.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(path, saved, parameters, cwd=path.parent, kernel_name="python3", progress_bar=False)
        return
    if not find_spec("IPython"):
        sys.modules.setdefault("IPython", _bare_ipython())
        sys.modules.setdefault("IPython.display", sys.modules["IPython"].display)
    import matplotlib
    from IPython.display import display

    matplotlib.use("agg")
    space = {"__name__": "__main__", "In": [], "display": display}  # a kernel has the last one without an import
    sources = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    for number, source in enumerate(sources):
        exec(compile(source, f"{notebook}, cell {number + 1}", "exec"), space)
        if number == 0:  # the parameters' own cell
            unknown = parameters.keys() - space.keys()
            if unknown:
                raise ValueError(f"{notebook} has no parameter {', '.join(sorted(unknown))}")
            space |= parameters


def _bare_ipython() -> types.ModuleType:
    """Stand in for what notebooks take of IPython: what they would show is printed, or nothing."""
    bare, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    bare.get_ipython, bare.display, bare.version_info = lambda: None, display, (9, 0)  # which matplotlib looks at
    bare.__spec__ = ModuleSpec("IPython", None)  # without one nobody can ask again whether it is there
    display.display = lambda *shown: print(*shown)
    display.Markdown = display.HTML = display.Math = str
    display.Image = lambda filename=None, width=None, **_: f"[{filename}]"
    display.clear_output = lambda *_: None
    return bare


def extended(scans, sha256, extra: str, settings: Settings) -> tuple:
    """Give scans what a row takes beside the modalities, as notebook 05 does; return them and what tells them apart."""
    if not extra:
        return scans, sha256
    wanted = [scan.number for scan in scans] if extra in OF_FILES else []
    found = cases.find_cases(settings.data_root, "TRAINING", wanted, settings.data.source) if wanted else []
    files = {file.number: file for file in found}

    def beside(scan):
        if extra in OF_SERIES:
            return extra_inputs.load_maps(settings.results / stages.SERIES.format(split="TRAINING", case=scan.number))
        if extra in OF_FILES:
            return raw_series.beside(extra, files[scan.number], scan, "TRAINING", settings.drawn)
        return None

    scans = [extra_inputs.extended(scan, extra, beside(scan)) for scan in scans]
    if silent := extra_inputs.without_series(scans, extra):
        print(f"{len(silent)} of {len(scans)} scans have no usable series", flush=True)
    return scans, [preprocess.contents_sha256(scan) for scan in scans]


def train_row(name: str, settings: Settings, data, count: int, device, until: float) -> bool:
    """Train the folds of a row of Table 1, or of a change of one, in turn.

    Parameters
    ----------
    data : the preprocessed training scans, and their sha256
    count : how many folds, the first ones

    Returns
    -------
    whether they are finished before `until`, by time.monotonic.
    """
    row, how = method(name, settings)
    scans, sha256 = extended(*data, row.extra, settings)
    folds = [crossvalidation.split(scans, number, how) for number in range(count)]
    jobs = [crossvalidation.jobs(f, row, how, settings.results / name / f"fold{f.number}", sha256) for f in folds]
    if all(training.is_finished(job) for networks in jobs for job in networks):
        return True
    prepare_torch(settings.threads, settings.compute.precision)
    stack = crossvalidation.resident(scans, row, how, device.type)
    for which in range(row.networks):
        turns = []
        for fold, networks in zip(folds, jobs, strict=True):
            if training.is_finished(networks[which]):
                continue
            preferred = None
            if which:
                first, preferred = inference.load_network(networks[0].network_file, device)[0], {}
                for scan, seen in crossvalidation.mistaken(fold, first, row, how):  # minutes for all folds
                    if time.monotonic() > until:
                        print(f"{name}: out of time before the second networks; the next piece goes on", flush=True)
                        return False
                    preferred[scan] = seen
            sets = crossvalidation.sets(fold, stack, row, how, preferred)
            turns.append(training.training_steps(networks[which], stack, sets, device))
        for number, (done, most) in enumerate(training.train_in_turn(turns, device)):
            if number % CHECKED_EVERY:
                continue
            now = time.monotonic()
            if now > until:
                print(f"{name}: out of time after {done} of at most {most} steps; the next piece goes on", flush=True)
                return False
            if number <= CHECKED_EVERY:  # the first steps compile, for a minute or more: no measure of the rest
                began, told, first = now, now, done
            elif now - told > TOLD_EVERY_S:
                left = time_left((now - began) * (most - done) / (done - first))
                print(f"{name}: {done} of at most {most} steps, {left}", flush=True)
                told = now
    return True


def is_made(settings: Settings, path: str) -> bool:
    """Tell whether a file in results/<settings> is there as its notebook would make it now, with all beside it."""
    try:
        provenance.verify(settings, path)
    except (FileNotFoundError, ValueError):  # never made, half made, or by other settings or other code
        return False
    return True


def phantom(settings: Settings, path: str, device, seconds: float, further: Sequence[str] = ()) -> bool:
    """Go on with a whole study for so many seconds; tell whether it is finished.

    Parameters
    ----------
    path : the settings as the notebooks take them: a name in configs/, or the whole path of a file
    further : which notebooks of ASKED are made, too, those that a run makes only when asked for; not those of cohorts
        where there are none
    """
    until, results = time.monotonic() + seconds, settings.results

    def once(notebook: str, lacking: bool = False) -> None:
        """Run a notebook unless what it writes is there; notebook 00 writes nothing, and shows the end."""
        alone = [file for file in stages.STAGES[notebook].writes if "{" not in file]
        if lacking or not alone or not all(is_made(settings, file) for file in alone):
            execute(notebook, results / f"{notebook}.ipynb", settings=path)

    synthetic = settings.data.source == "synthetic"  # its scans, which are not packed, notebook 01 makes
    once("01_data_exploration", lacking=synthetic and not finished(settings.data_root, settings.cohort))
    once("02_preprocessing")
    facts = pd.read_csv(results / "registration.csv").query("split == 'TRAINING'")
    files = [results / stages.SCAN.format(split="TRAINING", case=case) for case in facts.case]
    scans = [preprocess.load_preprocessed(file) for file in files]
    counts = dict.fromkeys(main_rows(settings), settings.folds.count)
    asked = [name for name in ASKED if name in further and has_cohorts(name, settings)]
    for names, folds in (compared(notebook, settings) for notebook in asked):
        counts |= {name: max(folds, counts.get(name, 0)) for name in names}
    networks = {}
    for name, folds in counts.items():  # some of which another row uses in more folds
        used = weights(name, settings)
        networks[used] = max(folds, networks.get(used, 0))
    # Who uses networks of another asks for what that one's notebook has written: all that train come first.
    counts = {name: max(networks.get(name, 0), counts.get(name, 0)) for name in [*networks, *counts]}
    first = [weights(row, settings) for row in reversed(main_rows(settings))]
    for name in dict.fromkeys([*first, *networks]):
        if method(name, settings)[0].extra in OF_SERIES:
            once("23_raw_series")
        if not train_row(name, settings, (scans, facts.sha256), networks[name], device, until):
            return False
    for name, folds in counts.items():
        for fold in range(folds):
            if time.monotonic() > until:
                print(f"out of time before the maps of {name}, fold {fold}; the next piece goes on", flush=True)
                return False
            home = stages.FOLD.format(variant=name, fold=fold)
            if not is_made(settings, f"{home}/predictions.csv"):
                saved = results / home / "05_crossvalidation.ipynb"
                execute("05_crossvalidation", saved, settings=path, variant=name, fold=fold, device=device.type)
    for world in dict.fromkeys(name for notebook in asked for name in listed(notebook, settings)):
        if time.monotonic() > until:
            print(f"out of time before the cohort {world}; the next piece goes on", flush=True)
            return False
        if not is_made(settings, f"worlds/{world}/scores.csv"):
            saved = results / "worlds" / world / "20_another_cohort.ipynb"
            execute("20_another_cohort", saved, settings=path, world=world, device=device.type)
    rest = ("03_sampling", "04_model", "06_ablations", "07_leaderboard_submission", "08_errors_and_uncertainty")
    for notebook in (*rest, "10_trust", "14_published_numbers", *asked, "00_overview"):
        once(notebook)
    return True


def pack(settings: Settings, folder: Path, chapters: bool = False) -> list[Path]:
    """Pack what is worth keeping of a run into files of at most 15 MiB: tables and figures first, then networks.

    Scans and maps stay behind: they are made again from settings and networks. So do networks chosen by another monitor
    than their row's, with which notebook 12 alone predicts, unless `chapters` are to go on elsewhere. Checkpoints go
    along where their network is not finished.
    """
    results = settings.results
    small = [p for kind in ("csv", "json", "png", "zip") for p in sorted(results.rglob(f"*.{kind}"))]
    other = (".checkpoint.", *(() if chapters else (f".{monitor}." for monitor in MONITORS)))
    whole = [p for p in sorted(results.rglob("network*.safetensors")) if not any(word in p.name for word in other)]
    begun = sorted(results.rglob("*.checkpoint.safetensors"))
    checkpoints = [p for p in begun if p.with_name(p.name.replace(".checkpoint", "")) not in whole]
    small = [p for p in small if not {"preprocessed", "scans"} & {*p.relative_to(results).parts}]
    groups, room = [], 0
    for path in [*small, *whole, *checkpoints]:
        size = path.stat().st_size + 1024
        if not groups or size > room:
            groups.append([])
            room = PART_BYTES
        groups[-1].append(path)
        room -= size
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, group in enumerate(groups, start=1):
        made.append(folder / f"{settings.name}_{number}.tar")
        with tarfile.open(made[-1], "w") as tar:
            for path in group:
                tar.add(path, path.relative_to(results).as_posix())
    return made


def unpack(settings: Settings, folder: Path) -> int:
    """Put what `pack` made back into results/<settings>; return how many files."""
    count = 0
    for path in sorted(folder.glob(f"{settings.name}_*.tar")):
        with tarfile.open(path) as tar:
            tar.extractall(settings.results, filter="data")
            count += len(tar.getnames())
    return count
