"""Downloads that are not yet folders of scans: the challenge's zips, and parquet files that hold NIfTI volumes.

What is made of them lies in the folder in which they were found, whole or not at all.
"""

import contextlib
import csv
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import stat
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from strokelib.layouts import NNUNET, SPLITS, files_in, find_split, is_image, modality_of, split_of
from strokelib.nifti import CaseError

MD5 = {  # of the challenge's own archives; data/README.md repeats them
    "b6d16c456e173743e30a3fbdb3bd29a5": "ISLES2018_Training.zip",
    "932a493c105024942700fe589cd441a9": "ISLES2018_Testing.zip",
}
PYARROW = "pyarrow==26.0.1"  # as the extra "parquet" in pyproject.toml
_PART = ".unpacking.part"  # of a folder that is being filled
_PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"II*\0": "TIFF"}
_CASE_COLUMNS = ("case", "case_id", "caseid", "id", "name", "subject", "subject_id")
_DEPTH = 2  # folders between the one that is named and parquet files
_AT_ONCE = 4  # rows of a parquet file: one of them may hold 60 MB
_GZIP, _NIFTI = b"\x1f\x8b", [(348).to_bytes(4, order) for order in ("little", "big")]  # how the files begin


class PackedError(ValueError):
    """A download cannot be unpacked; the message says why and what to do."""


def unpack(root) -> Iterator[str]:
    """Unpack what is packed in a folder, or the file that is named, and say before and after each what is done.

    A split that lies there as a folder already is left as it is.

    Yields
    ------
    lines for the reader

    Raises
    ------
    PackedError : an archive is damaged, holds paths that lead out of it, or is larger than the room on the disk; a
        table holds pictures alone, or no reader of parquet is installed.
    """
    root = Path(root)
    folder = root.parent if root.is_file() else root
    shutil.rmtree(folder / _PART, ignore_errors=True)  # of a process that was ended
    there = _splits(folder)
    for path in [root] if root.is_file() else sorted(folder.glob("[!.]*")):
        if path.suffix.lower() == ".zip" and path.is_file():
            splits = _splits_of_zip(path, named=path == root)
            if splits - {*there}:
                yield from _unpack_zip(path, folder, splits)
                there |= dict.fromkeys(splits, folder)
            elif splits and root.is_file():
                lies = ", ".join(sorted(str(there[split]) for split in splits))
                yield f"{path.name}: not unpacked, because {lies} is there; move it away to have it unpacked"
    if not there:
        tables = [root] if root.is_file() else files_in(root, _DEPTH)
        if tables := [path for path in tables if path.suffix.lower() == ".parquet"]:
            yield from _unpack_parquet(tables, folder)


def _splits(folder: Path) -> dict[str, Path]:
    """Tell where the splits lie that a folder holds."""
    there = {}
    for split in SPLITS:
        try:
            there[split] = find_split(folder, split).folder
        except FileNotFoundError:
            continue
        except CaseError:
            there[split] = folder  # if not in order
    return there


