"""More than 500 damaged scan folders: each is one clear error, or is treated as stated here.

A damage takes the root of a data set with the one good scan TRAINING/case_7, a modality and a generator, and returns
what must come of it: the pattern of the one CaseError, which names the case and what to do, too; SAME, the scan is read
as if nothing had happened; other images, which are read; or one of two outcomes where luck decides what a bit does.
"""

import gzip
import json
import os
import re
import shutil
import signal
import struct

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from strokelib import cases, preprocess
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError

SAME, ERROR_OR_SAME, ERROR_OR_FINITE = object(), object(), object()
WHAT_TO_DO = re.compile(r"\b(replace|keep|rename|unpack|correct|check|add|save|remove)\b")
ALL = (*ISLES, "OT")
MAPS = tuple(name for name in ISLES if name != "CT")
NAMES = {"CT": "CT", "CBF": "CT_CBF", "CBV": "CT_CBV", "MTT": "CT_MTT", "Tmax": "CT_Tmax", "OT": "OT"}
TYPES = {"CT": "<i4", "CBF": "<u2", "CBV": "<u2", "MTT": "<f8", "Tmax": "<f8", "OT": "u1"}
SPACING = (0.9, 0.9, 5.0)
# Where fields lie in a NIfTI-1 header.
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTERCEPT = 40, 70, 76, 108, 112, 116


def head(shape=(64, 64, 2)):
    """Draw a turned head with its four maps and an outline, by modality."""
    rng = np.random.default_rng(7)
    i, j, k = np.indices(shape)
    x, y = i - 0.47 * shape[0], j - 0.53 * shape[1]
    radius = np.hypot((x + 0.06 * y) / (0.3 * shape[0]), (y - 0.06 * x) / (0.38 * shape[1])) + 0.002 * k
    grain = rng.normal(size=(5, *shape))
    images = {"CT": np.where(radius < 1, 35 + 5 * grain[0], np.where(radius < 1.15, 900, -23))}
    for m, (modality, level) in enumerate(zip(MAPS, (300, 40, 6, 2), strict=True), start=1):
        images[modality] = np.where(radius < 0.95, level * np.exp(0.5 * grain[m]) + 1, 0)
    images["OT"] = np.hypot(x - 0.12 * shape[0], y) < 0.1 * shape[0]
    return {key: image.astype(TYPES[key]) for key, image in images.items()}


def encode(array, spacing=SPACING, endian="<"):
    """Return a NIfTI file with the header of the real ones: identity for affine, true spacing in pixdim."""
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(array.dtype.newbyteorder(endian))
    header.set_data_shape(array.shape)
    header["pixdim"][1:4] = spacing
    header.set_sform(np.eye(4), 2)
    image = nib.Nifti1Image(array.astype(header.get_data_dtype()), None, header)
    return image.to_bytes()


