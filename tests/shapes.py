"""The shapes that a download of ISLES 2018 can have, made from its twin, and what is to become of each.

The table is at the end. tests/robustness/test_shapes.py goes through it.
"""

import csv
import dataclasses
import gzip
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import twin

NOTHING = (0, 0)
CHANNELS = ("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax")
PLAIN = {"CT": "ct", "CT_CBF": "cbf", "CT_CBV": "cbv", "CT_MTT": "mtt", "CT_Tmax": "tmax", "OT": "lesion"}
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(64)


@dataclass(frozen=True)
class Shape:
    """One shape, how it is made and what `tools/check_data.py` and the reader make of it."""

    number: int
    name: str
    make: Callable[[Path, Path], Path]  # from the folder of the twin, in an empty one; returns what is checked
    status: int = 0  # 0: the study runs on it
    scans: tuple[int, int] = (94, 62)  # training and testing scans that can be used afterwards
    patients: tuple[str, ...] = ("TRAINING", "TESTING")  # splits whose scans have the patients of the table of facts
    ids: bool = True  # each testing scan has the id that a submission calls it by
    says: tuple[str, ...] = ()  # words of the report, in small letters
    never: tuple[str, ...] = ()  # words that would be wrong


def images(folder):
    """Go through the images of the twin: split, number of the case, SMIR's name of the image, file."""
    for path in sorted(folder.rglob("*.nii")):
        split, case = path.relative_to(folder).parts[:2]
        yield split, int(case.removeprefix("case_")), path.name.split(".")[4], path


def put(source, target) -> None:
    """Have a file of the twin there, compressed where the name says so; it costs no space else."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".gz" and source.suffix != ".gz":
        target.write_bytes(gzip.compress(source.read_bytes(), 1))
    else:
        os.link(source, target)


def renamed(folder, target, name, suffixes=(".nii", ".json", ".txt")) -> Path:
    """Have all files of the twin in another folder, each by what `name` makes of its path in the twin."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in suffixes:
            put(path, target / name(path.relative_to(folder).as_posix()))
    return target


def same(folder, target, suffixes=(".nii", ".json", ".txt")) -> Path:
    return renamed(folder, target, str, suffixes)


def outer(folder, target) -> Path:
    same(folder, target / "ISLES2018")
    return target


