"""What images of a scan of one's own hold as they are stored, before they are brought onto the networks' grid.

Values that stand for none, empty frames, one image under two names, pictures of maps, a lost spacing: each is mended
and said, asked about, or refused.
"""

import dataclasses
import itertools

import numpy as np

from strokelib.nifti import CaseError
from strokelib.own import checks, grid
from strokelib.own.volumes import Volume, from_networks

FILLED = (-1, -1000, -1024, -2000, -2048, -3024, -32768)  # what programs write outside the brain
LEAST_FILLED = 0.05  # of the voxels
NEARLY = 1e-3  # of the largest value: a background below it was meant to be 0, as where a scale misses it
FEW_SLICES = 40  # a head of so few millimeters is rarely scanned
HEAD_MM = (90.0, 300.0)  # between which lies the longer side of what a map shows


def pictures(maps: dict[str, Volume]) -> list[str]:
    """Say which maps look like pictures that were stored anew: whole numbers that end at 255, as few maps do."""
    found = [
        kind
        for kind, own in maps.items()
        if own.values.min() == 0 and own.values.max() == 255 and not np.mod(own.values, 1).any()
    ]
    if not found:
        return []
    return [
        f"{', '.join(found)}: whole numbers from 0 to 255, as a picture of a map has; if it is one, every figure "
        "made of it is wrong: ask for the map itself"
    ]


def check_twins(maps: dict[str, Volume]) -> None:
    """Refuse one image that is there under two names: a file given twice, or a copy that is called otherwise.

    Raises
    ------
    CaseError : names both files.
    """
    for one, other in itertools.combinations(maps, 2):
        if np.array_equal(maps[one].values, maps[other].values, equal_nan=True):
            raise CaseError(
                f"{one} and {other} hold the same values ({maps[one].label}, {maps[other].label}), expected two maps; "
                "name the right ones"
            )


def lost_spacing(volumes: dict[str, Volume]) -> list[str]:
    """Say which images have few slices of exactly 1 mm, as what was written without its header has."""
    lost = [kind for kind, own in volumes.items() if own.spacing[2] == 1 and own.shape[2] < FEW_SLICES]
    if not lost:
        return []
    own = volumes[lost[0]]
    sides = " x ".join(f"{side:.3g}" for side in own.spacing)
    return [
        f"{', '.join(lost)}: voxels of {sides} mm in {own.shape[2]} slices: was the spacing lost when the file was "
        "written? Every volume depends on it"
    ]


def check_empty_frames(series: Volume) -> None:
    """Refuse a series with an empty frame: taken for a fall of all curves, it would make other maps without a word.

    So would one slice that is empty in some frames; one that is in all of them is none of the head. Looked for in the
    file's own values, since on the grid of a larger CT there is air around.

    Raises
    ------
    CaseError : names the frame, and the slice.
    """
    values, frames = series.values, series.values.shape[3]
    flat = values.min((0, 1)) == values.max((0, 1))  # (slice, frame)
    if (whole := np.flatnonzero(flat.all(0))).size:
        raise CaseError(
            f"{series.label}: frame {whole[0] + 1} of {frames} is {values[..., whole[0]].flat[0]:g} everywhere "
            f"({len(whole)} such in all), expected an image; export the series anew, or end it before the first empty "
            "one"
        )
    if (some := np.argwhere(flat & ~flat.all(1, keepdims=True))).size:
        k, frame = some[0]
        raise CaseError(
            f"{series.label}: slice {k + 1} of frame {frame + 1} is {values[0, 0, k, frame]:g} everywhere ({len(some)} "
            "such in all), and not so in all other frames, expected an image; export the series anew, or leave that "
            "slice out of all frames"
        )


def emptied(maps: dict[str, Volume]) -> tuple[dict[str, Volume], list[str]]:
    """Put 0 where maps hold NaN or a known mark of the background, and say so once for all that have as many.

    Raises
    ------
    CaseError : that is in the brain, where another map on its grid has values; or a map holds one value alone.
    """
    filled = {kind: _filled(volume) for kind, volume in maps.items()}
    said = {}
    for kind in maps:
        if words := _holes(kind, maps, filled):
            said.setdefault(words, []).append(kind)
    whole = {kind: _with_zeros(kind, volume, filled[kind][0]) for kind, volume in maps.items()}
    return whole, [
        f"{', '.join(kinds)} {'is' if len(kinds) == 1 else 'are'} {words}" for words, kinds in said.items()
    ]


