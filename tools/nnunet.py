"""An outside reference, nnU-Net, on our scans and folds: python tools/nnunet.py SETTINGS convert, then train, score

convert writes the training scans of the settings in nnU-Net's format, with our folds as its splits; train calls nnU-Net
with a stated budget; score holds its predictions against the lesions, by our metrics. nnU-Net (`nnunetv2`) is no part
of this project: requirements-nnunet.txt says how to get it, docs/nnunet.md what comes of it.
"""

import argparse
import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first
import nibabel as nib
import numpy as np
import pandas as pd

from strokelib import cases, folds, metrics, nifti, preprocess
from strokelib.evaluation import summary
from strokelib.run import saved
from strokelib.run.digest import digest
from strokelib.run.paths import place_environment
from strokelib.run.private import is_tracked
from strokelib.run.provenance import sha256
from strokelib.run.runtime import write_whole
from strokelib.run.settings import Settings, load_settings

DATASET = "Dataset118_StrokeCore"  # nnU-Net knows a data set by its number; those up to 10 are taken
ENDING = ".nii.gz"
# nnU-Net's own shorter trainings, all else being its default; its full one has 1 000 epochs.
TRAINERS = {1: "nnUNetTrainer_1epoch"} | {n: f"nnUNetTrainer_{n}epochs" for n in (5, 10, 20, 50, 100, 250)}
ITERATIONS = 250  # updates an epoch, nnU-Net's default
HERE = Path(__file__).resolve().parent
PLAN = "import nnunetv2.experiment_planning.plan_and_preprocess_entrypoints as own; own.plan_and_preprocess_entry()"
VERSION = "import importlib.metadata as found; print(found.version('nnunetv2'))"


@dataclass(frozen=True)
class Budget:
    """How long nnU-Net trains a fold."""

    epochs: int = 50
    iterations: int = ITERATIONS  # updates an epoch
    configuration: str = "2d"  # most scans have two slices

    @property
    def updates(self) -> int:
        return self.epochs * self.iterations

    @property
    def folder(self) -> str:
        """Name the folder in which nnU-Net keeps what such a training gives."""
        return f"{TRAINERS[self.epochs]}__nnUNetPlans__{self.configuration}"


def identifier(number: int) -> str:
    """Name a scan as nnU-Net knows it."""
    return f"case_{number:03d}"


def usable(settings: Settings) -> list[cases.CaseFiles]:
    """List the training scans that the study trains on.

    Raises
    ------
    FileNotFoundError : there are no scans.
    ValueError : some cannot be used, and the settings do not say to leave them out.
    """
    found, bad = preprocess.check_cases(settings.data_root, settings.data.source)
    bad = bad[bad["split"] == "TRAINING"]
    if len(bad) and not settings.data.skip_bad_cases:
        raise ValueError(
            f"{len(bad)} training scans cannot be used: {bad.iloc[0]['problem']}; mend them, or set "
            "data.skip_bad_cases = true, as for notebook 02"
        )
    return found["TRAINING"]


def our_folds(patients, slices, settings: Settings) -> np.ndarray:
    """Return the fold of each scan, as `crossvalidation.split` deals them out.

    Raises
    ------
    ValueError : folds that leak, or fewer patients than folds.
    """
    how = settings.folds
    if how.scheme not in ("contiguous", "balanced"):
        raise ValueError(f"folds.scheme = {how.scheme!r} leaks; choose 'contiguous' or 'balanced' for a reference")
    return folds.assign_folds(patients, how.count, how.scheme, settings.seed, slices)


def splits(numbers, fold_of) -> list[dict]:
    """Write folds as nnU-Net reads them from splits_final.json: for each the scans to train on and to predict."""
    parts = []
    for fold in sorted({*map(int, fold_of)}):
        names = {"train": [], "val": []}
        for number, own in zip(numbers, fold_of, strict=True):
            names["val" if own == fold else "train"].append(identifier(number))
        parts.append(names)
    return parts