def archive(folder, split, path) -> None:
    """Zip one split as a Mac does: with its own litter between the files."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{split}/.DS_Store", "\0Bud1")
        for source in sorted((folder / split).rglob("*")):
            name = source.relative_to(folder)
            file.write(source, name)
            if source.is_file():
                file.writestr(f"__MACOSX/{name.parent}/._{name.name}", "\0\5\26\7")


def zips(folder, target) -> Path:
    archive(folder, "TRAINING", target / "ISLES2018_Training.zip")
    archive(folder, "TESTING", target / "ISLES2018_Testing.zip")
    return target


def training_zip(folder, target) -> Path:
    archive(folder, "TRAINING", target / "ISLES2018_Training.zip")
    return target


def one_zip(folder, target) -> Path:
    """Everything in one archive, as somebody packed it again, which is checked itself."""
    path = target / "isles2018.zip"
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted(folder.rglob("*.nii")):
            file.write(source, f"ISLES2018/{source.relative_to(folder)}")
    return path


def small_letters(folder, target) -> Path:
    return renamed(folder, target, str.lower)


def compressed(folder, target) -> Path:
    return renamed(folder, target, lambda name: name.replace(".nii", ".nii.gz"))


def capitals(folder, target) -> Path:
    return renamed(folder, target, lambda name: name.replace(".nii", ".NII"))


def links(folder, target) -> Path:
    (target / "TRAINING").symlink_to(folder / "TRAINING")
    for path in (folder / "TESTING").rglob("*.nii"):
        link = target / path.relative_to(folder)
        link.parent.mkdir(parents=True)
        link.symlink_to(path)
    return target


def spaces(folder, target) -> Path:
    return same(folder, target / "my scans (2018)")


def other_letters(folder, target) -> Path:
    return same(folder, target / "Schädel – 脳梗塞")


def without_json(folder, target) -> Path:
    return same(folder, target, (".nii",))


def early_release(folder, target) -> Path:
    """As in June 2018: MR_ for CT_, other ids, no json."""
    for split, number, modality, source in images(folder):
        places = ("CT_4DPWI", "CT", "CT_CBF", "CT_CBV", "CT_other", "CT_MTT", "OT", "CT_Tmax")
        first = {"TRAINING": 339202, "TESTING": 342202}[split] + len(places) * (number - 1)
        name = f"SMIR.Brain.XX.O.{modality.replace('CT_', 'MR_')}.{first + places.index(modality)}"
        put(source, target / split / f"case_{number}" / name / f"{name}.nii")
    return target


def plain_names(folder, target) -> Path:
    for split, number, modality, source in images(folder):
        put(source, target / split / f"case_{number}" / f"{PLAIN[modality]}.nii.gz")
    return target


def flat(folder, target) -> Path:
    for split, number, modality, source in images(folder):
        put(source, target / split.lower() / f"case_{number:02d}_{PLAIN[modality]}.nii.gz")
    return target


def numbered_words(folder, target) -> Path:
    """As the copies of other years of the challenge call their folders."""
    for split, number, _, source in images(folder):
        put(source, target / split.lower() / f"{split.lower()}_{number}" / source.parent.name / source.name)
    return target


def places(folder, split) -> dict[int, int]:
    """Number the cases of a split as somebody does whose folders sort as 1, 10, 11, …, 2: old to new."""
    old = sorted({number for s, number, *_ in images(folder) if s == split}, key=str)
    return {number: place for place, number in enumerate(old, start=1)}


def renumbered(folder, target) -> Path:
    new = {split: places(folder, split) for split in ("TRAINING", "TESTING")}
    for split, number, modality, source in images(folder):
        name = PLAIN[modality].replace("lesion", "mask")
        put(source, target / split / f"case_{new[split][number]}" / f"{name}.nii.gz")
    return target


def renumbered_with_patients(folder, target) -> Path:
    renumbered(folder, target)
    new = {split: places(folder, split) for split in ("TRAINING", "TESTING")}
    rows = [(s.split, new[s.split][s.number], s.name) for s in twin.scans()]
    return patients_csv(target, rows)


def patients_csv(target, rows) -> Path:
    with open(target / "patients.csv", "w", newline="") as file:
        csv.writer(file).writerows([("split", "case", "patient"), *rows])
    return target


def nnunet(folder, target, channels=CHANNELS, splits=("TRAINING", "TESTING")) -> None:
    for split, number, modality, source in images(folder):
        end = {"TRAINING": "Tr", "TESTING": "Ts"}[split]
        if split in splits and modality == "OT":
            put(source, target / f"labels{end}" / f"ISLES_{number:03d}.nii.gz")
        elif split in splits:
            place = channels.index(modality)
            put(source, target / f"images{end}" / f"ISLES_{number:03d}_{place:04d}.nii.gz")


def nnunet_whole(folder, target) -> Path:
    nnunet(folder, target)
    names = {str(place): name for place, name in enumerate(CHANNELS)}
    facts = {"channel_names": names, "labels": {"background": 0, "lesion": 1}, "numTraining": 94}
    (target / "dataset.json").write_text(json.dumps(facts | {"file_ending": ".nii.gz"}))
    return target


def nnunet_of_old(folder, target) -> Path:
    """By the first version's dataset.json, in another order and a folder of its own."""
    order, here = CHANNELS[::-1], target / "Task018_ISLES"
    nnunet(folder, here, order)
    names = {str(place): PLAIN[name].upper() for place, name in enumerate(order)}
    facts = {"name": "ISLES", "modality": names, "labels": {"0": "background", "1": "core"}}
    (here / "dataset.json").write_text(json.dumps(facts))
    return target


def nnunet_training(folder, target) -> Path:
    nnunet_whole(folder, target)
    for path in (target / "imagesTs").iterdir():
        path.unlink()
    (target / "imagesTs").rmdir()
    return target


def nnunet_unexplained(folder, target) -> Path:
    nnunet(folder, target)
    return target


def parquet(folder, target, content) -> Path:
    """One table a split, a row a scan, a column an image, as `content` packs the file of each."""
    import pyarrow
    import pyarrow.parquet

    rows = {"TRAINING": {}, "TESTING": {}}
    for split, number, modality, source in images(folder):
        row = rows[split].setdefault(number, {"case": f"case_{number}"})
        row[PLAIN[modality]] = content(source)
    (target / "data").mkdir()
    for split, of_split in rows.items():
        name = {"TRAINING": "train", "TESTING": "test"}[split]
        table = pyarrow.Table.from_pylist([of_split[number] for number in sorted(of_split)])
        pyarrow.parquet.write_table(table, target / "data" / f"{name}-00000-of-00001.parquet")
    return target


def parquet_nifti(folder, target) -> Path:
    return parquet(folder, target, Path.read_bytes)


def parquet_gzip(folder, target) -> Path:
    def content(path):
        return {"bytes": gzip.compress(path.read_bytes(), 1), "path": f"{path.name}.gz"}

    return parquet(folder, target, content)


def parquet_pictures(folder, target) -> Path:
    return parquet(folder, target, lambda path: {"bytes": PICTURE, "path": f"{path.stem}.png"})


