"""Every shape that a download can have: what the check says of it, and which scans the study then finds there.

A scan is known by the contents of its CT, so that no name, number or order that the reader goes by is asked.
"""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import twin
from project import surroundings
from shapes import PLAIN, SHAPES

from strokelib.cases import SPLITS, CaseError, list_cases, load_case
from strokelib.run.runtime import ROOT

KEYS = {modality.removeprefix("CT_"): modality for modality in PLAIN}


def fingerprint(ct):
    return hashlib.sha256(np.ascontiguousarray(ct, np.float32).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return twin.write(tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module")
def drawn():
    """Every scan of the twin with its images, by the contents of its CT."""
    pairs = ((scan, twin.draw(scan)) for scan in twin.scans())
    return {fingerprint(images["CT"]): (scan, images) for scan, images in pairs}


def check(folder, results):
    """Run the check as a user does; its list of problems lies elsewhere than theirs."""
    command = [sys.executable, ROOT / "tools" / "check_data.py", folder]
    around = surroundings(ROOT) | {"STROKELIB_RESULTS": str(results), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=around, capture_output=True, text=True, timeout=300)


def found_in(folder, split):
    """Return files and contents of the scans that can be used; none where the split is not there."""
    try:
        listed, _ = list_cases(folder, split)
    except (FileNotFoundError, CaseError):
        return []
    pairs = []
    for files in listed:
        try:
            pairs.append((files, load_case(files)))
        except CaseError:
            continue
    return pairs


def test_the_table_is_numbered():
    assert [shape.number for shape in SHAPES] == [*range(1, len(SHAPES) + 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.number))
def test_shape(shape, whole, drawn, tmp_path):
    if "parquet" in shape.name:
        pytest.importorskip("pyarrow")
    (tmp_path / "data").mkdir()
    folder = shape.make(whole, tmp_path / "data")
    told = check(folder, tmp_path / "results")
    said = (told.stdout + told.stderr).lower()
    assert told.returncode == shape.status, said
    assert [words for words in shape.says if words not in said] == [], said
    assert [words for words in (*shape.never, "traceback") if words in said] == [], said
    found = {split: found_in(folder, split) for split in SPLITS}
    assert tuple(len(found[split]) for split in SPLITS) == shape.scans
    if shape.name == "another study in this layout":
        return
    for split, pairs in found.items():
        seen = set()
        for files, case in pairs:
            scan, images = drawn[fingerprint(case.image("CT"))]
            seen.add((scan.split, scan.number))
            for key, modality in KEYS.items():
                there = case.lesion if key == "OT" else case.image(key)
                expected = images.get(modality)
                assert (there is None) == (expected is None), (files.number, key)
                assert there is None or np.array_equal(there, expected.astype(there.dtype)), (files.number, key)
            assert np.allclose(case.spacing, scan.spacing) and scan.split == split
            assert split not in shape.patients or files.patient == case.patient == scan.name
            if split == "TESTING":
                assert (files.ids.get("MTT") == scan.ids["CT_MTT"]) == shape.ids
        assert len(seen) == len(pairs), "every scan is found once"
