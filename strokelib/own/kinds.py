"""Which file of a folder, or which series of a scan, is which image: by names alone, before anything is opened."""

import itertools
import re
import sys
from pathlib import Path

from strokelib import layouts, modalities
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.run.runtime import ROOT

HEAD, SERIES = modalities.head(ISLES), "series"
MAPS = tuple(name for name in ISLES if name != HEAD)
KINDS = (*ISLES, SERIES)
PATIENT = r"(?<![a-z0-9])(sub-[a-z0-9]+|(?:case|pat|patient)[_-]?[0-9]+)"  # in a path, in small letters
# What make segment calls, as one gives it options: by the project's own environment, or by that which is active.
COMMAND = f"{'.venv/bin/python' if Path(sys.prefix) == ROOT / '.venv' else 'python'} tools/segment.py FOLDER"
# Words by which a map is known: in a file's name, or in SeriesDescription or ImageType of DICOM, as `spaced`.
MAP_WORDS = {
    "CBF": r"\b(r|rel)?cbf\b|\bblood flow\b",
    "CBV": r"\b(r|rel)?cbv\b|\bblood volume\b",
    "MTT": r"\bmtt\b|\btransit time\b",
    "Tmax": r"\bt ?max\b|\btmx\b|\btime to max(imum)?\b",
}
# A CT with one of NATIVE is one without contrast; with one of OTHER, and none of NATIVE, it is another.
PLAIN = r"\b(non?|pre|without|w o) ?(contrast|ce)\b|\b(non? ?|un)enhanced\b"
NATIVE = PLAIN + r"|\b(ncct|nc ct|nect|nct|nativ\w*|plain|without|w o)\b"
OTHER = (
    r"\b(cta|angio\w*|mip|bone|(post)?contrast|ce|cect|enhanced|venous|average|cor|coronal|sag|sagittal|mpr|penumbra"
    r"|mismatch|ttp|ttd)\b"
)
# What else the last telling word of a file name may be, besides the names of `layouts`; None is something else.
WORDS = {
    "ct": HEAD, "ncct": HEAD, "nect": HEAD, "nct": HEAD, "ctp": SERIES, "4dpwi": SERIES, "pwi": SERIES,
    "series": SERIES, "dynamic": SERIES, "perfusion": SERIES, "cta": None, "ttp": None, "tmip": None, "msk": None,
    "mask": None, "lesion": None, "ot": None, "adc": None, "dwi": None, "mip": None, "seg": None, "core": None,
    "probability": None,
}  # fmt: skip


def find_files(folder, names: dict[str, str] | None = None) -> tuple[dict[str, Path], list[str]]:
    """Tell which file of a folder is which image.

    Parameters
    ----------
    folder, names : as of `arrival.read_folder`

    Returns
    -------
    paths by CT and the four maps, or CT and series; remarks.

    Raises
    ------
    CaseError : a folder that is not there, an image that is missing, or there twice.
    """
    folder, given = Path(folder), by_kind(names)
    if not folder.is_dir():
        raise CaseError(f"{folder} is no folder; give the one that holds the scan's NIfTI files")
    found = {kind: [folder / file] for kind, file in given.items()}
    if gone := [f"{paths[0]} ({kind})" for kind, paths in found.items() if not paths[0].is_file()]:
        raise CaseError(f"there is no file {', '.join(gone)}, which was given in names; paths count from {folder}")
    seen, other = {paths[0].resolve() for paths in found.values()}, []
    for path in files_below(folder):
        if not layouts.is_image(path.name) or path.resolve() in seen:
            continue
        seen.add(path.resolve())  # a link beside a file is no second image
        kind = kind_of(path.name)
        if kind is None:
            other.append(path.name)
        elif kind not in given:
            found.setdefault(kind, []).append(path)
    lacking = [kind for kind in MAPS if kind not in found]
    wanted = (HEAD, SERIES) if lacking and SERIES in found else (HEAD, *MAPS)
    for kind in wanted:
        if len(found.get(kind, [])) > 1:
            several = ", ".join(str(path.relative_to(folder)) for path in found[kind])
            if len(patients := [*dict.fromkeys(filter(None, (_patient(folder, path) for path in found[kind])))]) > 1:
                raise CaseError(
                    f"{folder} holds {len(found[kind])} images called {kind}: {several}; by their names they are of "
                    f"{', '.join(patients)}, expected one patient; put the files of each scan into a folder of its own"
                )
            raise CaseError(
                f"{folder} holds {len(found[kind])} images called {kind}: {several}; keep one, or name it "
                f"in names (command: {COMMAND} --files {kind}=...)"
            )
    if missing := [kind for kind in wanted if kind not in found]:
        there = [f"{paths[0].name} ({kind})" for kind, paths in found.items()] + other
        raise CaseError(
            f"{folder} has no {', no '.join(missing)}; it holds {', '.join(there) or 'no NIfTI file'}; expected a CT "
            f"and {', '.join(MAPS)}, or a CT and a series: rename the files, or give them in names "
            f"(command: {COMMAND} --files CT=... CBF=...)"
        )
    _check_patients(folder, {kind: found[kind][0] for kind in wanted if kind not in given})
    return {kind: found[kind][0] for kind in wanted}, unused(found)


