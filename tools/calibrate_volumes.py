"""Make the volume intervals of the networks that ship, and measure how often they hold the true volume.

    python tools/calibrate_volumes.py CALIBRATION NEW VOLUMES [slices] [exact]

CALIBRATION is the folder of the synthetic cohort that the networks were trained on, of which only the testing scans are
used; NEW that of a cohort with a seed never used before, which is made first where it is missing: as NEW_SEED after
the cohort of configs/study.toml, for which the folder's name must end in that seed, such as data/synthetic/new_seed31.
VOLUMES is a folder for tables of the volumes found, a row a scan: what lies there is not predicted again. Writes
networks/volume_interval.json, where the intervals of a mode that was not asked for stay as they are.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import ahead  # this copy of the project first
import pandas as pd

from strokelib import cases, inference, metrics, nifti, preprocess
from strokelib.evaluation import conformal
from strokelib.phantom.cohort import SUMMARY, make_cohort
from strokelib.postprocess import Pair, binarize
from strokelib.run import runtime, saved
from strokelib.run.paths import place_environment
from strokelib.run.provenance import sha256
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import VARIANTS

LEVEL = 0.9
NAME = "volume_interval.json"


def seed_of(root: Path) -> int:
    """Read which seed a synthetic cohort was made from.

    Raises
    ------
    ValueError : the folder holds no whole synthetic cohort.
    """
    try:
        return int(json.loads((root / SUMMARY).read_text(encoding="utf-8"))["cohort"]["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        made = "python tools/describe_cohort.py study makes one"
        raise ValueError(f"{root} holds no whole synthetic cohort ({error}); {made}") from error


def make_new(root: Path, settings: Settings) -> None:
    """Make the cohort of the settings once more, with the seed that ends the folder's name, if it is not there."""
    if (root / SUMMARY).is_file():
        return
    found = re.search(r"\d+$", root.name)
    if not found:
        raise ValueError(f"{root} does not exist, and its name does not end in a seed to make it from")
    make_cohort(root, dataclasses.replace(settings.cohort, seed=int(found[0])))


def sweep(settings: Settings) -> inference.Sweep:
    """Return how scans are predicted patch by patch: as in the settings, in a pass without dropout."""
    return inference.sweep(VARIANTS["rt_sm"], settings.prediction)


def predict(networks, scan, mode: str, how: inference.Sweep):
    """Predict a preprocessed scan by all networks together, in one of conformal.MODES."""
    images = scan.inputs(mirrored=True)
    if mode == "slices":
        return inference.predict_slices(networks, images, scan.mask)
    return inference.predict(networks, images, scan.mask, how).probability


def volumes(root: Path, splits, table: Path, found_by) -> pd.DataFrame:
    """Find the volume of each scan of a cohort, and lay it beside the true one.

    Parameters
    ----------
    splits : of SPLITS
    table : file of what was found before; it is written after every scan
    found_by : function of a preprocessed scan, to its mask

    Returns
    -------
    frame, a row a scan: split, case, patient, slices, dsc, volume_ml, truth_volume_ml
    """
    rows = saved.read(table).to_dict("records") if table.is_file() else []
    done = {(row["split"], row["case"]) for row in rows}
    for split in splits:
        for file in cases.find_cases(root, split, source="synthetic"):
            if (split, file.number) in done:
                continue
            case = cases.load_case(file)
            truth = case.lesion
            if truth is None:
                truth = nifti.read_image(cases.hidden_truth(root, file.number), file.number)[0] > 0
            mask = found_by(preprocess.preprocess_case(case, device="cpu"))
            row = {"split": split, "case": file.number, "patient": case.patient, "slices": mask.shape[2]}
            row |= {"dsc": metrics.dsc(mask, truth), "volume_ml": metrics.volume_ml(mask, case.spacing)}
            rows.append(row | {"truth_volume_ml": metrics.volume_ml(truth, case.spacing)})
            saved.write_table(table, pd.DataFrame(rows))
    return pd.DataFrame(rows)