def _filled(volume: Volume) -> tuple[np.ndarray, list[str]]:
    """Return where NaN, or a known mark of the background, stands in a map, and what stands there."""
    filled = np.isnan(volume.values)
    marks = ["NaN or padding"] if filled.any() else []
    corner = volume.values.flat[0]
    nearly = corner not in FILLED and 0 < abs(corner) < NEARLY * np.nanmax(volume.values)
    for mark in (*FILLED, corner) if nearly else FILLED:
        marked = volume.values == mark
        if marked.mean() >= LEAST_FILLED:
            filled, marks = filled | marked, [*marks, f"{mark}" if mark in FILLED else f"{mark:.2g}"]
    return filled, marks


def _holes(kind: str, maps: dict[str, Volume], filled) -> str:
    """Say what a map is filled with, and refuse it where that is in the brain: where another on its grid has values.

    A program that writes nothing where its fit failed, or beyond what it measures, leaves out the latest tissue.
    """
    volume, (empty, marks) = maps[kind], filled[kind]
    if not marks:
        return ""
    alike = [other for other in maps if _on_one_grid(volume, maps[other])]
    shown = {other: (maps[other].values != 0) & ~filled[other][0] for other in alike}
    brain = np.logical_or.reduce([*shown.values()])
    holes, voxel_ml = np.count_nonzero(empty & brain), float(np.prod(volume.spacing)) / 1000
    if holes > checks.MOST_HOLES * np.count_nonzero(brain):
        others = [other for other, values in shown.items() if (values & empty).any()]
        raise CaseError(
            f"{volume.label} is {' and '.join(marks)} in {holes * voxel_ml:.1f} mL of the brain, where "
            f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} values "
            f"({100 * holes / np.count_nonzero(brain):.1f} % of it), expected {kind} there; fill it in the perfusion "
            "program, or export the map without a limit"
        )
    words = f"{' and '.join(marks)} in {100 * empty.mean():.0f} % of the voxels"
    if len(shown) == 1:
        return f"{words}: taken for 0; no other map on its grid tells whether some of these lie in the brain"
    but = f" but for {holes * voxel_ml:.1g} mL" if holes else ""
    return f"{words}, where no other map has values{but}: taken for 0"


def _on_one_grid(one: Volume, other: Volume) -> bool:
    """Tell whether voxels of two maps lie on each other; a header that does not say is taken to mean so."""
    silent = one.affine is None or other.affine is None
    return one.shape == other.shape and (silent or np.allclose(one.place, other.place, atol=grid.SNAP))


def _with_zeros(kind: str, volume: Volume, filled) -> Volume:
    """Return a map with 0 where it is filled."""
    values = np.where(filled, volume.values.dtype.type(0), volume.values) if filled.any() else volume.values
    if values.min() == values.max():
        raise CaseError(f"{volume.label} is {values.min():g} everywhere, expected a {kind} map; replace the file")
    return dataclasses.replace(volume, values=values)


def check_size(kind: str, volume: Volume) -> None:
    """Refuse a map of something much smaller or larger than a head.

    Raises
    ------
    CaseError : says how large it is.
    """
    order = np.abs(from_networks(volume)[:3, :3]).argmax(0)
    shown = volume.values != 0
    sides = [
        (np.ptp(np.flatnonzero(shown.any(tuple({0, 1, 2} - {axis})))) + 1) * volume.spacing[axis] for axis in order[:2]
    ]
    if not HEAD_MM[0] <= max(sides) <= HEAD_MM[1]:
        raise CaseError(
            f"{volume.label} is not of a head: what the {kind} shows is {sides[0]:.0f} x {sides[1]:.0f} mm, expected "
            f"{HEAD_MM[0]:.0f} to {HEAD_MM[1]:.0f} mm; check the file, its spacing, and that it is 0 outside the brain"
        )
