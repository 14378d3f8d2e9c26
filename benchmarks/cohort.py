"""Making the synthetic cohort: one scan of 8 slices on one core, and 20 of them on two processes.

Work: scans of 256 x 256 x 8 voxels and 49 frames, one a patient. In memory by make_case; as compressed files
of the ISLES 2018 layout, without the 4-D series, by make_cohort into an empty temporary folder, as notebook
01 does. There is no peer: targets are in seconds. First, two scans by one process and by two must be equal to the byte.
"""

import dataclasses
import tempfile
from pathlib import Path
from unittest import mock

import measure

from strokelib.phantom.cohort import make_cohort
from strokelib.phantom.scan import CasePlan, make_case, plan_cohort
from strokelib.run.settings import Cohort

COHORT = Cohort(
    seed=2018, training_patients=20, testing_patients=1, max_slices=22, difficulty="real", series_cases=0,
    compress=True, jobs=1,
)  # fmt: skip
PROCESSES = 2


def plan_scans() -> list[CasePlan]:
    """Plan a scan of 8 slices for each training patient, with the patient's own head and volume of the core."""
    own = [plan for plan in plan_cohort(COHORT) if plan.split == "TRAINING" and plan.slab == "A"]
    geometry = {"two_slabs": False, "slices": 8, "frames": 49, "dz_mm": 5.0}
    return [dataclasses.replace(plan, number=number, **geometry) for number, plan in enumerate(own, start=1)]


def write(root, plans, processes: int) -> None:
    """Write these scans. Only the plan is replaced: no cohort of the real geometry has 8 slices throughout."""
    with mock.patch("strokelib.phantom.cohort.plan_cohort", return_value=plans):
        make_cohort(root, dataclasses.replace(COHORT, jobs=processes))


def write_and_weigh(plans, processes: int) -> str:
    """Do what is timed, in a temporary folder; to weigh its files and to remove them takes milliseconds."""
    with tempfile.TemporaryDirectory() as root:
        write(root, plans, processes)
        images, truth = (
            sum(path.stat().st_size for path in Path(root, folder).rglob("*") if path.is_file()) / len(plans) / 2**20
            for folder in ("TRAINING", ".truth")
        )
    return f"{images:.2f} MB a scan + {truth:.2f} MB truth"


def written(plans, processes: int) -> dict[str, bytes]:
    """Write these scans and return the bytes of every file by its path."""
    with tempfile.TemporaryDirectory() as root:
        write(root, plans, processes)
        files = (path for path in Path(root).rglob("*") if path.is_file())
        return {str(path.relative_to(root)): path.read_bytes() for path in files}


def check_processes(plans) -> None:
    """Refuse to go on where files depend on the number of processes."""
    one, two = written(plans, 1), written(plans, PROCESSES)
    different = sorted(path for path in one | two if one.get(path) != two.get(path))
    if different:
        raise SystemExit(f"one process and {PROCESSES} write different files: {', '.join(different)}")


def compare(repeats: int) -> list:
    plans = plan_scans()
    check_processes(plans[:2])
    few, sizes = min(repeats, 3), []  # few, for 20 scans take many seconds
    in_memory = measure.in_turn({"ours": lambda: make_case(COHORT, "TRAINING", 1)}, repeats)
    one = measure.in_turn({"ours": lambda: write_and_weigh(plans[:1], 1)}, repeats)
    twenty = measure.in_turn({"ours": lambda: sizes.append(write_and_weigh(plans, PROCESSES))}, few)
    work = f"{len(plans)} scans of 8 slices as files, {PROCESSES} processes"
    return [
        *measure.rows("one scan of 8 slices in memory, one core", in_memory, "ours", {}, repeats),
        *measure.rows("one scan of 8 slices as files, one core", one, "ours", {"ours": "target 1.5 s"}, repeats),
        *measure.rows(work, twenty, "ours", {"ours": f"target 30 s; {sizes[0]}"}, few),
    ]


if __name__ == "__main__":
    measure.main(compare)