def calibrate(known: pd.DataFrame, new: pd.DataFrame, mode: str, cohort: str) -> conformal.VolumeInterval:
    """Make the interval of a mode from known scans, and measure it on new ones; frames of `volumes`."""
    columns = ("volume_ml", "truth_volume_ml", "patient")
    interval = conformal.fit(*(known[name] for name in columns), LEVEL, mode)
    measured = conformal.coverage(interval, *(new[name] for name in columns), cohort)
    return dataclasses.replace(interval, coverage=measured)


def write(path: Path, intervals, facts: dict) -> dict:
    """Write intervals with what they were made of; those of another mode that were made of the same stay."""
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    others = held["modes"] if all(held.get(name) == value for name, value in facts.items()) and held else {}
    made = facts | {"modes": dict(sorted((others | conformal.as_rows(intervals)["modes"]).items()))}
    text = json.dumps(made, indent=1, allow_nan=False) + "\n"
    runtime.write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return made


def told(interval: conformal.VolumeInterval) -> str:
    """Say in a sentence what was measured."""
    seen, (mean, low, high) = interval.coverage, conformal.calibrated(interval.patients, interval.level)
    return (
        f"{interval.mode}: {interval.level:.0%} interval from {interval.scans} scans of {interval.patients} patients, "
        f"{interval.low:+.2f} to {interval.high:+.2f} on the scale of the {interval.scale}; such a calibration comes "
        f"to {mean:.1%} on average, {low:.1%} to {high:.1%}. Measured on {seen.cohort}: {seen.held} of {seen.scans} "
        f"scans held, {seen.share:.1%} by patient (95 % interval {seen.low:.1%} to {seen.high:.1%}, {seen.patients} "
        f"patients), {100 * (seen.share - interval.level):+.1f} points from its level; {seen.below} true volumes below "
        f"and {seen.above} above; median width {seen.median_width_ml:.1f} mL"
    )


def main() -> None:
    ahead.explain(__doc__)
    words = sys.argv[1:]
    modes = [word for word in words if word in conformal.MODES] or list(conformal.MODES)
    folders = [Path(word) for word in words if word not in conformal.MODES]
    if len(folders) != 3:
        sys.exit("usage: python tools/calibrate_volumes.py CALIBRATION NEW VOLUMES [slices] [exact]")
    place_environment()
    root, new, tables = folders
    home = runtime.ROOT / "networks"
    try:
        settings, facts = load_settings("study"), json.loads((home / "facts.json").read_text(encoding="utf-8"))
        runtime.prepare_torch(settings.threads)
        make_new(new, settings)
        seeds = seed_of(root), seed_of(new)
        if settings.cohort.seed != seeds[0] or settings.cohort.seed == seeds[1]:
            raise ValueError(
                f"expected a cohort of seed {settings.cohort.seed}, which the networks were trained on, and one of "
                f"another; got {seeds[0]} and {seeds[1]}"
            )
        pair = Pair(facts["threshold"], facts["min_lesion_voxels"])
        networks = [inference.load_network(home / row["file"])[0] for row in facts["networks"]]
        how, splits = sweep(settings), ((root, ("TESTING",)), (new, cases.SPLITS))
        made = {
            "threshold": pair.threshold, "min_lesion_voxels": pair.min_lesion_voxels, "step": how.step,
            "calibrated_on": f"testing scans of the synthetic cohort, seed {seeds[0]}",
            "measured_on": f"all scans of a synthetic cohort, seed {seeds[1]}",
            "networks": {row["file"]: sha256(home / row["file"]) for row in facts["networks"]},
        }  # fmt: skip
        for mode in modes:
            frames = [
                volumes(where, which, tables / f"seed{seed}_{mode}.csv",
                        lambda scan, mode=mode: binarize(predict(networks, scan, mode, how), pair))
                for (where, which), seed in zip(splits, seeds, strict=True)
            ]  # fmt: skip
            interval = calibrate(*frames, mode, f"synthetic cohort, seed {seeds[1]}")
            write(home / NAME, [interval], made)
            print(told(interval))
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