def put(path, content):
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def get(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def write_scan(root, images, number=7, suffix=".nii", split="TRAINING", first_id=9070):
    for m, (key, image) in enumerate(images.items()):
        name = f"SMIR.Brain.XX.O.{NAMES[key]}.{first_id + m}"
        folder = root / split / f"case_{number}" / name
        folder.mkdir(parents=True)
        put(folder / (name + suffix), encode(image))
        (folder / f"{name}.json").write_text(
            json.dumps({"description": f"ISLES 2018 - TRAIN - Train_{number:02d}_A - {key}"})
        )


def scan_folder(root):
    return root / "TRAINING" / "case_7"


def image_file(root, key):
    (path,) = scan_folder(root).glob(f"SMIR.Brain.XX.O.{NAMES[key]}.*/SMIR*.nii*")
    return path


def named(key, text=""):
    """Match a message that names the file of a modality, or the modality."""
    return rf"(?s)[ ./_]{key}[ .,:].*{text}"


DAMAGES = []  # (function, seed, modality, suffix)


def damage(keys=("CT",), seeds=1, suffixes=(".nii",)):
    def register(function):
        DAMAGES.extend((function, seed, k, suffix) for seed in range(seeds) for k in keys for suffix in suffixes)
        return function

    return register


BOTH = (".nii", ".nii.gz")


# Files that are not there, or there twice


@damage(ALL, suffixes=BOTH)
def missing_file(root, key, seed, rng):
    image_file(root, key).unlink()
    return rf"case_7 has no {key} image .*{NAMES[key].removeprefix('CT_')}"


@damage(ALL)
def missing_folder(root, key, seed, rng):
    shutil.rmtree(image_file(root, key).parent)
    return rf"case_7 has no {key} image"


@damage()
def several_missing(root, key, seed, rng):
    for other in ("CBF", "OT"):
        image_file(root, other).unlink()
    return r"case_7 has no CBF, no OT image"


@damage()
def no_file_at_all(root, key, seed, rng):
    shutil.rmtree(scan_folder(root))
    scan_folder(root).mkdir()
    return r"case_7 has no CT, no CBF, no CBV, no MTT, no Tmax, no OT image"


@damage(ALL, suffixes=BOTH)
def copied(root, key, seed, rng):
    path = image_file(root, key)
    shutil.copytree(path.parent, scan_folder(root) / "copy")
    return rf"case_7 has 2 {key} images .*copy/SMIR.*; keep one"


@damage(ALL)
def packed_and_unpacked(root, key, seed, rng):
    path = image_file(root, key)
    put(path.with_name(path.name + ".gz"), get(path))
    return rf"case_7 has 2 {key} images"


@damage(ALL, seeds=5)
def misnamed(root, key, seed, rng):
    path = image_file(root, key)
    name = [
        path.name.replace(f"{NAMES[key]}.", f"{NAMES[key]}"),
        path.name.replace(f"{NAMES[key]}.", f"x{NAMES[key].lower()}x."),
        path.name.replace(".nii", ".img"),
        path.name + ".part",
        path.name.replace(f"{NAMES[key]}.", ""),
    ][seed]
    path.rename(path.with_name(name))
    return rf"case_7 has no {key} image"


# Files that cannot be decoded


@damage(ALL, seeds=5, suffixes=BOTH)
def cut_short(root, key, seed, rng):
    path = image_file(root, key)
    whole = path.read_bytes()
    path.write_bytes(whole[: rng.integers(0, len(whole))])
    return rf"cannot read .*[._]{key}\..*; replace the file"


@damage(ALL, seeds=3)
def cut_short_by_one_byte(root, key, seed, rng):
    path = image_file(root, key)
    path.write_bytes(path.read_bytes()[: -1 - rng.integers(3)])
    return rf"cannot read .*[._]{key}\..*it holds"


@damage(ALL, seeds=8, suffixes=(".nii.gz",))
def flipped_bit_in_gzip(root, key, seed, rng):
    """A bit that says when the archive was made, or fills a byte, does no harm; any other belies the checksum."""
    path = image_file(root, key)
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    return ERROR_OR_SAME


@damage(ALL, seeds=2, suffixes=(".nii.gz",))
def rubbish_behind_gzip(root, key, seed, rng):
    path = image_file(root, key)
    path.write_bytes(path.read_bytes() + rng.bytes(100))
    return rf"cannot read .*[._]{key}\."


@damage(ALL, seeds=2)
def bytes_behind_the_data(root, key, seed, rng):
    path = image_file(root, key)
    path.write_bytes(path.read_bytes() + rng.bytes(100))
    return SAME


@damage(ALL, seeds=5, suffixes=BOTH)
def something_else_in_the_file(root, key, seed, rng):
    contents = [b"", b"<html>404 Not Found</html>", rng.bytes(20_000), bytes(20_000), b"\xff" * 20_000]
    image_file(root, key).write_bytes(contents[seed])
    return rf"cannot read .*[._]{key}\."


@damage(ALL)
def gzip_named_nii(root, key, seed, rng):
    path = image_file(root, key)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return SAME


@damage(ALL, suffixes=(".nii.gz",))
def nii_named_gzip(root, key, seed, rng):
    path = image_file(root, key)
    path.write_bytes(get(path))
    return SAME


@damage(ALL, seeds=12)
def flipped_bits_in_header(root, key, seed, rng):
    """A scale that is a little off cannot be told; nothing worse may come of it."""
    path = image_file(root, key)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, 348, rng.integers(1, 6)):
        content[place] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    return ERROR_OR_FINITE


def overwrite(root, key, place, form, *values):
    path = image_file(root, key)
    content = bytearray(get(path))
    struct.pack_into("<" + form, content, place, *values)
    put(path, bytes(content))


@damage(ALL, seeds=5)
def data_type(root, key, seed, rng):
    codes = {"complex": (32, 64), "RGB": (128, 24), "RGBA": (2304, 32), "none": (0, 0), "unknown": (4711, 8)}
    code, bits = list(codes.values())[seed]
    overwrite(root, key, DATATYPE, "hh", code, bits)
    return rf"[._]{key}\..*; replace the file"


@damage(ALL)
def complex_numbers(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key].astype("<c8")))
    return rf"cannot read .*[._]{key}\..*expected real numbers"


@damage(ALL, seeds=6)
def dimensions(root, key, seed, rng):
    wrong = [(3, 64, 64, -2), (3, 64, 64, 0), (3, 32767, 32767, 32767), (0, 64, 64, 2), (-3, 64, 64, 2), (9, 64, 64, 2)]
    overwrite(root, key, DIM, "4h", *wrong[seed])
    return rf"cannot read .*[._]{key}\."