@contextlib.contextmanager
def _filling(folder: Path):
    """Give an empty folder to be filled, then move what it holds into `folder`; nothing of it stays if that fails.

    Raises
    ------
    PackedError : the disk is full or may not be written to.
    """
    part = folder / _PART
    try:
        part.mkdir()
        yield part
        _move(part, folder)
    except OSError as error:
        raise PackedError(
            f"cannot write into {folder} ({error.strerror or error}); make room there, make it writable, or unpack "
            "elsewhere and name that folder"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move what a folder holds into another, and leave what is there, such as the license of the first archive."""
    for path in sorted(source.iterdir()):
        there = target / path.name
        if path.is_dir() and there.is_dir():
            _move(path, there)
        elif not there.exists():
            os.replace(path, there)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the files in a zip but for what a Mac adds."""
    return [m for m in archive.infolist() if not m.is_dir() and not re.search(r"(^|/)(\.[^./]|__MACOSX)", m.filename)]


def _splits_of_zip(path: Path, named: bool) -> set[str]:
    """Tell which splits a zip holds scans of, by the folders in it, or by its name if it holds folders of cases.

    One that is damaged is passed over if it only lies beside the scans, and nothing in its name says that it has some.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(m.filename) for m in _members(archive) if is_image(m.filename)]
    except (zipfile.BadZipFile, OSError) as error:
        if not named and not split_of(path.stem):
            return set()  # somebody else's
        raise PackedError(f"{path} is no whole zip ({error}); download it again") from error
    folders = {part for name in names for part in name.parts[:-1]}
    splits = {split for part in folders if (split := split_of(part) or NNUNET.get(part.lower()))}
    bare = any(re.match("case", name.parts[0], re.IGNORECASE) for name in names)
    return splits or ({split_of(path.stem) or "TRAINING"} if bare else set())


def _unpack_zip(path: Path, folder: Path, splits: set[str]) -> Iterator[str]:
    yield f"{path.name}: comparing its md5 sum with that of the challenge's archives"
    with open(path, "rb") as file:
        known = MD5.get(hashlib.file_digest(file, "md5").hexdigest())
    same = f"that of the challenge's {known}" if known else "another than those in data/README.md; the scans may differ"
    yield f"{path.name}: its md5 sum is {same}"
    with zipfile.ZipFile(path) as archive:
        members = _members(archive)
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/")).parts
            linked = stat.S_ISLNK(member.external_attr >> 16)
            if ".." in parts or parts[0] == "/" or ":" in parts[0] or linked:
                raise PackedError(f"{path} holds {member.filename!r}, which leads out of it; get the archive elsewhere")
        size, room = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if size > room:
            raise PackedError(f"{path} takes {_gb(size)} unpacked and {folder} has {_gb(room)} left; make room there")
        yield f"{path.name}: unpacking {len(members)} files, {_gb(size)}, into {folder}"
        bare = all(re.match("case", member.filename, re.IGNORECASE) for member in members if is_image(member.filename))
        with _filling(folder) as part:
            try:
                archive.extractall(part / min(splits) if bare else part, members)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
                raise PackedError(f"{path} is damaged ({error}); download it again") from error
    yield f"{path.name}: unpacked; the zip itself is needed no more"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _unpack_parquet(tables: list[Path], folder: Path) -> Iterator[str]:
    shown = f"{len(tables)} parquet file{'s' if len(tables) > 1 else ''}"
    if importlib.util.find_spec("pyarrow") is None:
        install = f"{shlex.quote(sys.executable)} -m pip install {PYARROW}"
        raise PackedError(f"{folder} holds {shown}, for which pyarrow is needed; run {install}, and then this again")
    yield f"{shown}: writing the NIfTI volumes in them as folders of scans into {folder}"
    pictures, rows, counts, people = set(), Counter(), Counter(), {}
    with _filling(folder) as part:
        for table, row in _rows(tables):
            volumes = _volumes(row, pictures)
            texts = {key.lower(): str(cell) for key, cell in row.items() if isinstance(cell, str | int)}
            split = _split_of_row(texts, [name for *_, name in volumes], table.relative_to(folder))
            rows[split] += bool(volumes)
            patient = " ".join((texts.get("patient") or texts.get("patient_id") or "").split())
            for column, content, name in volumes:
                case = _case_of(texts, name, rows[split])
                target = part / split / f"case_{case}" / _file_name(column, content, name, texts)
                if target.exists():
                    raise PackedError(
                        f"{table} holds {target.relative_to(part)} a second time; give it a column 'case' that tells "
                        "the scans apart"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                counts[split] += 1
                if patient and (other := people.setdefault((split, case), patient)) != patient:
                    raise PackedError(
                        f"{table} says that case {case} of {split} is of patient {patient}, and {other} elsewhere, "
                        "expected one; correct the column, or leave it out"
                    )
        if not counts:
            held = f"hold pictures ({', '.join(sorted(pictures))}) and" if pictures else "hold"
            raise PackedError(f"the parquet files in {folder} {held} no NIfTI volume; look for a copy with volumes")
        if people:
            with open(part / "patients.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(
                    [("split", "case", "patient"), *((*scan, patient) for scan, patient in people.items())]
                )
    written = ", ".join(f"{counts[split]} in {split}" for split in SPLITS if split in counts)
    yield f"{shown}: wrote {counts.total()} volumes, {written}; the tables are needed no more"


def _rows(tables: list[Path]) -> Iterator[tuple[Path, dict]]:
    """Yield the rows of parquet files, a few of them in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    for table in tables:
        try:
            with pyarrow.parquet.ParquetFile(table) as file:
                for batch in file.iter_batches(batch_size=_AT_ONCE):
                    yield from ((table, row) for row in batch.to_pylist())
        except (pyarrow.ArrowException, OSError) as error:
            raise PackedError(f"cannot read {table} ({error}); download it again") from error


def _volumes(row: dict, pictures: set[str]) -> list[tuple[str, bytes, str]]:
    """List column, bytes and file name ("" where none is told) of the volumes in a row; note the pictures."""
    found = []
    for column, cell in row.items():
        for item in cell if isinstance(cell, list) else [cell]:
            content = item.get("bytes") if isinstance(item, dict) else item
            if not isinstance(content, bytes):
                continue
            if content[:2] == _GZIP or content[:4] in _NIFTI:
                found.append((column, content, str(item.get("path") or "") if isinstance(item, dict) else ""))
            pictures |= {kind for start, kind in _PICTURES.items() if content.startswith(start)}
    return found


def _split_of_row(texts: dict, names: list[str], table: Path) -> str:
    """Tell the split by a column of that name, the paths that volumes came with, or the table's own path."""
    told = [texts.get("split", ""), *(part for name in names for part in PurePosixPath(name).parts)]
    told += [*table.parts[:-1], *re.split(r"[-_.]", table.name)]
    return next(filter(None, map(split_of, told)), "TRAINING")


def _case_of(texts: dict, name: str, row: int) -> int:
    """Tell the number of the case by a column, or the path that a volume came with; else a row is a case."""
    told = [texts[key] for key in _CASE_COLUMNS if key in texts] + re.findall("case[_-]?[0-9]+", name, re.IGNORECASE)
    return next((int(digits[-1]) for digits in (re.findall("[0-9]+", text) for text in told) if digits), row)


def _file_name(column: str, content: bytes, name: str, texts: dict) -> str:
    """Name the file of a volume by the path it came with, its column, or a text beside it."""
    base = PurePosixPath(name.replace("\\", "/")).name
    kind = next(filter(None, map(modality_of, (base, column, *texts.values()))), None)
    if kind is None:
        raise PackedError(
            f"neither column {column!r} nor path {name!r} of the parquet files says which image it holds; name the "
            "columns ct, cbf, cbv, mtt, tmax and ot"
        )
    smir = re.fullmatch(r"([\w.-]+\.[0-9]+)\.nii(\.gz)?", base, re.IGNORECASE)  # with an image id, worth keeping
    return f"{smir[1] if smir else kind.lower()}.nii{'.gz' if content[:2] == _GZIP else ''}"
