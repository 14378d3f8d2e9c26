"""Derive data/anatomy.npz, under the synthetic cohort, from the ICBM152 2009a template.

Run it once, by hand:

    pip install --no-deps --target /some/folder nilearn==0.14.1
    python tools/build_anatomy.py /some/folder/nilearn/datasets/data

The three template volumes (gray matter, white matter, skull-stripped T1; 1 mm, mirror-symmetric)
travel in nilearn's wheel, which is needed for nothing else. The result is a fraction of them: 2 mm,
32 gray levels, the right half.
"""

import hashlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "gray": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "white": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
    "t1": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
}
LEVELS = 31  # fractions are stored as 0..31
STEP = 2  # every second voxel, after a blur of 0.6 voxels


def read(folder: Path, name: str) -> np.ndarray:
    """Read one template volume as float in [0, 1]."""
    path = folder / SOURCES[name]
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; give the folder nilearn/datasets/data of nilearn 0.14.1")
    return np.asarray(nib.load(path).dataobj) / 255.0


def intracranial(t1: np.ndarray) -> np.ndarray:
    """Fill the skull-stripped T1 to the inside of the skull, sulci and ventricles included."""
    closed = ndimage.binary_closing(ndimage.binary_dilation(t1 > 0), iterations=6)
    return ndimage.binary_fill_holes(closed).astype(float)


def shrink(volume: np.ndarray) -> np.ndarray:
    """Blur, keep every second voxel, the half with x >= 0, and 32 gray levels."""
    small = np.clip(ndimage.gaussian_filter(volume, 0.6)[::STEP, ::STEP, ::STEP], 0, 1)
    levels = np.round(LEVELS * small).astype(np.uint8)
    if not np.array_equal(levels, levels[::-1]):
        raise ValueError("the template is not mirror-symmetric; is it the 09a symmetric one?")
    return levels[levels.shape[0] // 2 :]


def main(folder: Path) -> None:
    volumes = {
        "gray": read(folder, "gray"),
        "white": read(folder, "white"),
        "intracranial": intracranial(read(folder, "t1")),
    }
    path = ROOT / "data" / "anatomy.npz"
    np.savez_compressed(path, **{name: shrink(volume) for name, volume in volumes.items()})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{path}: {path.stat().st_size} bytes, sha256 {digest}; write it into data/anatomy_NOTICE.txt")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
