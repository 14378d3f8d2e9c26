"""Brain mask, skull strip, mirrored modalities, normalization."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from strokelib import modalities, plausibility, registration
from strokelib.cases import SPLITS, list_cases, load_case, odd_sizes, splits_there
from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError
from strokelib.run import runtime

SMALLEST_BRAIN = 0.01  # of the voxels; in ISLES 2018 it is about 0.3


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """One scan ready for sampling.

    `images` (input, x, y, slice) float32: the modalities, then the mirrored ones in the same order,
    normalized, exactly 0 outside the brain. `mask` (x, y, slice) bool is the brain of the unmirrored
    scan, `matrix`, `score`, `flip_score` and `quality` are those of its `alignment`.
    """

    images: np.ndarray
    mask: np.ndarray
    lesion: np.ndarray | None
    spacing: np.ndarray
    number: int
    patient: str
    matrix: np.ndarray
    score: float
    flip_score: float
    modalities: tuple[str, ...] = modalities.ISLES  # provided; `images` holds the mirror image of each, too
    quality: float = np.nan  # of the alignment; see `registration.doubt`

    @property
    def provided(self) -> np.ndarray:
        """The modalities that came with the scan, (modality, x, y, slice)."""
        return self.images[: len(self.modalities)]

    @property
    def alignment(self) -> registration.Alignment:
        """How its flipped CT was laid onto it."""
        return registration.Alignment(self.matrix, self.score, self.flip_score, self.quality)

    @property
    def mirrored(self) -> np.ndarray:
        """Their mirror images, (modality, x, y, slice)."""
        return self.images[len(self.modalities) :]

    def inputs(self, mirrored: bool) -> np.ndarray:
        """Return what a network takes: the provided modalities, or these and the mirrored ones."""
        return self.images if mirrored else self.provided


def brain_mask(maps) -> np.ndarray:
    """Mark the voxels where the sum of the perfusion maps is not zero.

    Parameters
    ----------
    maps : (map, x, y, slice), such as `Case.maps`.

    Returns
    -------
    (x, y, slice) bool.

    Raises
    ------
    ValueError : maps of another shape.

    Source: Clèrigues et al. 2019, sec. 2.1.1.
    """
    maps = np.asarray(maps)
    if maps.ndim != 4:
        raise ValueError(f"maps must be (map, x, y, slice), got shape {maps.shape}")
    return maps.sum(axis=0) != 0


def check_cases(root, source: str = "isles2018") -> tuple[dict[str, list], pd.DataFrame]:
    """Read every scan and tell those that can be used from those that cannot.

    Training scans of another size in plane than most are among the latter, since they share one tensor. A scan that is
    not there is no bad one: a copy may hold some scans, or one split, and what is made from it says so.

    Parameters
    ----------
    root : path of the folder that holds TRAINING/, and TESTING/ if there are testing scans
    source : data.source of the settings, a name in cases.LAYOUTS

    Returns
    -------
    list of cases.CaseFiles by split, in numeric order, an empty one for a split that is not there; and the bad cases,
    a frame with a row for each: split, case and problem, the message of the error with which `cases.load_case` or
    `check_case` refuses it.

    Raises
    ------
    FileNotFoundError : no folder of training scans, or no case_N folder in it.
    """
    usable, rows = {}, []
    for split in SPLITS:
        there = split == "TRAINING" or split in splits_there(root, source)
        found, problems = list_cases(root, split, source=source) if there else ([], {})
        sides = {}
        for files in found:
            try:
                case = load_case(files)
                sides[files.number] = check_case(case).shape[:2]
            except CaseError as error:
                problems[files.number] = str(error)
        if split == "TRAINING":
            problems |= odd_sizes(sides)
        usable[split] = [files for files in found if files.number not in problems]
        # A file name may hold bytes that are no text, which neither a table nor a notebook can hold.
        rows += [(split, number, problems[number].encode(errors="replace").decode()) for number in sorted(problems)]
    return usable, pd.DataFrame(rows, columns=["split", "case", "problem"])


def check_case(case) -> np.ndarray:
    """Refuse a scan that cannot be preprocessed; return the brain mask of one that can.

    Parameters
    ----------
    case : cases.Case, of any intensity units but for the modality that shows the head, such as HU of the CT.

    Returns
    -------
    (x, y, slice) bool.

    Raises
    ------
    CaseError : a value is not finite, the slices or the brain mask are too small, a modality is constant over the
        brain, the modality that shows the head is there mostly out of its range (0 to 100 HU of a CT), a map is not 0
        outside of it, or the lesion is wholly outside of it or covers most of it.
    """
    images, name = np.asarray(case.images, dtype=np.float32), f"case_{case.number}"
    for modality, image in zip(case.modalities, images, strict=True):
        if not np.isfinite(image).all():
            raise CaseError(f"{name}: {modality} holds NaN or infinite values; replace the file")
    if min(images.shape[1:3]) < registration.SMALLEST_SIDE:
        raise CaseError(
            f"{name}: its slices have {images.shape[1:3]} voxels, expected sides of at least "
            f"{registration.SMALLEST_SIDE}; replace the scan by a whole one"
        )
    mask = brain_mask(images[modalities.maps(case.modalities)])
    if mask.mean() < SMALLEST_BRAIN:
        maps = [name for name in case.modalities if not MODALITIES[name].head]
        raise CaseError(
            f"{name}: the brain mask is empty or nearly so ({mask.sum()} of {mask.size} voxels), because the perfusion "
            f"maps ({', '.join(maps)}) are 0 almost everywhere; check these files"
        )
    for modality, image in zip(case.modalities, images, strict=True):
        _values(image, mask, modality, name)
    checked = dataclasses.replace(case, images=images)
    plausibility.check_background(checked, mask)
    plausibility.check_outline(checked, mask)
    return mask


def preprocess_case(case, kind: str = "rigid", device: str = "auto") -> Preprocessed:
    """Strip the skull, add the mirrored modalities and normalize.

    The whole head is flipped and aligned before stripping; the mirrored CT is then stripped with
    the mirrored maps. Each modality is brought to mean 0 and standard deviation 1 over its own
    brain: a mirrored one over the mirrored brain, with its own mean and deviation. Outside its own
    brain it is exactly 0. So a voxel in the brain but not in the mirrored brain reads 0, the mean,
    in the mirrored modalities, and one in the mirrored brain alone keeps its mirrored values.

    Parameters
    ----------
    case : cases.Case, of any intensity units but for the modality that shows the head, such as HU of the CT.
    kind, device : as in `registration.align_flipped`.

    Raises
    ------
    CaseError : `check_case` refuses the scan, or it cannot be aligned with its mirror image.

    Source: Clèrigues et al. 2019, sec. 2.1.1.
    Our choice: the normalization, on which the paper is silent, and the treatment of voxels in one
    of the two masks only.
    """
    name, mask = f"case_{case.number}", check_case(case)
    head = modalities.head(case.modalities)
    try:
        alignment = registration.align_flipped(np.float32(case.head), kind, device, MODALITIES[head].head)
    except ValueError as error:
        raise CaseError(
            f"{name}: the {head} cannot be aligned with its mirror image ({error}); check the file"
        ) from error
    return _aligned(case, mask, alignment, device)


def preprocess_aligned(case, alignment: registration.Alignment, device: str = "auto") -> Preprocessed:
    """Do what `preprocess_case` does with an alignment that is known, such as one moved off its place.

    Raises
    ------
    CaseError : `check_case` refuses the scan.
    """
    return _aligned(case, check_case(case), alignment, device)


def _aligned(case, mask, alignment, device: str) -> Preprocessed:
    images, name = np.asarray(case.images, dtype=np.float32), f"case_{case.number}"
    mirrored = registration.mirror(images, alignment, device)
    mirrored_mask = brain_mask(mirrored[modalities.maps(case.modalities)])

    sources = [*((image, mask) for image in images), *((image, mirrored_mask) for image in mirrored)]
    names = modalities.inputs(case.modalities, with_mirrored=True)
    normalized = np.zeros((len(names), *mask.shape), np.float32)
    for modality, (image, inside), target in zip(names, sources, normalized, strict=True):
        values = _values(image, inside, modality, name)
        target[inside] = (values - values.mean()) / values.std()
    return Preprocessed(
        images=normalized,
        mask=mask,
        lesion=None if case.lesion is None else np.asarray(case.lesion, dtype=bool),
        spacing=np.asarray(case.spacing, dtype=np.float64),
        number=int(case.number),
        patient=str(case.patient),
        matrix=alignment.matrix,
        score=alignment.score,
        flip_score=alignment.flip_score,
        modalities=case.modalities,
        quality=alignment.quality,
    )


def _values(image, inside, modality: str, name: str) -> np.ndarray:
    """Return the values of a modality inside its brain mask, which must not be all the same."""
    values = image[inside].astype(np.float64)
    if not values.size or values.min() == values.max():
        raise CaseError(
            f"{name}: {modality} is constant over its brain mask of {values.size} voxels, so it cannot be normalized; "
            "check the file"
        )
    return values


def save_preprocessed(path, p: Preprocessed) -> str:
    """Write one preprocessed scan as an uncompressed .npz; it is there whole or not at all.

    Returns
    -------
    The sha256 of names, types, shapes and values of its arrays, in hexadecimal.

    Raises
    ------
    ValueError : the path does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"a preprocessed scan is written as .npz, got {path}")
    arrays = _arrays(p)
    runtime.write_whole(path, lambda temporary: np.savez(temporary, **arrays))
    return contents_sha256(p)


