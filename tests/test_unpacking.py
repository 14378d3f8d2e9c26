import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tomllib
import zipfile

import pytest
import twin

from strokelib import unpacking
from strokelib.cases import find_cases, splits_there
from strokelib.layouts import SPLITS
from strokelib.run.runtime import ROOT

SOME = [1, 2]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)
PLAIN = {"CT": "ct", "CT_CBF": "cbf", "CT_CBV": "cbv", "CT_MTT": "mtt", "CT_Tmax": "tmax", "OT": "lesion"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return twin.write(tmp_path_factory.mktemp("twin"), twin.scans(numbers=SOME))


def content(root):
    """Return the bytes of every image of every scan as the reader finds them."""
    return {
        (split, file.number, file.patient, key): path.read_bytes() if path.suffix != ".gz" else gzip.open(path).read()
        for split in SPLITS
        for file in find_cases(root, split)
        for key, path in file.files.items()
    }


def pack(folder, path, within="", litter=True):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(folder.rglob("*")):
            name = f"{within}{source.relative_to(folder.parent)}"
            archive.write(source, name)
            if litter and source.is_file():
                archive.writestr(f"__MACOSX/{name.rpartition('/')[0]}/._{source.name}", b"\0\5\26\7")
    return path


def unpacked(root):
    return "\n".join(unpacking.unpack(root))


def nothing_left(folder, names):
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("within", ["", "ISLES2018_Training/", "ISLES2018/", "./"])
def test_the_two_zips_are_unpacked_once(whole, tmp_path, within):
    pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip", within)
    pack(whole / "TESTING", tmp_path / "ISLES2018_Testing.zip", within.replace("Training", "Testing"))
    (tmp_path / "holiday.zip").write_bytes(b"of somebody else")
    said = unpacked(tmp_path)
    assert content(tmp_path) == content(whole)
    assert f"unpacking {2 * 12 + 1} files" in said and "another than those in data/README.md" in said
    assert not list(tmp_path.rglob("._*")) and not list(tmp_path.rglob("*.part"))
    assert unpacked(tmp_path) == ""


def test_a_zip_that_is_named_is_unpacked_beside_it(whole, tmp_path):
    pack(whole / "TESTING", tmp_path / "ISLES2018_Testing.zip")
    path = pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    unpacked(path)
    assert splits_there(path) == splits_there(tmp_path) == ("TRAINING",)
    assert len(find_cases(path, "TRAINING")) == 2
    unpacked(tmp_path)
    assert content(path) == content(whole)
    assert f"{path.name}: not unpacked, because {tmp_path / 'TRAINING'} is there; move it away" in unpacked(path)


def test_a_zip_of_cases_alone_goes_by_its_name(whole, tmp_path):
    for split in SPLITS:
        (tmp_path / split).mkdir()
        with zipfile.ZipFile(tmp_path / split / f"isles2018_{split.lower()}.zip", "w") as archive:
            for path in sorted((whole / split).rglob("*.nii")):
                archive.write(path, path.relative_to(whole / split))
        shutil.move(tmp_path / split / f"isles2018_{split.lower()}.zip", tmp_path)
        (tmp_path / split).rmdir()
    unpacked(tmp_path)
    assert content(tmp_path) == content(whole)


def test_a_known_md5_sum_is_said(whole, tmp_path, monkeypatch):
    path = pack(whole / "TRAINING", tmp_path / "download.zip")
    monkeypatch.setitem(unpacking.MD5, hashlib.md5(path.read_bytes()).hexdigest(), "ISLES2018_Training.zip")
    assert "its md5 sum is that of the challenge's ISLES2018_Training.zip" in unpacked(tmp_path)


def test_the_sums_are_those_of_the_readme_whose_line_works_as_printed(tmp_path):
    readme = (ROOT / "data" / "README.md").read_text()
    assert dict(re.findall(r"([0-9a-f]{32})  (\S+)", readme)) == unpacking.MD5
    (line,) = re.findall(r"```\n(md5sum .*?)```", readme, re.DOTALL)
    for name in unpacking.MD5.values():
        (tmp_path / name).write_bytes(b"another")
    told = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.splitlines() == [f"{name}: FAILED" for name in unpacking.MD5.values()]
    assert "improperly" not in told.stderr
    for name in unpacking.MD5.values():  # and succeeds with the sums of what is there
        line = re.sub(rf"[0-9a-f]{{32}}  {name}", f"{hashlib.md5(b'another').hexdigest()}  {name}", line)
    assert subprocess.run(["bash", "-c", line], cwd=tmp_path).returncode == 0


def test_the_readme_names_the_pin_of_pyarrow():
    assert f"pip install {unpacking.PYARROW}`" in (ROOT / "data" / "README.md").read_text()


@pytest.mark.parametrize("name", ["../evil.nii", "/tmp/evil.nii", "TRAINING/../../evil.nii", "C:\\evil.nii", "link"])
def test_an_archive_that_leads_out_of_the_folder_is_refused(whole, tmp_path, name):
    path = pack(whole / "TRAINING", tmp_path / "inner.zip")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (0o120777 if name == "link" else 0o644) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(unpacking.PackedError, match="leads out of it"):
        unpacked(tmp_path)
    assert nothing_left(tmp_path, ["inner.zip"])


@pytest.mark.parametrize("end", [0.5, 0.999])
def test_an_archive_that_was_cut_short_is_refused(whole, tmp_path, end):
    path = pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    path.write_bytes(path.read_bytes()[: int(end * path.stat().st_size)])
    with pytest.raises(unpacking.PackedError, match=r"ISLES2018_Training\.zip is no whole zip .*download it again"):
        unpacked(tmp_path)
    assert nothing_left(tmp_path, ["ISLES2018_Training.zip"])


def test_a_damaged_zip_is_refused_where_it_is_named_and_passed_over_beside_scans(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "somebodys.zip").write_text("no zip")
    assert unpacked(copy) == ""
    with pytest.raises(unpacking.PackedError, match=r"somebodys\.zip is no whole zip .*download it again"):
        unpacked(copy / "somebodys.zip")


def test_a_flipped_bit_leaves_nothing_behind(whole, tmp_path):
    path = pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        (last,) = [m for m in archive.infolist() if re.match(r"TRAINING/case_2/.*CT_CBF.*\.nii$", m.filename)]
    damaged[last.header_offset + 200] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(unpacking.PackedError, match=r"is damaged .*download it again"):
        unpacked(tmp_path)
    assert nothing_left(tmp_path, ["ISLES2018_Training.zip"])


def test_a_full_disk_is_told_before(whole, tmp_path, monkeypatch):
    pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(unpacking.PackedError, match=r"takes [0-9.]+ MB unpacked and .* has 0\.0 MB left; make room"):
        unpacked(tmp_path)
    assert nothing_left(tmp_path, ["ISLES2018_Training.zip"])


def test_what_an_ended_process_has_left_is_cleared(whole, tmp_path):
    pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    (tmp_path / ".unpacking.part" / "TRAINING" / "case_9").mkdir(parents=True)
    unpacked(tmp_path)
    assert [file.number for file in find_cases(tmp_path, "TRAINING")] == SOME
    assert not (tmp_path / ".unpacking.part").exists()


def test_a_folder_of_scans_is_left_as_it_is(whole, tmp_path):
    pack(whole / "TRAINING", tmp_path / "ISLES2018_Training.zip")
    shutil.copytree(whole / "TRAINING" / "case_1", tmp_path / "TRAINING" / "case_1")
    assert unpacked(tmp_path) == "" and len(find_cases(tmp_path, "TRAINING")) == 1
    shutil.rmtree(tmp_path / "TRAINING" / "case_1")
    unpacked(tmp_path)
    assert len(find_cases(tmp_path, "TRAINING")) == 2, "an empty folder is filled"


# Parquet


def rows(root, split, pack):
    """Make a row a scan, a column an image, as `pack` holds the file of each."""
    found = []
    for folder in sorted((root / split).glob("case_*")):
        images = {path.name.split(".")[4]: path for path in folder.rglob("*.nii")}
        found.append({"case": folder.name} | {PLAIN[name]: pack(path) for name, path in images.items()})
    return found


def plain(path):
    return path.read_bytes()


def packed(path):
    return {"bytes": gzip.compress(path.read_bytes(), 1), "path": f"TRAINING/{path.name}.gz"}


def table(path, rows):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize("numbered", [True, False])
def test_columns_of_bytes_become_folders_of_scans(whole, tmp_path, numbered):
    for split, name in zip(SPLITS, ("train", "test"), strict=True):
        of_split = rows(whole, split, plain)
        for row in of_split if not numbered else ():
            del row["case"]
        for shard, row in enumerate(of_split):  # of a table in several files, the rows go on counting
            table(tmp_path / "data" / f"{name}-{shard:05d}-of-00002.parquet", [row])
    said = unpacked(tmp_path)
    assert content(tmp_path) == content(whole) and "wrote 22 volumes, 12 in TRAINING, 10 in TESTING" in said
    assert {file.files["OT"].name for file in find_cases(tmp_path, "TRAINING")} == {"ot.nii"}
    assert unpacked(tmp_path) == ""


def test_structs_keep_the_names_and_with_them_the_ids(whole, tmp_path):
    table(tmp_path / "train.parquet", rows(whole, "TRAINING", packed))
    unpacked(tmp_path / "train.parquet")
    assert [file.ids["MTT"] for file in find_cases(tmp_path, "TRAINING")] == [345565, 345572]


def test_a_row_an_image_with_texts_beside_it(whole, tmp_path):
    found = []
    for split in SPLITS:
        for row in rows(whole, split, lambda path: gzip.compress(path.read_bytes(), 1)):
            case = row.pop("case")
            facts = {"subject": case, "split": split.lower(), "patient": f"P{case[5:]}"}
            found += [facts | {"modality": kind, "nifti": image} for kind, image in row.items()]
    table(tmp_path / "all.parquet", found)
    unpacked(tmp_path)
    assert {key[:2] + key[3:]: value for key, value in content(tmp_path).items()} == {
        key[:2] + key[3:]: value for key, value in content(whole).items()
    }
    assert (tmp_path / "patients.csv").read_text().splitlines()[0] == "split,case,patient"
    assert "TRAINING,2,P2" in (tmp_path / "patients.csv").read_text().splitlines()


def of_patients(whole, told):
    """Make a row an image of cases 501 and 502, which no other table knows, with the patient that is told."""
    return [
        {"case": f"case_{case}", "patient": told(case, kind), "modality": kind, "nifti": row[kind]}
        for case, row in enumerate(rows(whole, "TRAINING", plain), start=501)
        for kind in PLAIN.values()
    ]


@pytest.mark.parametrize("name", ["P{}", 'Doe, "{}"', " P\n{} ", "müller;{}"])
def test_the_patients_of_a_table_of_images_are_those_of_the_scans(whole, tmp_path, name):
    """Each image wrote a line, and a case that is listed twice is refused."""
    table(tmp_path / "train.parquet", of_patients(whole, lambda case, kind: name.format(case)))
    unpacked(tmp_path)
    patients = {file.number: file.patient for file in find_cases(tmp_path, "TRAINING")}
    assert patients == {case: " ".join(name.format(case).split()) for case in (501, 502)}


def test_patients_that_contradict_each_other_are_refused(whole, tmp_path):
    table(tmp_path / "train.parquet", of_patients(whole, lambda case, kind: "A" if kind == "ct" else "B"))
    with pytest.raises(unpacking.PackedError, match=r"parquet says that case 501 .* of patient B, and A elsewhere"):
        unpacked(tmp_path)
    assert nothing_left(tmp_path, ["train.parquet"])


def test_an_image_without_a_patient_contradicts_none(whole, tmp_path):
    table(tmp_path / "train.parquet", of_patients(whole, lambda case, kind: f"P{case}" if kind == "ct" else None))
    unpacked(tmp_path)
    assert {file.patient for file in find_cases(tmp_path, "TRAINING")} == {"P501", "P502"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {name: {"bytes": PICTURE, "path": "a.png"} for name in PLAIN.values()}, r"pictures \(PNG\)"),
        (lambda row: {"case": row["case"], "note": "no image"}, "hold no NIfTI volume"),
        (lambda row: {"case": row["case"], "thing": row["ct"]}, "neither column 'thing' nor path '' .* name the col"),
        (lambda row: row | {"case": "case_1"}, "TRAINING/case_1/cbf.nii a second time; give it a column 'case'"),
    ],
)
def test_tables_that_cannot_be_used_are_one_sentence(whole, tmp_path, change, message):
    table(tmp_path / "train.parquet", [change(row) for row in rows(whole, "TRAINING", plain)])
    with pytest.raises(unpacking.PackedError, match=message) as error:
        unpacked(tmp_path)
    assert "\n" not in str(error.value) and nothing_left(tmp_path, ["train.parquet"])