@damage(ALL)
def huge_dimensions_in_gzip(root, key, seed, rng):
    """A few bytes that promise gigabytes must not take them."""
    path = image_file(root, key)
    overwrite(root, key, DIM, "4h", 3, 30000, 30000, 5)
    put(path.with_name(path.name + ".gz"), path.read_bytes())
    path.unlink()
    return rf"cannot read .*[._]{key}\..*promises"


@damage(ALL, seeds=5)
def scale_or_offset(root, key, seed, rng):
    wrong = [(VOX_OFFSET, np.nan), (VOX_OFFSET, -1e9), (VOX_OFFSET, 1e9), (INTERCEPT, np.nan), (SLOPE, 1e30)]
    place, value = wrong[seed]
    if place == INTERCEPT:
        overwrite(root, key, SLOPE, "f", 2.0)
    overwrite(root, key, place, "f", value)
    return named(key)


# Files that cannot be opened


@damage(ALL)
def folder_in_place_of_file(root, key, seed, rng):
    path = image_file(root, key)
    path.unlink()
    path.mkdir()
    return rf"case_7 has no {key} image"


@damage(ALL)
def link_to_nowhere(root, key, seed, rng):
    path = image_file(root, key)
    path.unlink()
    path.symlink_to(root / "gone.nii")
    return rf"cannot read .*[._]{key}\..*link"


@damage(ALL)
def link_to_itself(root, key, seed, rng):
    path = image_file(root, key)
    path.unlink()
    path.symlink_to(path)
    return rf"cannot read .*[._]{key}\..*link"


@damage(ALL)
def links_in_a_circle(root, key, seed, rng):
    path = image_file(root, key)
    path.unlink()
    path.symlink_to(path.with_name("back.nii"))
    path.with_name("back.nii").symlink_to(path)
    return rf"cannot read .*[._]{key}\..*link"


@damage(ALL)
def pipe_in_place_of_file(root, key, seed, rng):
    """Opening it would wait for ever."""
    path = image_file(root, key)
    path.unlink()
    os.mkfifo(path)
    return rf"cannot read .*[._]{key}\."


@damage(ALL)
def link_to_a_file(root, key, seed, rng):
    path = image_file(root, key)
    shutil.move(path, root / "elsewhere.nii")
    path.symlink_to(root / "elsewhere.nii")
    return SAME


@damage()
def folder_that_links_to_itself(root, key, seed, rng):
    (scan_folder(root) / "loop").symlink_to(scan_folder(root))
    (scan_folder(root) / "up").symlink_to(root)
    return SAME


@damage()
def case_folder_links_to_itself(root, key, seed, rng):
    shutil.rmtree(scan_folder(root))
    scan_folder(root).symlink_to(scan_folder(root))
    return r"case_7: .*TRAINING/case_7 is no folder that can be opened"


@damage()
def case_folder_links_to_nowhere(root, key, seed, rng):
    shutil.rmtree(scan_folder(root))
    scan_folder(root).symlink_to(root / "gone")
    return r"case_7: .*TRAINING/case_7 is no folder that can be opened"


@damage()
def file_in_place_of_case_folder(root, key, seed, rng):
    shutil.rmtree(scan_folder(root))
    scan_folder(root).write_text("")
    return r"case_7: .*TRAINING/case_7 is no folder that can be opened"


@damage()
def case_folder_behind_a_link(root, key, seed, rng):
    shutil.move(scan_folder(root), root / "elsewhere")
    scan_folder(root).symlink_to(root / "elsewhere")
    return SAME


# Names


@damage(ALL)
def file_name_with_spaces_and_accents(root, key, seed, rng):
    path = image_file(root, key)
    path = path.rename(path.with_name(path.name.replace("SMIR.Brain", "Größe naïve [1] 脳")))
    path.parent.rename(scan_folder(root) / "Ordner mit Ümlaut 日本")
    return SAME


@damage()
def file_name_that_is_no_text(root, key, seed, rng):
    rename_to_latin_1(image_file(root, key), "CT")
    return SAME


def rename_to_latin_1(path, mark):
    """Give a file a name as from an old archive; return it, with the bytes that are no UTF-8 as Python shows them."""
    name = f"Größe.{mark}.1.nii".encode("latin-1")
    try:
        os.rename(path, os.path.join(os.fsencode(path.parent), name))
    except OSError:
        pytest.skip("this file system takes no such name")
    return path.with_name(os.fsdecode(name))


@damage(seeds=5)
def case_folder_in_other_spelling(root, key, seed, rng):
    scan_folder(root).rename(root / "TRAINING" / ["Case_7", "case 7", "case-7", "CASE_007", "case7"][seed])
    return SAME


@damage(seeds=2)
def case_folder_misnamed(root, key, seed, rng):
    scan_folder(root).rename(root / "TRAINING" / ["case_7 (1)", "case_7 copy"][seed])
    return r"case_7 needs one folder case_7 .*found 'case_7 .*'; rename"


