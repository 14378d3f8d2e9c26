"""What a network is given beside the modalities that came with a scan, or for some: others, each with a mirror image.

Whoever reads a scan with them needs nothing new: they stand among its modalities and have mirror images as all do.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from strokelib import bolus, modalities, registration
from strokelib.nifti import CaseError
from strokelib.preprocess import Preprocessed
from strokelib.run.variants import EXTRA, OF_SERIES

AROUND = 12.0  # voxels, the standard deviation of the window of "surroundings"
# The names of `bolus.fit`, and theirs as modalities; the second are fitted with less smoothing (`raw_series.SHARPER`).
FITTED = {name: f"fitted {name}" for name in bolus.NAMES}
SHARP = {name: f"sharp {name}" for name in bolus.NAMES}
SAMPLES_S = tuple(range(-6, 26, 2))  # after the arterial peak: of "curves"
HALVED = ("curves",)  # so many inputs that all images are kept as float16: normalized values with three digits
CURVES = tuple(f"curve at {second:+d} s" for second in SAMPLES_S)
PROVIDED = {"CBF": "CBF", "CBV": "CBV", "MTT": "MTT", "delay": "Tmax"}  # what came with the scan and says the same


def given(extra: str, names) -> tuple[str, ...]:
    """Name what a network is given with extra inputs, one of EXTRA, of a scan that came with these modalities."""
    if extra == "fitted":
        return (*names, *FITTED.values())
    if extra == "sharp":
        return (*(name for name in names if name not in PROVIDED.values()), *SHARP.values())
    if extra == "curves":
        return (*names, *CURVES)
    if extra == "windowed":
        return tuple(f"windowed {name}" for name in names)
    named = {"": "", "difference": "difference of {}", "neighbors": "{} beside", "surroundings": "{} around"}[extra]
    return (*names, *(named.format(name) for name in names if named))


def extended(scan: Preprocessed, extra: str, maps: dict[str, np.ndarray] | None = None) -> Preprocessed:
    """Give a scan what a variant names as its extra inputs.

    Parameters
    ----------
    scan : preprocess.Preprocessed
    extra : one of EXTRA: "" adds nothing; "difference", "neighbors" and "surroundings" as the functions below; "fitted"
        adds maps of the raw series as `with_maps` does, "sharp" puts sharper ones in place as `with_sharp_maps` does;
        "curves" adds samples of the series itself, normalized together, with all images as float16, since they are four
        times as many; "windowed" puts the images of `within_windows` in place of all
    maps : what the last four are made of, by name; see `load_maps`, `within_windows` and `raw_series.samples`

    What comes out has the modalities that `given` names.

    Raises
    ------
    ValueError : another name, or no maps where they are needed.
    """
    if extra not in EXTRA:
        raise ValueError(f"extra inputs must be one of {', '.join(map(repr, EXTRA))}, got {extra!r}")
    if extra == "difference":
        return with_difference(scan)
    if extra == "neighbors":
        return with_neighbors(scan)
    if extra == "surroundings":
        return with_surroundings(scan)
    if not extra:
        return scan
    if not maps:
        advice = "; notebook 23 writes them" if extra in OF_SERIES else ""
        raise ValueError(f"case_{scan.number}: no maps for {extra!r} were given{advice}")
    if extra == "windowed":
        return _windowed(scan, maps)
    if extra == "curves":
        made = with_maps(scan, {name: maps[name] for name in CURVES}, together=True)
        return dataclasses.replace(made, images=made.images.astype(np.float16))
    names, put = (FITTED, with_maps) if extra == "fitted" else (SHARP, with_sharp_maps)
    return put(scan, {name: maps[name] for name in names.values()})


def within_windows(case) -> dict[str, np.ndarray]:
    """Cut the values of each modality of a scan, as it came, at the window in which it is shown.

    Parameters
    ----------
    case : cases.Case

    Returns
    -------
    {"windowed CT": (x, y, slice) float32, ...}, in file units, the whole head

    One vessel or calcification then moves no z-score of a whole scan. Our choice: `Modality.window`.
    """
    cut = {}
    for name, image in zip(case.modalities, case.images, strict=True):
        shown = modalities.MODALITIES[name]
        low, high = (np.float32(limit * shown.divisor) for limit in shown.window)
        cut[f"windowed {name}"] = np.clip(np.asarray(image, np.float32), low, high)
    return cut


def _windowed(scan: Preprocessed, cut: dict[str, np.ndarray]) -> Preprocessed:
    """Mirror, strip and normalize what `within_windows` has cut, as `preprocess.preprocess_case` does the uncut."""
    names = given("windowed", scan.modalities)
    made, made_mirrored = _both_sides(scan, np.stack([cut[name] for name in names]), _each_normalized)
    return dataclasses.replace(scan, images=np.stack([*made, *made_mirrored]), modalities=names)


def _both_sides(scan: Preprocessed, images, normalized) -> tuple:
    """Return images normalized over the brain of a scan, and their mirror images over the mirrored brain."""
    flipped, behind = registration.mirror(images, scan.alignment, "cpu"), (scan.mirrored != 0).any(axis=0)
    return normalized(images, scan.mask), normalized(flipped, behind)


def without_series(scans, extra: str) -> list[int]:
    """List the numbers of scans whose series gave a variant nothing; empty where it takes nothing of a series.

    Parameters
    ----------
    scans : sequence of preprocess.Preprocessed, `extended` by `extra`

    Raises
    ------
    CaseError : none of them has a usable series.

    "sharp" is not looked at, since its scans keep what came with them.
    """
    names = {"fitted": tuple(FITTED.values()), "curves": CURVES}.get(extra, ())
    silent = [scan.number for scan in scans if names and not scan.provided[-len(names) :].any()]
    if silent and len(silent) == len(scans):
        raise CaseError(f"no scan has a usable raw series (4DPWI), and {extra!r} is made of nothing else; leave it out")
    return silent


def with_maps(scan: Preprocessed, maps: dict[str, np.ndarray], together: bool = False) -> Preprocessed:
    """Add maps to the modalities of a scan, and their mirror images to its mirrored ones, normalized as the others.

    Parameters
    ----------
    scan : preprocess.Preprocessed
    maps : (x, y, slice) each by name, on the scan's grid, 0 outside its brain. A map that is the same everywhere, such
        as those of `raw_series.nothing`, stays 0, which is the mean of every other scan's.
    together : normalize by one mean and one standard deviation of all maps, such as samples of a curve

    Raises
    ------
    ValueError : a name that is among the modalities, or another size.

    The mirror image is made by the alignment of the scan's own CT, as for its other modalities. Our choice: normalized
    over the brain of the scan and over the mirrored brain, as `preprocess.preprocess_case` does.
    """
    if there := {*maps} & {*scan.modalities}:
        raise ValueError(f"case_{scan.number} has {', '.join(sorted(there))} already; give other names")
    if wrong := {name: image.shape for name, image in maps.items() if image.shape != scan.mask.shape}:
        raise ValueError(f"case_{scan.number}: maps must be {scan.mask.shape} as its brain mask, got {wrong}")
    made, made_mirrored = _both_sides(scan, np.stack([*maps.values()]), _normalized if together else _each_normalized)
    return _joined(scan, (*scan.modalities, *maps), made, made_mirrored)


def with_sharp_maps(scan: Preprocessed, maps: dict[str, np.ndarray]) -> Preprocessed:
    """Put maps by the names of SHARP in place of the perfusion maps that came with a scan, normalized as `with_maps`.

    Our choice: a scan whose series said nothing keeps the maps that it came with, under the new names, since flow is
    flow; Tmax stands for the delay.
    """
    both = with_maps(scan, maps)
    images = dict(zip(both.modalities, zip(both.provided, both.mirrored, strict=True), strict=True))
    for own, name in PROVIDED.items():
        if name in images and not maps[SHARP[own]].any():
            images[SHARP[own]] = images[name]
    names = given("sharp", scan.modalities)
    provided, mirrored = zip(*(images[name] for name in names), strict=True)
    return dataclasses.replace(scan, images=np.stack([*provided, *mirrored]), modalities=names)


def with_difference(scan: Preprocessed) -> Preprocessed:
    """Add what each modality is above its mirror image, 0 where either side is outside of its brain.

    The mirror image of a difference is the same with its sign turned: a network of both takes no more from it than one
    convolution could take from the two it is made of, but need not learn to.
    """
    there = (scan.provided != 0).any(axis=0) & (scan.mirrored != 0).any(axis=0)
    difference = np.where(there, scan.provided - scan.mirrored, 0)
    return _joined(scan, given("difference", scan.modalities), difference, -difference)


def with_neighbors(scan: Preprocessed) -> Preprocessed:
    """Add the mean of each modality over the slice below and the slice above; past the last there is itself again.

    Another view of much the same tissue, with noise of its own. Our choice: one mean in place of two slices, as up and
    down are alike and inputs take memory; 0 outside of the slice's own brain, so that nothing but brain is added.
    """
    slices = scan.mask.shape[2]
    below, above = np.maximum(np.arange(slices) - 1, 0), np.minimum(np.arange(slices) + 1, slices - 1)
    provided, mirrored = (
        (images[..., below] + images[..., above]) / 2 * (images != 0).any(axis=0)
        for images in (scan.provided, scan.mirrored)
    )
    return _joined(scan, given("neighbors", scan.modalities), provided, mirrored)


def with_surroundings(scan: Preprocessed) -> Preprocessed:
    """Add the mean of each modality over the brain around each voxel, within its slice, by a Gaussian window.

    So a patch tells of what lies beyond it: of a window of AROUND, most lies within twice as many voxels. The window
    stops at the brain's edge, past which there is nothing to average; 0 outside.
    """
    provided, mirrored = map(_around, (scan.provided, scan.mirrored))
    return _joined(scan, given("surroundings", scan.modalities), provided, mirrored)


def _around(images) -> np.ndarray:
    """Average images (image, x, y, slice), 0 outside of their brain, over it within a Gaussian window of each slice."""
    inside = (images != 0).any(axis=0)
    weight = _spread(inside)
    means = [np.divide(_spread(image), weight, out=np.zeros(inside.shape), where=inside) for image in images]
    return np.stack(means).astype(np.float32)


def _spread(image) -> np.ndarray:
    return gaussian_filter(image.astype(np.float64), (AROUND, AROUND, 0), mode="constant")


def _joined(scan: Preprocessed, names, provided, mirrored) -> Preprocessed:
    """Put images and their mirror images behind those of a scan; these are the names of all that it then has."""
    images = np.stack([*scan.provided, *provided, *scan.mirrored, *mirrored])
    return dataclasses.replace(scan, images=images, modalities=tuple(names))


def _each_normalized(images, inside) -> list[np.ndarray]:
    return [_normalized(image, inside) for image in images]


def _normalized(images, inside) -> np.ndarray:
    """Bring an image, or several together, to mean 0 and standard deviation 1 inside a mask, 0 outside."""
    values, normalized = images[..., inside].astype(np.float64), np.zeros(images.shape, np.float32)
    if values.size and values.min() < values.max():
        normalized[..., inside] = (values - values.mean()) / values.std()
    return normalized


def load_maps(path) -> dict[str, np.ndarray]:
    """Read the maps by the names of FITTED and SHARP that `run.results.Run.save_series` wrote, whatever else it did.

    Raises
    ------
    FileNotFoundError : there is no such file.
    CaseError : the file is damaged, or lacks one of these maps.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no maps of a raw series at {path}; notebook 23 writes them")
    expected = (*FITTED.values(), *SHARP.values())
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            there = [*file.files]
            maps = {name: np.asarray(file[name]) for name in expected if name in there}
    except Exception as error:  # numpy, zipfile, zlib and struct each raise their own
        raise CaseError(f"{path} is damaged ({error}); delete it and run notebook 23") from error
    if {*maps} != {*expected}:
        found = ", ".join(sorted(there))
        raise CaseError(f"{path} holds {found}, expected {', '.join(sorted(expected))}; delete it and run notebook 23")
    return maps