def test_a_damaged_table_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "train.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(unpacking.PackedError, match=r"cannot read .*train\.parquet .*download it again"):
        unpacked(tmp_path)


def test_without_pyarrow_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(unpacking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(unpacking.PackedError, match=rf"1 parquet file, for .* -m pip install {unpacking.PYARROW}, "):
        unpacked(tmp_path)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (pin,) = extras["parquet"]
    assert pin == unpacking.PYARROW


def test_of_a_table_a_few_rows_are_in_memory(whole, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    sizes, usual = [], pyarrow.parquet.ParquetFile.iter_batches

    def batches(self, batch_size):
        for batch in usual(self, batch_size):
            sizes.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", batches)
    table(tmp_path / "train.parquet", [{"case": i, "ct": (348).to_bytes(4, "little")} for i in range(11)])
    unpacked(tmp_path)
    assert max(sizes) == 4 and sum(sizes) == 11


def test_a_zip_in_memory_is_what_the_tests_believe(whole, tmp_path):
    """The litter of a Mac is in it, or its absence after unpacking would say nothing."""
    path = pack(whole / "TRAINING", tmp_path / "inner.zip")
    names = zipfile.ZipFile(io.BytesIO(path.read_bytes())).namelist()
    assert any(name.startswith("__MACOSX/") for name in names)