@damage()
def case_folder_with_zeros(root, key, seed, rng):
    scan_folder(root).rename(root / "TRAINING" / "case_007")
    return SAME


@damage()
def case_folder_twice(root, key, seed, rng):
    shutil.copytree(scan_folder(root), root / "TRAINING" / "case_07")
    return r"case_7 needs one folder case_7 .*found 'case_07', 'case_7'"


@damage()
def copy_beside_case_folder(root, key, seed, rng):
    shutil.copytree(scan_folder(root), root / "TRAINING" / "case_7 (copy)")
    return SAME


# More than there should be


@damage(seeds=8)
def files_of_the_operating_system(root, key, seed, rng):
    for path in list(scan_folder(root).rglob("*")):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07" + rng.bytes(60))
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._.DS_Store"):
        (scan_folder(root) / name).write_bytes(rng.bytes(60))
        (root / "TRAINING" / name).write_bytes(rng.bytes(60))
    (root / "TRAINING" / "._case_7").write_bytes(rng.bytes(60))
    (scan_folder(root) / ".AppleDouble").mkdir()
    shutil.copy(image_file(root, "CT"), scan_folder(root) / ".AppleDouble")
    shutil.copytree(scan_folder(root), root / "__MACOSX" / "TRAINING" / "case_7")
    return SAME


@damage(seeds=3)
def another_folder(root, key, seed, rng):
    extra = scan_folder(root) / "SMIR.Brain.XX.O.MR_DWI.9999"
    extra.mkdir()
    put(extra / "SMIR.Brain.XX.O.MR_DWI.9999.nii", encode(rng.normal(size=(9, 9, 3))))
    (scan_folder(root) / "notes").mkdir()
    (scan_folder(root) / "notes" / "CT.txt").write_text("no image")
    (root / "TRAINING" / "License").mkdir()
    (root / "TRAINING" / "cases.csv").write_text("7")
    return SAME


@damage()
def one_folder_too_deep(root, key, seed, rng):
    scan_folder(root).rename(root / "inner")
    scan_folder(root).mkdir()
    (root / "inner").rename(scan_folder(root) / "case_7")
    return SAME


@damage()
def raw_series_beside_it(root, key, seed, rng):
    extra = scan_folder(root) / "SMIR.Brain.XX.O.CT_4DPWI.9999"
    extra.mkdir()
    (extra / "SMIR.Brain.XX.O.CT_4DPWI.9999.nii").write_bytes(b"not read by the study")
    return SAME


# The patient


@damage(seeds=7)
def no_description(root, key, seed, rng):
    texts = [b"", b"{", b"[1, 2]", rng.bytes(99), b"[" * 100_000, b'{"description": "CT"}', b'{"description": [7]}']
    for path in scan_folder(root).rglob("*.json"):
        path.write_bytes(texts[seed])
    return r"the patient of case_7 is unknown.* CT image 9070 .*add such a json"


@damage()
def description_is_a_pipe(root, key, seed, rng):
    for path in scan_folder(root).rglob("*.json"):
        path.unlink()
        os.mkfifo(path)
    return r"the patient of case_7 is unknown"


# Shapes


