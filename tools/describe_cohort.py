"""How hard is a cohort? python tools/describe_cohort.py phantom [seed]

Prints, for the labelled scans of a settings file: lesion volumes, the share of lesion voxels, how well each map alone
tells lesion from brain (AUC), what the conventional rule reaches, seconds and megabytes. A synthetic cohort is made
first where it is missing; another seed goes into a folder of its own, so that one can look at a cohort nobody tuned.
"""

import dataclasses
import sys
import time

import ahead  # noqa: F401, this copy of the project first
import numpy as np

from strokelib import cases, metrics, postprocess, preprocess, registration
from strokelib.evaluation import agreement
from strokelib.phantom.cohort import make_cohort
from strokelib.run.paths import place_environment
from strokelib.run.settings import load_settings


def quartiles(values) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"median {middle:.1f}, quartiles {low:.1f} and {high:.1f}"


def main() -> None:
    place_environment()
    settings = load_settings(sys.argv[1] if len(sys.argv) > 1 else "phantom")
    root, cohort = settings.data_root, settings.cohort
    if len(sys.argv) > 2:
        cohort = dataclasses.replace(cohort, seed=int(sys.argv[2]))
        root = root.with_name(f"{root.name}_seed{cohort.seed}")
    if settings.synthetic:
        began = time.perf_counter()
        make_cohort(root, cohort)
        print(f"{settings.label}, seed {cohort.seed}: {time.perf_counter() - began:.0f} s, {cohort.jobs} processes")
    else:
        print(settings.label)
    volumes, scores, lesion, brain, maps, truth = [], [], 0, 0, [], []
    files = cases.find_cases(root, "TRAINING", source=settings.data.source)
    for file in files:
        case = cases.load_case(file)
        mask = preprocess.brain_mask(case.maps)
        line = registration.midline(registration.align_flipped(case.head, device="cpu").matrix, mask.shape)
        core = postprocess.conventional_rule(case.image("CBF"), case.image("Tmax"), mask, line)
        scores.append(metrics.dsc(core, case.lesion))
        volumes.append(metrics.volume_ml(case.lesion, case.spacing))
        lesion, brain = lesion + case.lesion.sum(), brain + mask.sum()
        maps.append({name: case.image(name)[mask] for name in case.modalities if name != "CT"})
        truth.append(case.lesion[mask])
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20
    truth = np.concatenate(truth)
    print(f"{len(files)} scans of {len({f.patient for f in files})} patients; {size:.0f} MB with the testing scans")
    print(f"lesion volume of a scan (mL): {quartiles(volumes)}")
    print(f"lesion voxels / brain voxels, pooled: {100 * lesion / brain:.2f} %")
    for modality in maps[0]:
        value = agreement.auc(np.concatenate([values[modality] for values in maps]), truth)
        print(f"voxel AUC of {modality} in the brain: {max(value, 1 - value):.3f}")
    print(f"DSC of the conventional rule: {np.mean(scores):.3f} ± {np.std(scores):.3f}")


if __name__ == "__main__":
    main()
