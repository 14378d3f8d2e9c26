"""What the phantom alone knows of a scan: the true flow and the true core, held against the scan that asks for them."""

from dataclasses import dataclass

import numpy as np

from strokelib.phantom.cohort import finished, read_truth
from strokelib.run.settings import Cohort


@dataclass(frozen=True, eq=False)
class Truth:
    """Of one scan, (x, y, slice); no image shows either without noise, and no reader outlines either."""

    flow: np.ndarray  # float32, as a share of the voxel's normal flow before anything opened again; 0 outside the brain
    core: np.ndarray  # bool, tissue that has died


def truth_of(root, cohort: Cohort, split: str, scan) -> Truth:
    """Read the true flow and core that `phantom.cohort` drew for a scan and wrote beside it.

    Parameters
    ----------
    root : folder of the cohort
    cohort : its settings
    split : "TRAINING" or "TESTING"
    scan : cases.Case or preprocess.Preprocessed

    Raises
    ------
    ValueError : the folder does not hold this very cohort, whole; or what was drawn does not belong to the scan:
        another patient, size or spacing, or an outline of another size.

    What makes a scan is decided by the cohort's seed and its number: `phantom.scan.make_case` gives the same arrays
    again, the flow to the three digits of float16.
    """
    if not finished(root, cohort):
        raise ValueError(
            f"{root} does not hold the whole synthetic cohort of these settings (seed {cohort.seed}), whose truth was "
            "asked for; run notebook 01 again"
        )
    drawn = read_truth(root, split, scan.number)
    record, flow = drawn["record"], drawn["f"].astype(np.float32)
    sides = [float(side) for side in (record["px_mm"], record["px_mm"], record["dz_mm"])]
    pairs = {
        "patient": (scan.patient, record["name"].rpartition("_")[0]),
        "size": (scan.images.shape[1:], flow.shape),
        "voxel in mm": tuple(tuple(np.round(np.float64(each), 3).tolist()) for each in (scan.spacing, sides)),
    }
    if scan.lesion is not None:
        pairs["number of outlined voxels"] = int(np.count_nonzero(scan.lesion)), record["lesion"]["label_voxels"]
    for name, (there, expected) in pairs.items():
        if there != expected:
            raise ValueError(
                f"case_{scan.number}: its {name} is {there}, but the truth in {root} was drawn for {expected}: it is "
                "that of another scan; run notebooks 01 and 02 again"
            )
    return Truth(flow, drawn["core"])
