"""How like real scans is a cohort? python tools/describe_cohort.py phantom [seed]

Prints, for the labelled scans of a settings file, every quantity of data/isles18_anchors.csv beside the real scans':
lesions, slices, intensities, what the conventional rule reaches, how well each map alone tells lesion from brain (AUC),
arterial curves; with seconds and megabytes. A synthetic cohort is made first where it is missing; another seed goes
into a folder of its own, so that one can look at a cohort nobody tuned.
"""

import dataclasses
import sys
import time

import ahead  # this copy of the project first
import pandas as pd

from strokelib import cases
from strokelib.evaluation import calibration
from strokelib.phantom.cohort import make_cohort, read_truth
from strokelib.run.paths import place_environment
from strokelib.run.settings import Settings, load_settings


def main() -> None:
    ahead.explain(__doc__)
    place_environment()
    if seed := [word for word in sys.argv[2:] if not word.isdecimal()] or sys.argv[3:]:
        sys.exit(f"usage: python tools/describe_cohort.py SETTINGS [SEED]; a seed is a whole number, got {seed[0]!r}")
    try:
        describe(load_settings(sys.argv[1] if len(sys.argv) > 1 else "phantom"), *map(int, sys.argv[2:]))
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


def describe(settings: Settings, seed: int | None = None) -> None:
    """Make the cohort, of another seed where one is named, and print its figures beside those of real scans."""
    root, cohort = settings.data_root, settings.cohort
    if seed is not None:
        cohort = dataclasses.replace(cohort, seed=seed)
        root = root.with_name(f"{root.name}_seed{cohort.seed}")
    if settings.synthetic:
        began = time.perf_counter()
        make_cohort(root, cohort)
        print(f"{settings.source}, seed {cohort.seed}: {time.perf_counter() - began:.0f} s, {cohort.jobs} processes")
    rows, values, arteries = [], [], []
    files = cases.find_cases(root, "TRAINING", source=settings.data.source)
    for file in files:
        case = cases.load_case(file)
        rows.append(calibration.scan_facts(case))
        values.append(calibration.map_values(case))
        if settings.synthetic:
            artery = read_truth(root, "TRAINING", file.number)["aif"]
            arteries.append(calibration.curve_facts(artery, over_baseline=True))
    curves = pd.DataFrame(arteries) if arteries else None
    found = calibration.measure(pd.DataFrame(rows), pd.concat(values, ignore_index=True), curves)
    table = calibration.compare(found, calibration.anchors())
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20
    print(f"{len(files)} scans of {len({f.patient for f in files})} patients; {size:.0f} MB with the testing scans")
    print(table.round(3).to_string(index=False, na_rep="-"))
    print(*calibration.in_words(table, settings.source), sep="\n")


if __name__ == "__main__":
    main()