@damage(ALL, seeds=7)
def other_shape(root, key, seed, rng):
    path = image_file(root, key)
    image = head()[key]
    axis = seed % 3
    shorter = np.take(image, range(image.shape[axis] - 1), axis)
    longer = np.concatenate([image, np.take(image, [0], axis)], axis)
    put(path, encode([shorter, longer, np.moveaxis(image, 2, 0)][seed // 3]))
    return named(key, "must agree")


@damage(ALL, seeds=4)
def not_3_d(root, key, seed, rng):
    image = head()[key]
    changed = [image[..., None], np.stack([image] * 3, -1), image[:, :, 0], image[:, :, None, None, :]][seed]
    put(image_file(root, key), encode(changed))
    return rf"[._]{key}\..* is [245]-D .*expected \(x, y, slice\)"


@damage(seeds=4)
def whole_scan_too_small(root, key, seed, rng):
    replace_scan(root, head([(31, 64, 2), (64, 16, 1), (9, 9, 9), (24, 24, 1)][seed]))
    return r"case_7: its slices have \([0-9]+, [0-9]+\) voxels, expected sides of at least 32"


def replace_scan(root, images, spacing=SPACING):
    for key, image in images.items():
        put(image_file(root, key), encode(image, spacing))


@damage(seeds=6)
def other_size_of_scan(root, key, seed, rng):
    """One slice, many slices, and sides that are no multiple of anything."""
    shapes = [(64, 64, 1), (48, 48, 64), (50, 41, 3), (33, 97, 2), (65, 64, 5), (96, 40, 1)]
    images = head(shapes[seed])
    replace_scan(root, images)
    return images


# Values


@damage(ISLES, seeds=3)
def not_finite(root, key, seed, rng):
    image = head()[key].astype(np.float32)
    image[tuple(rng.integers(0, image.shape, (rng.integers(1, 9), 3)).T)] = [np.nan, np.inf, -np.inf][seed]
    put(image_file(root, key), encode(image))
    return rf"cannot read .*[._]{key}\..*NaN or infinite values"


@damage(("OT",), seeds=3)
def lesion_not_finite(root, key, seed, rng):
    not_finite(root, key, seed, rng)
    return r"cannot read .*\.OT\..*NaN or infinite values"


@damage(ISLES, seeds=3)
def constant(root, key, seed, rng):
    image = head()[key]
    put(image_file(root, key), encode(np.full_like(image, [0, 1, 35][seed])))
    return rf"[._]{key}\..* everywhere, expected a {key} image"


@damage(ISLES, seeds=2)
def constant_in_the_brain(root, key, seed, rng):
    image = head()[key]
    image[head()["MTT" if key != "MTT" else "CBF"] > 0] = rng.integers(1, 40)
    put(image_file(root, key), encode(image))
    return rf"case_7: {key} is constant over its brain mask .*check"


@damage(seeds=2)
def all_maps_zero(root, key, seed, rng):
    for other in MAPS:
        put(image_file(root, other), encode(0 * head()[other]))
    return r"[._]CBF\..* is 0 everywhere"


@damage(seeds=3)
def hardly_any_brain(root, key, seed, rng):
    images = head()
    some = rng.integers(20, 40, (2, 2))
    for other in MAPS:
        few = np.zeros_like(images[other])
        few[some[0], some[1]] = images[other][some[0], some[1]]
        put(image_file(root, other), encode(few))
    return r"case_7: the brain mask is empty or nearly so .*check"


@damage(MAPS, seeds=2)
def no_background(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key] + np.dtype(TYPES[key]).type(rng.integers(1, 5))))
    return rf"[._]{key}\..* is nowhere 0, expected 0 outside the brain"


@damage(ISLES, seeds=2)
def wrong_unit(root, key, seed, rng):
    image = head()[key].astype(np.float64)
    put(image_file(root, key), encode(image * 10.0 ** rng.integers(5, 30)))
    return rf"[._]{key}\..*expected {key} within .*check its unit"


@damage(seeds=3)
def not_a_ct(root, key, seed, rng):
    """Stored with 1024 added, or another image under its name."""
    images = head()
    wrong = [images["CT"] + 1024, images["CBF"], images["CT"] - 1000][seed]
    put(image_file(root, "CT"), encode(wrong))
    return r"case_7: CT .* in the brain, expected .*check"


@damage(("CBF", "CBV", "MTT", "Tmax"))
def exchanged_with_the_ct(root, key, seed, rng):
    one, other = image_file(root, "CT"), image_file(root, key)
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1]), other.write_bytes(contents[0])
    return rf"[._]{key}\..* is nowhere 0|case_7: CT "


@damage(ALL[:-1], seeds=2)
def byte_order_unlike_the_header(root, key, seed, rng):
    path = image_file(root, key)
    image = head()[key]
    put(path, encode(image.byteswap()))
    return named(key)


@damage(ALL)
def big_endian(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key], endian=">"))
    return SAME


@damage(ALL, seeds=3)
def other_number_type(root, key, seed, rng):
    kind = ["<f4", "<f8", "<i8"][seed]
    images = head()
    if key in ("MTT", "Tmax"):
        images[key] = images[key].round()
    put(image_file(root, key), encode(images[key].astype(kind)))
    return images


@damage(("CBF", "CBV"))
def stored_with_a_scale(root, key, seed, rng):
    images = head()
    overwrite(root, key, SLOPE, "ff", 2.0, 0.0)
    images[key] = 2 * images[key]
    return images


UNITS = {"MTT": (10, 100, 1000, 1 / 60), "Tmax": (10, 100, 1000, 1 / 60), "CBF": (0.1,), "CBV": (0.1,)}


@damage(("MTT", "Tmax"), seeds=4)
def time_in_another_unit(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key] * UNITS[key][seed]))
    return head()


@damage(seeds=4)
def both_times_in_another_unit(root, key, seed, rng):
    for other in ("MTT", "Tmax"):
        put(image_file(root, other), encode(head()[other] * UNITS[other][seed]))
    return head()


@damage(("CBF", "CBV"))
def without_the_factor_ten(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key] * UNITS[key][seed]))
    return head()


@damage()
def neither_with_the_factor_ten(root, key, seed, rng):
    for other in ("CBF", "CBV"):
        put(image_file(root, other), encode(head()[other] / 10))
    return head()