def image_of(array, spacing, dtype) -> nib.Nifti1Image:
    """Make a NIfTI image of a volume (x, y, slice) whose affine says its spacing in mm.

    In ISLES 2018 the affine is the identity whatever the voxel size; here any reader gets the spacing.
    """
    image = nib.Nifti1Image(np.asarray(array, dtype), np.diag([*map(float, spacing), 1.0]))
    image.header.set_xyzt_units("mm")
    return image


def write_scan(folder: Path, case: cases.Case) -> None:
    """Write the modalities of a scan, a file each in the network's order, and its lesion as 0 and 1.

    Raises
    ------
    ValueError : the scan has no lesion.
    """
    if case.lesion is None:
        raise ValueError(f"case_{case.number} has no lesion (OT), which nnU-Net needs to be trained; add the file")
    name = identifier(case.number)
    for place, array in enumerate(case.images):
        image = image_of(array, case.spacing, np.float32)
        write_whole(folder / "imagesTr" / f"{name}_{place:04d}{ENDING}", image.to_filename)
    label = image_of(case.lesion, case.spacing, np.uint8)
    write_whole(folder / "labelsTr" / f"{name}{ENDING}", label.to_filename)


def write_json(path: Path, content) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n"))


def convert(settings: Settings, target: Path) -> pd.DataFrame:
    """Write data set, splits and a table of who is in which fold.

    Returns
    -------
    frame : case, patient, slices, fold.

    Raises
    ------
    ValueError : the folder holds other scans; see also `usable`, `our_folds` and `write_scan`.
    """
    raw, files = target / "nnUNet_raw" / DATASET, usable(settings)
    names = {identifier(file.number) for file in files}
    there = {path.name.removesuffix(ENDING) for path in (raw / "labelsTr").glob(f"*{ENDING}")}
    if there - names:
        raise ValueError(
            f"{raw} holds {len(there - names)} scans that these settings have not, such as {min(there - names)}; "
            "remove it, or name another folder by --folder"
        )
    rows, channels = [], ()
    for place, file in enumerate(files, start=1):
        case = cases.load_case(file)
        if channels and case.modalities != channels:
            raise ValueError(f"case_{case.number} has {', '.join(case.modalities)}, others {', '.join(channels)}")
        channels = case.modalities
        write_scan(raw, case)
        rows.append({"case": case.number, "patient": case.patient, "slices": case.images.shape[-1]})
        print(f"{place} of {len(files)}: {identifier(case.number)}", flush=True)
    table = pd.DataFrame(rows)
    table["fold"] = our_folds(table["patient"].tolist(), table["slices"].tolist(), settings)
    facts = {
        "channel_names": {str(place): name for place, name in enumerate(channels)},
        "labels": {"background": 0, "core": 1},
        "numTraining": len(table),
        "file_ending": ENDING,
    }
    write_json(raw / "dataset.json", facts)
    write_json(target / "nnUNet_preprocessed" / DATASET / "splits_final.json", splits(table["case"], table["fold"]))
    saved.write_table(target / "folds.csv", table)
    return table


def read_folds(target: Path) -> pd.DataFrame:
    """Read who is in which fold.

    Raises
    ------
    FileNotFoundError : nothing was converted yet.
    """
    if not (target / "folds.csv").is_file():
        raise FileNotFoundError(f"no folds.csv in {target}; python tools/nnunet.py SETTINGS convert writes it")
    return saved.read(target / "folds.csv")


