"""What a folder of data holds, by names and headers alone, and what its gaps cost, before anything is computed."""

import csv
import os
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib import cases, facts, layouts
from strokelib.folds import check_folds
from strokelib.nifti import CaseError, read_header
from strokelib.run.commands import TAKE_DATA, made_with
from strokelib.run.provenance import short
from strokelib.run.runtime import write_whole
from strokelib.run.settings import Settings

SHOWN = 5  # problems in the terminal, and scans that have each of them


@dataclass(frozen=True)
class Arrival:
    """What there is, what each gap costs, which scans cannot be used, and whether the study runs."""

    lines: tuple[str, ...]
    problems: tuple[tuple[str, int, str], ...]  # split, case, why it cannot be used and what to do
    runs: bool  # Table 1 can be made of it
    advice: str  # what to run next


@dataclass(frozen=True)
class Look:
    """What was seen of one split."""

    files: list[cases.CaseFiles]  # of the scans that can be used
    geometry: dict[int, tuple]  # shape and spacing by case
    problems: dict[int, str]

    @property
    def patients(self) -> set[str]:
        return {file.patient for file in self.files}


def look(root, settings: Settings) -> Arrival:
    """Read names and headers of all scans in a folder, which takes seconds; no voxel is looked at.

    Parameters
    ----------
    root : path of the folder, after `unpacking.unpack`
    settings : of the run: data.source, data.skip_bad_cases and folds.count are what counts here
    """
    root = Path(root).parent if Path(root).is_file() else Path(root)
    named = "" if settings.name == TAKE_DATA[0] else f" {settings.name}"
    again = f"python tools/check_data.py {shlex.quote(str(root))}{named}"
    try:
        splits = cases.splits_there(root, settings.data.source)
        seen = {split: _look(root, split, settings.data.source) for split in splits}
    except (CaseError, OSError) as error:
        return Arrival((), (), False, _plain(f"stopped: {error}; then run {again}"))
    if "TRAINING" not in seen:
        there = f"{len(seen['TESTING'].files)} testing scans, no training scans" if seen else _inside(root)
        advice = "stopped: without training scans there is no Table 1; data/README.md tells how to get them; then run "
        return Arrival((_plain(f"found: no folder of training scans; {there}"),), (), False, _plain(advice + again))
    seen.setdefault("TESTING", Look([], {}, {}))
    lines = _counts(seen)
    if settings.data.source == "isles2018":
        lines = [_shape(root, seen), *lines, *_gaps(seen)]
    problems = [(split, *pair) for split, look in seen.items() for pair in sorted(look.problems.items())]
    problems = tuple((split, number, _plain(problem)) for split, number, problem in problems)
    hindrance = _hindrance(seen, settings)
    advice = f"stopped: {hindrance}; then run {again}"
    advice = advice if hindrance else f"the study can run on it: {made_with(settings, root=root)}"
    return Arrival(tuple(map(_plain, lines)), problems, not hindrance, _plain(advice))


def report(settings: Settings) -> tuple[bool, str]:
    """Look at the data folder of a run and list the problems in results/<settings>/data_check.csv.

    Returns
    -------
    whether the study can run on it, and the report.
    """
    found, listed = look(settings.data_root, settings), settings.results / "data_check.csv"
    shown = str(short(listed))
    try:
        write_list(found, listed)
    except OSError as error:  # which does not take the report from the reader
        shown = _plain(str(error))
    return found.runs, text(found, shown)


def text(arrival: Arrival, listed: str) -> str:
    """Return the report, with the first of each kind of problem; `listed` names the file that holds all of them."""
    kinds, told = {}, []
    for split, number, problem in arrival.problems:  # alike are those that differ in numbers alone
        kinds.setdefault((split, re.sub("[0-9]+", "#", problem)), []).append((number, problem))
    if count := len(arrival.problems):
        told = [f"{count} scan{'s' if count > 1 else ''} cannot be used:"]
        for (split, _), alike in [*kinds.items()][:SHOWN]:
            others = [f"case_{number}" for number, _ in alike[1:]]
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            told.append(f"  {split} {alike[0][1]}" + (f"; so with {', '.join(others[:SHOWN])}{more}" if others else ""))
        told += [f"  and {len(kinds) - SHOWN} other kinds of problems"] if len(kinds) > SHOWN else []
        told.append(f"  the whole list: {listed}")
    return "\n".join([*arrival.lines, *told, arrival.advice])


def write_list(arrival: Arrival, path: Path) -> None:
    """Write all problems as csv: split, case, problem; an empty table where there is none."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("split", "case", "problem"), *arrival.problems])

    write_whole(path, write)


def _plain(line: str) -> str:
    """Make text of a file name that is none, which can be printed nowhere."""
    return line.encode(errors="replace").decode()


def _look(root, split: str, source: str) -> Look:
    files, problems = cases.list_cases(root, split, source=source)
    geometry = {}
    for file in files:
        try:
            geometry[file.number] = _geometry(file)
        except CaseError as error:
            problems[file.number] = str(error)
    if split == "TRAINING":
        problems |= cases.odd_sizes({number: shape[:2] for number, (shape, _) in geometry.items()})
    return Look([file for file in files if file.number not in problems], geometry, problems)


def _geometry(file: cases.CaseFiles) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and spacing of a scan; refuse one whose images do not agree, as `cases.load_case` does."""
    first, spacing = read_header(file.reference, file.number)
    for key, path in file.files.items():
        if key == "4DPWI" or path == file.reference:
            continue
        shape, own = read_header(path, file.number)
        # In any order of axes: which of them points where is for `cases.load_case`, which turns them.
        if sorted(shape) != sorted(first) or not np.allclose(np.sort(own), np.sort(spacing), rtol=1e-3):
            raise CaseError(
                f"case_{file.number}: {path} has shape {shape} and spacing {own} mm, the CT {first} and {spacing}; "
                "they must agree, replace the wrong one"
            )
    if not np.isclose(spacing[0], spacing[1], rtol=1e-3):
        raise CaseError(
            f"case_{file.number}: {file.reference} has spacing {spacing} mm, expected voxels as wide as high; correct "
            "its header, or resample the scan"
        )
    return first, spacing