@damage(("MTT", "Tmax"), seeds=2)
def time_in_no_unit(root, key, seed, rng):
    put(image_file(root, key), encode(head()[key] / (900, 30_000)[seed]))
    return rf"[._]{key}\..*{key} in no unit that is known here; save it in seconds"


# The background of the maps


@damage(MAPS, seeds=3)
def filled_outside_the_brain(root, key, seed, rng):
    """With -1, with noise on both sides of 0 as resampling leaves it, or with one positive value; a few zeros stay."""
    image = head()[key].astype(np.float32)
    fill = [-1, rng.normal(0, 0.02 * image.max(), image.shape), 0.3 * image.max()][seed]
    put(image_file(root, key), encode(np.where((image == 0) & (rng.random(image.shape) < 0.99), fill, image)))
    return rf"case_7: {key} is negative, or not 0 where the CT shows no tissue, in .* % .*expected 0 outside the brain"


@damage(seeds=2)
def all_filled_outside_the_brain_and_cropped_to_the_head(root, key, seed, rng):
    images = head()
    for other in MAPS:
        image = images[other].astype(np.float32)
        fill = [-1, rng.normal(0, 0.02 * image.max(), image.shape)][seed]
        images[other] = np.where((image == 0) & (rng.random(image.shape) < 0.99), fill, image)
    inside = np.ix_(*(np.flatnonzero((images["CT"] > -23).any(axis)) for axis in ((1, 2), (0, 2), (0, 1))))
    replace_scan(root, {other: image[inside] for other, image in images.items()})
    return r"case_7: CBF is negative, or not 0 where the CT shows no tissue"


# Directions