def surroundings(target: Path, threads: int) -> dict:
    """Return the variables by which nnU-Net finds its folders, and by which it takes as many threads as we do."""
    places = {name: str(target / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    own = {"OMP_NUM_THREADS": str(threads), "nnUNet_n_proc_DA": str(threads), "nnUNet_compile": "f"}
    return {**os.environ, **places, **own}


def version(python: str) -> str:
    """Return which nnU-Net a Python has.

    Raises
    ------
    ValueError : none.
    """
    with contextlib.suppress(OSError):
        told = subprocess.run([python, "-c", VERSION], capture_output=True, text=True)
        if told.returncode == 0:
            return told.stdout.strip()
    raise ValueError(
        f"{python} has no nnunetv2; install it into an environment of its own as requirements-nnunet.txt says, and "
        "name that one's Python by --python"
    )


def data_digest(raw: Path) -> str:
    """Digest what nnU-Net reads of a data set: names and contents of its images, labels and dataset.json.

    Raises
    ------
    FileNotFoundError : there is no data set.
    """
    facts = raw / "dataset.json"
    if not facts.is_file():
        raise FileNotFoundError(f"no data set in {raw}; python tools/nnunet.py SETTINGS convert writes it")
    files = [facts, *raw.glob(f"imagesTr/*{ENDING}"), *raw.glob(f"labelsTr/*{ENDING}")]
    return digest({path.relative_to(raw).as_posix(): sha256(path) for path in files})


def scans_digest(target: Path) -> str:
    """Digest the scans and the folds that are trained on.

    Raises
    ------
    FileNotFoundError : there is no data set.
    """
    return digest(data_digest(target / "nnUNet_raw" / DATASET), sha256(target / "folds.csv"))


def prepare(target: Path, configuration: str, python: str, threads: int) -> dict:
    """Let nnU-Net plan and preprocess for a configuration, unless that came to its end with the same scans.

    Returns
    -------
    plan of the configuration

    Raises
    ------
    FileNotFoundError : there is no data set.
    ValueError : nnU-Net plans no such configuration for these scans.
    subprocess.CalledProcessError : nnU-Net failed; it has said why.
    """
    now, prepared = data_digest(target / "nnUNet_raw" / DATASET), target / "nnUNet_preprocessed" / DATASET
    plans, mark = prepared / "nnUNetPlans.json", prepared / f"digest_{configuration}.txt"
    ready = plans.is_file() and mark.is_file() and mark.read_text() == now
    if not ready:
        # Plans serve all configurations: one that was preprocessed of other scans does not fit the new ones.
        stale = [path for path in prepared.glob("digest_*.txt") if path == mark or path.read_text() != now]
        # nnU-Net keeps a fingerprint that it finds, and of old plans each configuration that the new ones lack.
        for path in (*stale, plans, prepared / "dataset_fingerprint.json"):
            path.unlink(missing_ok=True)
        asked = ["-d", str(int(DATASET[7:10])), "-c", configuration, "-np", str(threads), "-npfp", str(threads)]
        env = surroundings(target, threads)
        subprocess.run([python, "-c", PLAN, *asked, "--verify_dataset_integrity"], env=env, check=True)
    known = json.loads(plans.read_text())["configurations"]
    if configuration not in known:  # nnU-Net passes over it without a failure
        raise ValueError(
            f"nnU-Net's plans for these scans have no configuration {configuration}, only {', '.join(sorted(known))}; "
            "choose another by --configuration"
        )
    if not ready:
        write_whole(mark, lambda temporary: temporary.write_text(now))
    return known[configuration]


def train(target: Path, budget: Budget, python: str, device: str, threads: int, numbers=None) -> list[dict]:
    """Let nnU-Net prepare the scans and train folds one after the other; it predicts each one's scans at its end.

    Parameters
    ----------
    target : folder of `convert`
    python : that has nnunetv2
    device : "cpu" or "cuda"
    numbers : folds; all by default

    Returns
    -------
    rows of trainings.csv : fold, budget, batch, seconds of the wall, machine, digest of scans and folds.

    Raises
    ------
    ValueError : no nnunetv2; a fold that there is not; see also `prepare`.
    subprocess.CalledProcessError : nnU-Net failed; it has said why.
    """
    known, release = sorted({*read_folds(target)["fold"]}), version(python)
    if wrong := sorted({*(known if numbers is None else numbers)} - {*known}):
        raise ValueError(f"there is no fold {wrong[0]}; folds are {known}")
    number, env = str(int(DATASET[7:10])), surroundings(target, threads)
    plan, data = prepare(target, budget.configuration, python, threads), scans_digest(target)
    rows = []
    for fold in known if numbers is None else numbers:
        asked = [number, budget.configuration, str(fold), "-tr", TRAINERS[budget.epochs], "-device", device]
        began = time.monotonic()
        steps = [HERE / "nnunet_steps.py", str(budget.iterations), str(threads)]
        subprocess.run([python, *steps, *asked], env=env, check=True)
        row = {"fold": fold, "nnunetv2": release, "trainer": TRAINERS[budget.epochs], "epochs": budget.epochs}
        row |= {"configuration": budget.configuration, "updates": budget.updates, "batch": plan["batch_size"]}
        row |= {"patch": "x".join(map(str, plan["patch_size"])), "seconds": round(time.monotonic() - began)}
        rows.append(row | {"data": data, "device": device, "threads": threads, "machine": platform.machine()})
        keep_row(target / "trainings.csv", rows[-1])
    return rows


def keep_row(path: Path, row: dict) -> None:
    """Add a row to a table, in place of an earlier one of the same fold, trainer, configuration and updates."""
    same = ("fold", "trainer", "configuration", "updates")
    earlier = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            earlier = [old for old in csv.DictReader(file) if any(old[key] != str(row[key]) for key in same)]
    saved.write_table(path, pd.DataFrame([*earlier, row]))


def latest_rows(target: Path, budget: Budget) -> pd.DataFrame:
    """Return the last row of trainings.csv of each fold by a trainer and configuration, by fold; none where none is."""
    path = target / "trainings.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["updates"])
    rows = pd.read_csv(path)
    own = rows[(rows["trainer"] == TRAINERS[budget.epochs]) & (rows["configuration"] == budget.configuration)]
    return own.drop_duplicates("fold", keep="last").set_index("fold")  # a later row lies below an earlier one


def trained_updates(target: Path, budget: Budget, numbers) -> int:
    """Return how many updates each of these folds took, by its latest row of trainings.csv.

    nnU-Net's folder of a training goes by trainer and configuration alone, whatever the updates an epoch.

    Raises
    ------
    ValueError : a fold has no row, or took fewer updates than another.
    """
    path, trainer = target / "trainings.csv", TRAINERS[budget.epochs]
    found = latest_rows(target, budget)["updates"].to_dict()
    most = max((found[fold] for fold in numbers if fold in found), default=budget.updates)
    for fold in numbers:
        if found.get(fold) != most:
            had = f"{found[fold]} updates" if fold in found else "no row"
            raise ValueError(
                f"{path} has {had} for fold {fold} of {trainer} in {budget.configuration}, expected {most} updates, as "
                f"many for each fold; train it again: python tools/nnunet.py SETTINGS train --folds {fold} --epochs "
                f"{budget.epochs} --iterations {most // budget.epochs} --configuration {budget.configuration}"
            )
    return int(most)


def check_scans(target: Path, budget: Budget, numbers) -> None:
    """Refuse folds that were trained on other scans, or other folds of them, than `convert` wrote last.

    Raises
    ------
    ValueError : one was, or does not say on which.
    """
    rows, now = latest_rows(target, budget), scans_digest(target)
    if other := [fold for fold in numbers if rows.loc[fold].get("data") != now]:
        raise ValueError(
            f"fold {other[0]} was trained on other scans or folds than now lie in {target}; train it again: python "
            f"tools/nnunet.py SETTINGS train --folds {other[0]}"
        )


def score(settings: Settings, target: Path, budget: Budget) -> pd.DataFrame:
    """Hold nnU-Net's predictions against the lesions by our metrics; folds that are not trained are left out.

    Returns
    -------
    frame, a row a scan : variant ("nnunet"), case, patient, fold, metrics.case_metrics, and who trained it, how long.

    Its masks are taken as they are: the nested pair of threshold and smallest lesion, which our rows take, does not
    apply. It trains to the end of its budget, so that no evaluated scan decides when to stop.

    Raises
    ------
    FileNotFoundError : no fold was trained, or a fold lacks the prediction of a scan.
    ValueError : a prediction of another size, or with other values than 0 and 1; see also `trained_updates` and
        `check_scans`.
    """
    table, results = read_folds(target), target / "nnUNet_results" / DATASET / budget.folder
    done = [fold for fold in sorted({*table["fold"]}) if (results / f"fold_{fold}" / "validation").is_dir()]
    if not done:
        raise FileNotFoundError(f"no fold is predicted in {results}; python tools/nnunet.py SETTINGS train comes first")
    updates = trained_updates(target, budget, done)
    check_scans(target, budget, done)
    files, rows = {file.number: file for file in usable(settings)}, []
    for own in table[table["fold"].isin(done)].itertuples():
        path = results / f"fold_{own.fold}" / "validation" / f"{identifier(own.case)}{ENDING}"
        if not path.is_file():
            raise FileNotFoundError(f"fold {own.fold} lacks {path}; train this fold again")
        case, mask = cases.load_case(files[own.case]), nifti.read_image(path, own.case)[0]
        if mask.shape != case.lesion.shape or not np.isin(mask, (0, 1)).all():
            raise ValueError(f"{path} is no mask of 0 and 1 of shape {case.lesion.shape}; train this fold again")
        row = {"variant": "nnunet", "case": own.case, "patient": own.patient, "fold": own.fold}
        row |= metrics.case_metrics(mask > 0, case.lesion, case.spacing)
        rows.append(row | {"trainer": TRAINERS[budget.epochs], "updates": updates, "cohort": settings.label})
    scores = pd.DataFrame(rows)
    saved.write_table(target / "nnunet_metrics.csv", scores)
    return scores


def row_of(scores: pd.DataFrame, settings: Settings) -> str:
    """Say in a line what nnU-Net comes to: "not run" where a fold is missing, or was trained less than our rows."""
    count, updates = scores["fold"].nunique(), int(scores["updates"].iloc[0])
    how = f"{count} of {settings.folds.count} folds, {updates} updates each, {len(scores)} scans"
    if count < settings.folds.count or updates < settings.sensitivity.updates:
        return f"nnU-Net: not run ({how}: it shows that it runs, and is no evidence)"
    low, high = summary.patient_interval(scores["dsc"], scores["patient"])
    return f"nnU-Net: DSC {100 * scores['dsc'].mean():.1f} % ({100 * low:.1f} to {100 * high:.1f} by patient); {how}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/nnunet.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", help="a name in configs/ or a .toml file")
    parser.add_argument("what", choices=("convert", "train", "score"))
    parser.add_argument("--folder", help="where all of it lies; by default results/SETTINGS/nnunet")
    parser.add_argument("--python", default=sys.executable, help="of the environment that has nnunetv2")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="where it trains (%(default)s)")
    parser.add_argument("--epochs", type=int, default=Budget.epochs, choices=sorted(TRAINERS))
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="updates an epoch of train; few are a trial")
    parser.add_argument("--configuration", default=Budget.configuration, choices=("2d", "3d_fullres"))
    parser.add_argument("--folds", type=int, nargs="+", help="all by default")
    given = parser.parse_args()
    place_environment()
    try:
        settings = load_settings(given.settings)
        folder = settings.results / "nnunet" if given.folder is None else Path(given.folder).expanduser().absolute()
        if is_tracked(folder / "folds.csv"):
            raise ValueError(f"{folder} is no folder that git ignores, and patients' scans go there; name another one")
        budget = Budget(given.epochs, given.iterations, given.configuration)
        if given.what == "convert":
            table = convert(settings, folder)
            people = table["patient"].nunique()
            print(f"{len(table)} scans of {people} patients, {settings.folds.count} folds in {folder}")
        elif given.what == "train":
            for row in train(folder, budget, given.python, given.device, settings.threads, given.folds):
                print(f"fold {row['fold']}: {row['updates']} updates of {row['batch']} patches, {row['seconds']} s")
        else:
            print(row_of(score(settings, folder, budget), settings))
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"stopped: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