def contents_sha256(p: Preprocessed) -> str:
    """Return the sha256 of names, types, shapes and values of the arrays of a preprocessed scan, in hexadecimal."""
    contents, arrays = hashlib.sha256(), _arrays(p)
    for name in sorted(arrays):
        contents.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        contents.update(arrays[name].tobytes())
    return contents.hexdigest()


def _arrays(p: Preprocessed) -> dict[str, np.ndarray]:
    values = {field.name: getattr(p, field.name) for field in dataclasses.fields(p)}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def load_preprocessed(path) -> Preprocessed:
    """Read what `save_preprocessed` wrote.

    Raises
    ------
    FileNotFoundError : there is no such file.
    CaseError : the file is damaged or not a preprocessed scan.
    """
    arrays = _read(path)
    missing = {field.name for field in dataclasses.fields(Preprocessed)} - {"lesion", *arrays}
    if missing or arrays["images"].shape != (2 * arrays["modalities"].size, *arrays["mask"].shape):
        raise CaseError(f"{path} is not a preprocessed scan of this version; delete it and run notebook 02")
    return Preprocessed(
        images=arrays["images"],
        mask=arrays["mask"],
        lesion=arrays.get("lesion"),
        spacing=arrays["spacing"],
        number=int(arrays["number"]),
        patient=str(arrays["patient"]),
        matrix=arrays["matrix"],
        score=float(arrays["score"]),
        flip_score=float(arrays["flip_score"]),
        modalities=tuple(arrays["modalities"].tolist()),
        quality=float(arrays["quality"]),
    )


def _read(path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no preprocessed scan {path}; notebook 02 writes it")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # numpy, zipfile, zlib and struct each raise their own
        raise CaseError(
            f"{path} is damaged or no preprocessed scan ({error}); delete it and run notebook 02"
        ) from error