def turned(array, flips, order=(0, 1, 2)):
    """Store a scan along other axes, in the same place in space."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -30, -40, 5
    turn = np.array([[order.index(axis), flips[axis]] for axis in range(3)], float)
    return nib.Nifti1Image(array, affine).as_reoriented(turn)


@damage(ALL, seeds=4)
def stored_along_other_axes(root, key, seed, rng):
    """The header of every file says where it lies, so the scan is the same, but for where its first image points."""
    flips = [(-1, 1, 1), (1, -1, 1), (-1, -1, -1), (1, 1, -1)][seed]
    images = head()
    for other, image in images.items():
        put(image_file(root, other), turned(image, flips if other == key else (1, 1, 1)).to_bytes())
    if key != "CT":
        return images
    return {other: image[:: flips[0], :: flips[1], :: flips[2]] for other, image in images.items()}


@damage(ALL[1:])
def stored_slice_by_slice(root, key, seed, rng):
    images = head()
    for other, image in images.items():
        put(image_file(root, other), turned(image, (1, 1, -1), (2, 0, 1) if other == key else (0, 1, 2)).to_bytes())
    return {other: image[:, :, ::-1] for other, image in images.items()}


@damage(ALL, seeds=2)
def other_axes_in_another_place(root, key, seed, rng):
    """The header says that the first axis points to the left, and not where it begins: who is to tell which is true?"""
    overwrite(root, key, 280, "4f", -1, 0, 0, (0, 500)[seed])
    return rf"cannot read .*[._]{key if key != 'CT' else 'CBF'}\..*its axes point to [LR]AS .* one header is wrong"


@damage()
def only_the_ct_does_not_say_where_its_axes_point(root, key, seed, rng):
    for other, image in head().items():
        put(image_file(root, other), turned(image, (-1 if other == "OT" else 1, 1, 1)).to_bytes())
    overwrite(root, "CT", 252, "hh", 0, 0)
    return r"case_7: by their headers .*LAS \(OT\).* does not say; correct the headers"


@damage(ALL[1:])
def no_word_on_where_the_axes_point(root, key, seed, rng):
    overwrite(root, key, 252, "hh", 0, 0)
    return SAME


@damage(ALL[1:], seeds=3)
def useless_word_on_where_the_axes_point(root, key, seed, rng):
    overwrite(root, key, 280, "4f", *[(np.nan, 0, 0, 0), (0, 0, 0, 0), (np.inf, 0, 0, 0)][seed])
    return SAME


# Spacing


@damage(ALL, seeds=3)
def spacing_unlike_the_ct(root, key, seed, rng):
    spacing = rng.permuted([0.9, 1.1, 5.0]) if rng.random() < 0.5 else (5.0, 0.9, 0.9)
    put(image_file(root, key), encode(head()[key], spacing))
    return named(key, "spacing") if key != "CT" else r"CT.* spacing"


@damage(seeds=3)
def spacing_swapped_everywhere(root, key, seed, rng):
    replace_scan(root, head(), [(5.0, 0.9, 0.9), (0.9, 5.0, 0.9), (0.9, 1.3, 5.0)][seed])
    return r"\.CT\..* spacing .*as wide as high"


@damage(ALL, seeds=7)
def impossible_spacing(root, key, seed, rng):
    wrong = [0.0, -0.9, -5.0, np.nan, np.inf, 9e-4, 900.0][seed]
    overwrite(root, key, PIXDIM + 4 * int(rng.integers(1, 4)), "f", wrong)
    return rf"[._]{key}\..* spacing is .* expected 0\.1 to 30\)"


# Lesions


@damage(("OT",), seeds=6)
def not_a_mask(root, key, seed, rng):
    mask = head()["OT"].astype(np.float32)
    wrong = [mask * 0.5, mask * 255, mask * 2, -mask, mask + mask[::-1] * 2, mask + 0.001][seed]
    put(image_file(root, key), encode(wrong))
    return r"\.OT\..* holds values other than 0 and 1: \["


@damage(("OT",), seeds=2)
def lesion_outside_the_brain(root, key, seed, rng):
    mask = np.zeros_like(head()["OT"])
    mask[:3, : rng.integers(1, 9)] = 1
    put(image_file(root, key), encode(mask))
    return r"case_7: .* lesion voxels lies? in the brain.*check"


@damage(("OT",), seeds=2)
def lesion_inside_out(root, key, seed, rng):
    images = head()
    inverted = 1 - images["OT"]
    put(image_file(root, key), encode(inverted if seed else inverted * (images["MTT"] > 0).astype("u1")))
    return r"case_7: the outline \(OT\) covers 9\d % of the brain, expected a core.*check that 1 marks the core"


@damage(("OT",), seeds=2)
def lesion_partly_outside_the_brain(root, key, seed, rng):
    """As in some real scans, whose outlines overlap bone: kept as it is."""
    images = head()
    images["OT"][: rng.integers(1, 9)] = 1
    replace_scan(root, images)
    return images


@damage(("OT",))
def empty_lesion(root, key, seed, rng):
    images = head()
    images["OT"] *= 0
    replace_scan(root, images)
    return images


# The test itself


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """One good scan folder for each suffix, and the scan."""
    roots = {suffix: tmp_path_factory.mktemp("good") for suffix in BOTH}
    for suffix, root in roots.items():
        write_scan(root, head(), suffix=suffix)
    return roots


@pytest.fixture(autouse=True)
def no_hang():
    """A minute is a thousand times what a scan of this size takes."""

    def stop(*_):
        raise AssertionError("still waiting after a minute")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def come_of(root):
    """Do what notebooks 01 and 02 do before the registration: the scan, or the message of the one error."""
    try:
        (files,) = cases.find_cases(root, "TRAINING")
        case = cases.load_case(files)
        preprocess.check_case(case)
    except CaseError as error:
        return str(error)
    return case


def test_there_are_500_damaged_folders():
    assert len(DAMAGES) >= 500
    assert len({function for function, *_ in DAMAGES}) > 50


@pytest.mark.parametrize(
    ("function", "seed", "key", "suffix"),
    DAMAGES,
    ids=[f"{function.__name__}-{seed}-{key}{suffix}" for function, seed, key, suffix in DAMAGES],
)
def test_a_damaged_folder_is_one_clear_error_or_treated_as_stated(good, tmp_path, function, seed, key, suffix):
    root = tmp_path / "my data [1] ü"
    shutil.copytree(good[suffix], root)
    expected = function(root, key, seed, np.random.default_rng([seed, ALL.index(key)]))
    found = come_of(root)
    if isinstance(found, str):
        assert "case_7" in found and WHAT_TO_DO.search(found), found
        if expected not in (ERROR_OR_SAME, ERROR_OR_FINITE):
            assert isinstance(expected, str) and re.search(expected, found), found
        return
    assert not isinstance(expected, str), "the damage went unnoticed"
    assert np.isfinite(found.images).all() and np.isfinite(found.spacing).all()
    if expected is not ERROR_OR_FINITE:
        images = expected if isinstance(expected, dict) else head()
        for modality in ISLES:
            # A map that was brought from another unit is the same but for rounding.
            np.testing.assert_allclose(found.image(modality), images[modality].astype(np.float32), rtol=1e-6)
        np.testing.assert_array_equal(found.lesion, images["OT"])
        np.testing.assert_allclose(found.spacing, SPACING, rtol=1e-6)
    if key in ("CT", "OT") and (seed == 0 or function is other_size_of_scan):
        p = preprocess.preprocess_case(found, device="cpu")
        assert np.isfinite(p.images).all() and p.images.shape[1:] == found.images.shape[1:]


@pytest.mark.parametrize("suffix", BOTH)
@pytest.mark.parametrize("key", ALL)
def test_a_file_that_may_not_be_read_is_named(good, monkeypatch, suffix, key):
    """As root, who runs tests in a container, may read everything, the refusal is played."""
    usual, refused = open, image_file(good[suffix], key)

    def refuse(path, *args, **keywords):
        if path == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path, *args, **keywords)

    monkeypatch.setattr("builtins.open", refuse)
    found = come_of(good[suffix])
    assert re.search(rf"case_7: cannot read .*[._]{key}\..*Permission denied.*; replace", found)


def test_bad_cases_are_listed_together_and_lose_no_other(tmp_path):
    for number in (1, 2, 3, 4, 5, 6, 8, 10):
        write_scan(tmp_path, head((40, 40, 2) if number == 5 else (64, 64, 2)), number, first_id=9000 + 10 * number)
    for number in (1, 2):
        images = {key: image for key, image in head((48, 64, 1)).items() if key != "OT"}
        write_scan(tmp_path, images, number, split="TESTING", first_id=9500 + 10 * number)
    folder = tmp_path / "TRAINING"
    shutil.rmtree(folder / "case_2" / "SMIR.Brain.XX.O.CT_Tmax.9024")
    (path,) = folder.glob("case_3/*CT_CBF*/*.nii")
    path.write_bytes(path.read_bytes()[:1000])
    (path,) = folder.glob("case_4/*CT_CBV*/*.nii")
    put(path, encode((head()["CBV"] > 0).astype("<u2")))
    (folder / "case_8").rename(folder / "case_8 (copy)")
    (folder / "case_9").write_text("")
    (path,) = (tmp_path / "TESTING").glob("case_2/*CT_MTT*/*.nii")
    put(path, encode(head((48, 64, 1))["MTT"] * np.nan))

    usable, bad = preprocess.check_cases(tmp_path)
    assert {split: [files.number for files in found] for split, found in usable.items()} == {
        "TRAINING": [1, 6, 10],
        "TESTING": [1],
    }
    expected = {
        ("TRAINING", 2): "no Tmax image",
        ("TRAINING", 3): r"cannot read .*CT_CBF.*holds 1000\)",
        ("TRAINING", 4): "CBV is constant over its brain mask",
        ("TRAINING", 5): r"\(40, 40\) voxels, those of most training scans \(64, 64\)",
        ("TRAINING", 8): r"found 'case_8 \(copy\)'; rename",
        ("TRAINING", 9): "is no folder that can be opened",
        ("TESTING", 2): "MTT.*NaN or infinite",
    }
    assert list(zip(bad.split, bad.case, strict=True)) == list(expected)
    for row, pattern in zip(bad.itertuples(), expected.values(), strict=True):
        assert f"case_{row.case}" in row.problem and re.search(pattern, row.problem)
        assert WHAT_TO_DO.search(row.problem)
    with pytest.raises(CaseError) as error:
        cases.find_cases(tmp_path, "TRAINING")
    assert [line.split()[0].strip(":") for line in str(error.value).splitlines()] == ["case_2", "case_8", "case_9"]
    wanted = cases.find_cases(tmp_path, "TRAINING", [files.number for files in usable["TRAINING"]])
    assert wanted == usable["TRAINING"]


def test_the_table_of_bad_cases_can_be_saved_whatever_the_files_are_called(tmp_path):
    for split in cases.SPLITS:
        write_scan(tmp_path, head(), split=split)
    path = rename_to_latin_1(image_file(tmp_path, "CBF"), "CT_CBF")
    path.write_bytes(path.read_bytes()[:1000])
    _, bad = preprocess.check_cases(tmp_path)
    bad.to_csv(tmp_path / "bad.csv", index=False)
    assert pd.read_csv(tmp_path / "bad.csv").equals(bad)
    assert re.search(r"cannot read .*Gr\?\?e\.CT_CBF\.1\.nii", bad.problem[0])


def test_no_bad_case_is_an_empty_table(tmp_path):
    for split in cases.SPLITS:
        write_scan(tmp_path, head(), split=split)
    usable, bad = preprocess.check_cases(tmp_path)
    assert [len(found) for found in usable.values()] == [1, 1]
    assert bad.empty and list(bad.columns) == ["split", "case", "problem"]


def test_scans_that_are_not_there_are_no_bad_cases(tmp_path):
    """The image of case 2 tells that these are scans of ISLES 2018; a part of it, or one split, is a study, too."""
    write_scan(tmp_path, head((32, 32, 1)), 2, first_id=345569)
    write_scan(tmp_path, head((32, 32, 1)), 7)
    usable, bad = preprocess.check_cases(tmp_path)
    assert {split: [files.number for files in found] for split, found in usable.items()} == {
        "TRAINING": [2, 7],
        "TESTING": [],
    }
    assert bad.empty
    (tmp_path / "TRAINING").rename(tmp_path / "TESTING")
    with pytest.raises(FileNotFoundError, match="no folder TRAINING"):
        preprocess.check_cases(tmp_path)