def _inside(root: Path) -> str:
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        return f"{root} cannot be opened ({error.strerror})"
    return f"{root} holds {', '.join(names[:5]) or 'nothing'}{' and more' if len(names) > 5 else ''}"


def _shape(root: Path, seen: dict[str, Look]) -> str:
    """Name the layout by that of the training scans."""
    split, files = layouts.find_split(root, "TRAINING"), seen["TRAINING"].files
    names = [path.name for file in files for path in file.files.values()]
    if split.channels:
        named = "nnU-Net's layout"
    elif not files:
        named = "folders of scans"
    elif any("CT" in file.ids for file in files):
        early = any(".MR_" in name for name in names)
        named = f"the challenge's file names{', those of its early release (MR_)' if early else ''}"
    else:
        named = "file names without image ids"
    return f"shape: {named}{f', such as {names[0]}' if names else ''}; training scans in {split.folder}"


def _counts(seen: dict[str, Look]) -> list[str]:
    told = []
    for split, look in seen.items():
        if look.files:
            slices = Counter(look.geometry[file.number][0][2] for file in look.files)
            of = ", ".join(f"{count} of {number}" for number, count in sorted(slices.items()))
            told.append(f"{len(look.files)} {split.lower()} scans of {len(look.patients)} patients; slices: {of}")
    return told


def _gaps(seen: dict[str, Look]) -> list[str]:
    """Say what is lacking, and what each gap costs."""
    told, testing = [], seen["TESTING"].files
    rows = {
        (split, file.number): facts.isles_row(
            split, file.number, file.ids.get("CT"), look.geometry[file.number][0][2], look.geometry[file.number][1]
        )
        for split, look in seen.items()
        for file in look.files
    }
    foreign = [key for key, row in rows.items() if row is None]
    if foreign:
        told.append(
            f"{len(foreign)} of {len(rows)} scans are not ISLES 2018 by data/isles18_cases.csv: nothing made from them "
            "is called so"
        )
    for split, look in seen.items():
        if not foreign and 0 < len(look.files) < facts.SCANS[split]:
            told.append(
                f"{len(look.files)} of {facts.SCANS[split]} {split.lower()} scans: every table and figure says so"
                + ("; the submission is not complete, Table 1 is not affected" if split == "TESTING" else "")
            )
    nameless = sum("MTT" not in file.ids for file in testing)
    renamed = [file for file in testing if rows["TESTING", file.number] and "MTT" in file.ids]
    renamed = sum(file.ids["MTT"] != int(rows["TESTING", file.number]["mtt_id"]) for file in renamed)
    if not testing:
        told.append("no testing scans here: no submission will be written; Table 1 is not affected")
    elif nameless:
        told.append(
            f"{nameless} testing scans have no image id in the name of their MTT file, by which the challenge knows "
            "them: no submission will be written; Table 1 is not affected"
        )
    if renamed:
        told.append(
            f"{renamed} testing scans have other image ids than those by which the challenge knows them: it would not "
            "take the submission; Table 1 is not affected"
        )
    if own := sum(file.patient == f"Test_case_{file.number}" for file in testing):
        told.append(f"the patients of {own} testing scans are unknown: each scan counts as one, no result needs them")
    changed = []
    for (split, number), row in rows.items():
        shape, spacing = seen[split].geometry[number]
        if row and not facts.agrees(row, shape[2], spacing):
            changed.append((split, number))
    if changed:
        (split, number), (shape, spacing) = changed[0], seen[changed[0][0]].geometry[changed[0][1]]
        row = rows[split, number]
        told.append(
            f"{len(changed)} scans have other slices or voxels than ISLES 2018's, such as {split} case_{number}: "
            f"{shape[2]} slices of {spacing.round(3)} mm, expected {row['slices']} of {row['spacing_x_mm']} and "
            f"{row['spacing_z_mm']}: volumes in mL and distances in mm will be others"
        )
    if not any("4DPWI" in file.files for look in seen.values() for file in look.files):
        told.append(
            "no raw perfusion series: notebook 01 does not show them; notebook 23, and the rows of notebooks 24 and 26 "
            "that take its maps (such as fitted and song), cannot be made; Table 1 is not affected"
        )
    return told


def _hindrance(seen: dict[str, Look], settings: Settings) -> str:
    """Say why the study cannot run on it and what to do, "" where it can."""
    training, bad = seen["TRAINING"], sum(len(look.problems) for look in seen.values())
    if not training.files:
        return f"none of the {len(training.problems)} training scans can be used, mend them as the first says"
    if bad and not settings.data.skip_bad_cases:
        return (
            f"mend the {f'{bad} scans' if bad > 1 else 'scan'} above, or set skip_bad_cases = true in [data] of "
            f"{settings.name}.toml to go on without"
        )
    try:
        check_folds([file.patient for file in training.files], settings.folds.count)
    except ValueError as error:
        return f"{error} in {settings.name}.toml"
    return ""