def chosen(folder, target, training, testing) -> Path:
    """Have some scans alone."""
    for split, numbers in (("TRAINING", training), ("TESTING", testing)):
        for number in numbers:
            same(folder / split / f"case_{number}", target / split / f"case_{number}")
    return target


def training_alone(folder, target) -> Path:
    return chosen(folder, target, range(1, 95), ())


def some_training(folder, target) -> Path:
    return chosen(folder, target, range(20, 40), range(1, 63))


def some_testing(folder, target) -> Path:
    return chosen(folder, target, range(1, 95), range(11, 21))


def cut_short(folder, target) -> Path:
    same(folder, target)
    (path,) = (target / "TRAINING" / "case_7").glob("*CBF*/*.nii")
    content = path.read_bytes()
    path.unlink()  # it is a link to the twin's
    path.write_bytes(content[:-100])
    return target


def other_data(folder, target) -> Path:
    """Scans of another study in the layout of this one."""
    for scan in twin.scans("TRAINING", range(1, 13)) + twin.scans("TESTING", range(1, 7)):
        ids = {name: number + 500_000 for name, number in scan.ids.items()}
        other = dataclasses.replace(scan, ids=ids, slices=3, spacing=(0.7, 0.7, 8.0))
        twin.write(target, [other])
    for path in target.rglob("*.json"):
        path.unlink()
    rows = [(s.split, s.number, s.name) for s in twin.scans()]
    return patients_csv(target, [row for row in rows if row[1] <= {"TRAINING": 12, "TESTING": 6}[row[0]]])


def empty(folder, target) -> Path:
    return target


def something_else(folder, target) -> Path:
    (target / "photos").mkdir()
    (target / "photos" / "beach.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))
    (target / "notes.txt").write_text("not a scan")
    return target


# In the order of the issue they answer: where the files are, how they are called, other layouts, parts, damage.
SHAPES = (
    Shape(1, "whole folder", same, says=("94 training", "62 testing")),
    Shape(2, "outer folder", outer, says=("94 training", "62 testing")),
    Shape(3, "both zips, with what a Mac adds", zips, says=("94 training", "62 testing", "zip", "md5")),
    Shape(4, "the training zip alone", training_zip, scans=(94, 0), says=("no testing scans",)),
    Shape(5, "one zip of both splits", one_zip, says=("94 training", "62 testing")),
    Shape(6, "small letters", small_letters),
    Shape(7, ".nii.gz", compressed),
    Shape(8, ".NII", capitals),
    Shape(9, "links", links),
    Shape(10, "path with spaces", spaces),
    Shape(11, "path beyond ASCII", other_letters),
    Shape(12, "without json", without_json),
    Shape(13, "MR_ names of the early release", early_release, ids=False),
    Shape(14, "names without ids", plain_names, ids=False),
    Shape(15, "flat files without ids", flat, ids=False),
    Shape(16, "folders training_N and testing_N", numbered_words),
    Shape(
        17, "names without ids, renumbered", renumbered, status=1, scans=(0, 62), patients=(), ids=False,
        says=("patients.csv",),
    ),
    Shape(
        18, "the same with patients.csv", renumbered_with_patients, ids=False,
        says=("no submission will be written", "table 1 is not affected"),
    ),
    Shape(19, "nnU-Net", nnunet_whole, ids=False),
    Shape(20, "nnU-Net of old in an outer folder", nnunet_of_old, ids=False),
    Shape(21, "nnU-Net, training alone", nnunet_training, scans=(94, 0), says=("no testing scans",)),
    Shape(22, "nnU-Net without dataset.json", nnunet_unexplained, status=1, scans=NOTHING, says=("dataset.json",)),
    Shape(23, "parquet of NIfTI", parquet_nifti, ids=False),
    Shape(24, "parquet of gzip in structs with paths", parquet_gzip),
    Shape(25, "parquet of pictures", parquet_pictures, status=1, scans=NOTHING, says=("pictures",)),
    Shape(26, "training split alone", training_alone, scans=(94, 0), says=("no testing scans",)),
    Shape(27, "20 training scans", some_training, scans=(20, 62), says=("20 of 94 training scans",)),
    Shape(28, "10 testing scans", some_testing, scans=(94, 10), says=("10 of 62 testing scans", "not complete")),
    Shape(29, "one scan cut short", cut_short, status=1, scans=(93, 62), says=("case_7",)),
    Shape(30, "another study in this layout", other_data, scans=(12, 6), ids=False, says=("not isles 2018",)),
    Shape(31, "an empty folder", empty, status=1, scans=NOTHING),
    Shape(32, "something else", something_else, status=1, scans=NOTHING),
)  # fmt: skip