def _check_patients(folder: Path, files: dict[str, Path]) -> None:
    """Refuse files that are called after two patients, as where what two exports lack adds up to one scan."""
    named = {kind: patient for kind, path in files.items() if (patient := _patient(folder, path))}
    if len({*named.values()}) > 1:
        one, other = next(pair for pair in itertools.combinations(named, 2) if named[pair[0]] != named[pair[1]])
        raise CaseError(
            f"{folder}: {files[one].name} ({one}) is called after {named[one]}, {files[other].name} ({other}) after "
            f"{named[other]}, expected one patient; put the files of each scan into a folder of its own"
        )


def _patient(folder: Path, path: Path) -> str:
    """Return the patient that a file is called after, by the last such word of its path; "" where none is."""
    marks = re.findall(PATIENT, path.relative_to(folder).as_posix().casefold())
    return marks[-1] if marks else ""


def whole(found) -> bool:
    """Tell whether these images make a scan: a CT and the four maps, or a CT and a raw series."""
    return HEAD in found and (SERIES in found or all(kind in found for kind in MAPS))


def unused(found) -> list[str]:
    """Say what of a scan with a raw series is not read: the series beside four maps, or fewer maps than that.

    Our choice: four maps are taken as they came; with one lacking all are made of the series, so that all are of one
    program.
    """
    lacking, there = ([kind for kind in MAPS if (kind in found) == has] for has in (False, True))
    if SERIES not in found or not there:
        return []
    if not lacking:
        return ["there are maps, so the raw series was not used"]
    return [f"there is no {', no '.join(lacking)}: all maps were made of the raw series, {', '.join(there)} not read"]


def by_kind(names: dict[str, str] | None) -> dict[str, str]:
    """Return the names that were given by image, whatever the case they are written in.

    Raises
    ------
    CaseError : one of no image of a scan, or two of the same.
    """
    plain, given = {kind.casefold(): kind for kind in KINDS}, dict(names or {})
    if unknown := [kind for kind in given if kind.casefold() not in plain]:
        raise CaseError(f"names holds {', '.join(map(repr, unknown))}, expected {', '.join(KINDS)}")
    found = {plain[kind.casefold()]: file for kind, file in given.items()}
    if len(found) < len(given):
        raise CaseError(f"names holds an image twice ({', '.join(given)}); name each once")
    return found


def files_below(folder) -> list[Path]:
    """List the files below a folder, however deep they lie, as `layouts.files_in` does, without DICOMDIR."""
    return [path for path in layouts.files_in(Path(folder), depth=None) if path.name.upper() != "DICOMDIR"]


def spaced(text: str) -> str:
    """Write a text in small letters, with a space for all that is no English letter, figure or +."""
    return re.sub(r"[^a-z0-9+]+", " ", text.casefold())


def kind_of(name: str) -> str | None:
    """Tell which image of a scan a file is by its name; None where the name does not say, or says something else.

    The last word that tells decides: sub-01_space-ncct_cbf.nii.gz is a CBF, sub-01_space-ncct_cta.nii.gz nothing. A
    word for a map goes before CT and series: cbf_in_ct.nii is a CBF. For a CT all words count: CT_angio.nii.gz and
    contrast_CT.nii.gz are something else, non-contrast_CT.nii.gz and, in German, kopf_nativ.nii.gz are the CT.
    """
    words = spaced(re.sub(r"\.nii(\.gz)?$", "", name.casefold()))
    telling = [(match.end(), WORDS[match[0]]) for match in re.finditer(r"[a-z0-9]+", words) if match[0] in WORDS]
    for kind, pattern in (MAP_WORDS | {HEAD: rf"{PLAIN}|\bnativ\b"}).items():
        telling += [(match.end(), kind) for match in re.finditer(pattern, words)]
    if telling:
        maps = [found for found in telling if found[1] in MAPS]
        kind = max(telling, key=lambda found: found[0])[1]
        if maps and kind in (HEAD, SERIES):  # what a map lies on, or was made of
            kind = max(maps, key=lambda found: found[0])[1]
        return None if kind == HEAD and re.search(OTHER, words) and not re.search(NATIVE, words) else kind
    kind = layouts.modality_of(name)
    return SERIES if kind == "4DPWI" else kind if kind in ISLES else None
