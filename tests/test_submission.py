import re
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from strokelib import submission
from strokelib.cases import CaseFiles
from strokelib.evaluation.summary import paper_table
from strokelib.facts import case_table
from strokelib.metrics import case_metrics
from strokelib.nifti import save_map


def make_cases(folder, count=3, suffix=".nii"):
    """Write CTs with the header quirks of ISLES 2018: identity sform, true spacing in pixdim."""
    cases = []
    for number in range(1, count + 1):
        shape = (20 + number, 18, 2 * number)
        image = nib.Nifti1Image(np.full(shape, -23, np.int32), None)
        image.header["pixdim"][:4] = (-1, 0.8 + 0.01 * number, 0.8 + 0.01 * number, 5 + number)
        image.header.set_sform(np.eye(4), 2)
        path = folder / f"SMIR.Brain.XX.O.CT.{1000 + number}{suffix}"
        image.to_filename(path)
        files = {"CT": path, "MTT": folder / "none.nii"}
        ids = {"CT": 1000 + number, "MTT": 346290 + 4 * number}
        cases.append(CaseFiles(number, f"Test_{number:02d}", "A", folder, files, ids))
    return cases


def make_masks(count=3):
    generator = np.random.default_rng(3)
    return [generator.random((20 + n, 18, 2 * n)) < 0.2 for n in range(1, count + 1)]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_is_what_was_meant(tmp_path, suffix):
    cases, masks = make_cases(tmp_path, suffix=suffix), make_masks()
    path = submission.write_submission(iter(masks), cases, tmp_path / "out", "rt_sm-uf")
    assert path == tmp_path / "out" / "submission.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"SMIR.rt_sm-uf.{346290 + 4 * n}.nii" for n in (1, 2, 3)]
        archive.extractall(tmp_path / "unpacked")
    for case, mask in zip(cases, masks, strict=True):
        image = nib.load(tmp_path / "unpacked" / f"SMIR.rt_sm-uf.{case.ids['MTT']}.nii")
        ct = nib.load(case.files["CT"])
        assert image.get_data_dtype() == np.uint16
        assert np.array_equal(np.asanyarray(image.dataobj), mask.astype(np.uint16))
        assert image.header.get_zooms() == ct.header.get_zooms()
        assert np.array_equal(image.affine, np.eye(4)) and image.header["sform_code"] == 2
        assert image.header["pixdim"][0] == -1


def test_check_counts_what_is_there(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    path = submission.write_submission(masks, cases, tmp_path / "out", "test")
    report = submission.check_submission(path, cases)
    assert report["case"].tolist() == [1, 2, 3]
    assert report["lesion_voxels"].tolist() == [int(m.sum()) for m in masks]
    volume = masks[0].sum() * 0.81 * 0.81 * 6 / 1000
    assert report["volume_ml"][0] == pytest.approx(volume, rel=1e-6)


def test_bytes_do_not_depend_on_time_or_folder(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    first = submission.write_submission(masks, cases, tmp_path / "a", "test").read_bytes()
    assert submission.write_submission(masks, cases, tmp_path / "b", "test").read_bytes() == first
    assert submission.write_submission(masks, cases, tmp_path / "a", "test").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a" / "submission.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_integer_masks_are_taken_and_other_values_refused(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    integers = [m.astype(np.uint8) for m in masks]
    path = submission.write_submission(integers, cases, tmp_path / "out", "test")
    assert submission.check_submission(path, cases)["lesion_voxels"].sum() == sum(m.sum() for m in masks)
    with pytest.raises(ValueError, match=r"case_2 .*other than 0 and 1"):
        submission.write_submission([masks[0], 0.5 * masks[1], masks[2]], cases, tmp_path / "out", "test")


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a/b", "ä", "x\n"])
def test_names_that_would_break_the_file_name(tmp_path, name):
    with pytest.raises(ValueError, match="letters, digits"):
        submission.write_submission(make_masks(), make_cases(tmp_path), tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_wrong_masks_are_named_by_case(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"case_2 has shape \(22, 18, 3\)"):
        submission.write_submission([masks[0], masks[1][..., :3], masks[2]], cases, out, "test")
    with pytest.raises(ValueError, match="no mask for case_3"):
        submission.write_submission(masks[:2], cases, out, "test")
    with pytest.raises(ValueError, match="more masks than the 3"):
        submission.write_submission([*masks, masks[0]], cases, out, "test")
    assert not (out / "submission.zip").exists()


def test_cases_need_their_own_mtt_id(tmp_path):
    cases = make_cases(tmp_path)
    nameless, twin = cases.copy(), cases.copy()
    nameless[1] = CaseFiles(2, "Test_02", "A", tmp_path, cases[1].files, {"CT": 5})
    twin[2] = CaseFiles(3, "Test_03", "A", tmp_path, cases[2].files, cases[0].ids)
    with pytest.raises(ValueError, match=r"case_2 has no SMIR id .*none\.nii; the"):
        submission.write_submission(make_masks(), nameless, tmp_path / "out", "test")
    with pytest.raises(ValueError, match="case_1 and case_3 have the same MTT id"):
        submission.write_submission(make_masks(), twin, tmp_path / "out", "test")


def test_what_hinders_a_submission_is_one_sentence_before_any_mask_is_made(tmp_path):
    cases = make_cases(tmp_path)
    nameless = [CaseFiles(n, f"Test_{n:02d}", "A", tmp_path, cases[0].files, {}) for n in (1, 2, 3)]
    again = CaseFiles(9, "Test_09", "A", tmp_path, {}, cases[0].ids)
    assert submission.hindrance(cases) == ""
    for some, part in (
        ([], "there are no testing scans"),
        (nameless, "case_1 has no SMIR id in the name of its MTT file .*, nor have 2 others"),
        ([*cases[1:], nameless[0]], "case_1 has no SMIR id .*; the"),
        ([cases[0], again], "case_1 and case_9 have the same MTT id"),
    ):
        said = submission.hindrance(some)
        assert re.fullmatch(rf"No submission is written, which does not affect Table 1: {part}.*\.", said), said
        with pytest.raises(ValueError, match=re.escape(said.split(": ", 1)[1].rstrip("."))):
            submission.write_submission([], some, tmp_path / "out", "test")
    assert not (tmp_path / "out").exists()


def test_a_submission_of_some_of_the_challenges_scans_is_not_complete(tmp_path):
    known = [int(row["mtt_id"]) for (split, _), row in case_table().items() if split == "TESTING"]
    whole = [CaseFiles(n, f"Test_{n:02d}", "A", tmp_path, {}, {"MTT": mtt}) for n, mtt in enumerate(known, 1)]
    assert submission.completeness(whole) == (
        "The submission is complete: it holds 62 of the challenge's 62 testing scans."
    )
    other = CaseFiles(7, "Test_07", "A", tmp_path, {}, {"MTT": 7})
    for some, count in ((whole[:10], 10), (whole[1:], 61), ([*whole[:10], other], 10)):
        said = f"The submission is not complete: it holds {count} of the challenge's 62 testing scans."
        assert submission.completeness(some) == said
    assert submission.completeness([other]).startswith("None of the ids in the submission is that of one of the chall")


def test_what_a_header_leaves_unused_may_hold_anything(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    image = nib.load(cases[1].files["CT"])
    data = np.asanyarray(image.dataobj).copy()
    image.header["pixdim"][5:] = np.nan
    nib.Nifti1Image(data, None, image.header).to_filename(cases[1].files["CT"])
    assert np.isnan(nib.load(cases[1].files["CT"]).header["pixdim"][5:]).all()
    path = submission.write_submission(masks, cases, tmp_path / "out", "test")
    assert len(submission.check_submission(path, cases)) == 3


def broken(path, change):
    """Copy a zip with its list of (name, data) changed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(n, archive.read(n)) for n in archive.namelist()]
    copy = path.with_name("broken.zip")
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in change(entries):
            archive.writestr(name, data)
    return copy


def other_image(tmp_path, case, array, dtype=np.uint16, change=lambda header: None):
    path = save_map(tmp_path / "other.nii", array, case.files["CT"], dtype)
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    change(image.header)
    nib.Nifti1Image(data, None, image.header).to_filename(tmp_path / "changed.nii")
    return (tmp_path / "changed.nii").read_bytes()


def test_check_finds_wrong_lists_of_files(tmp_path):
    cases = make_cases(tmp_path)
    path = submission.write_submission(make_masks(), cases, tmp_path / "out", "test")
    changes = {
        "no file for case_3": lambda e: e[:2],
        "SMIR.test.99.nii": lambda e: [*e, ("SMIR.test.99.nii", b"")],
        "twice": lambda e: [*e, ("SMIR.test.00346294.nii", e[0][1])],
        "mixes": lambda e: [(e[0][0].replace("test", "rest"), e[0][1]), *e[1:]],
        "'readme.txt' is not": lambda e: [*e, ("readme.txt", b"")],
        "'folder/SMIR": lambda e: [(f"folder/{n}", d) for n, d in e],
        "'SMIR.test.346294.nii.gz' is not": lambda e: [(n + ".gz", d) for n, d in e],
    }
    for message, change in changes.items():
        with pytest.raises(ValueError, match=message):
            submission.check_submission(broken(path, change), cases)


def test_check_finds_wrong_images(tmp_path):
    cases, masks = make_cases(tmp_path), make_masks()
    path = submission.write_submission(masks, cases, tmp_path / "out", "test")

    def zooms(header):
        header["pixdim"][3] = 1

    def affine(header):
        header.set_sform(np.diag([2, 1, 1, 1]), 2)

    def scaled(header):
        header["pixdim"][1:4] *= 1.001

    mask = masks[0]
    wrong = {
        "type uint8": other_image(tmp_path, cases[0], mask, np.uint8),
        "other than 0 and 1": other_image(tmp_path, cases[0], 3 * mask.astype(int)),
        r"shape \(22, 18, 4\)": other_image(tmp_path, cases[1], masks[1]),
        "pixdim": other_image(tmp_path, cases[0], mask, change=zooms),
        "srow_x": other_image(tmp_path, cases[0], mask, change=affine),
        "has pixdim": other_image(tmp_path, cases[0], mask, change=scaled),
        "cannot be read": b"nothing",
    }
    for message, data in wrong.items():
        copy = broken(path, lambda entries, data=data: [(entries[0][0], data), *entries[1:]])
        with pytest.raises(ValueError, match=f"case_1: .*{message}"):
            submission.check_submission(copy, cases)


def test_check_refuses_what_is_no_zip(tmp_path):
    cases = make_cases(tmp_path)
    with pytest.raises(FileNotFoundError, match="write_submission"):
        submission.check_submission(tmp_path / "none.zip", cases)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ValueError, match="damaged or not a zip"):
        submission.check_submission(tmp_path / "text.zip", cases)
    path = submission.write_submission(make_masks(), cases, tmp_path / "out", "test")
    whole = path.read_bytes()
    for position in range(40, len(whole) // 2, 37):
        data = bytearray(whole)
        data[position] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"submission\.zip"):
            submission.check_submission(path, cases)


@pytest.mark.parametrize(
    ("mean", "sd", "undefined"), [(11.3, 31.6, 7), (19.4, 39.5, 12), (9.7, 29.6, 6), (17.7, 38.2, 11), (16.1, 36.8, 10)]
)
def test_leaderboard_distances_decode(mean, sd, undefined):
    assert submission.decode_leaderboard_hd(mean, sd) == undefined
    lost = np.zeros(62)
    lost[:undefined] = 100
    assert (round(lost.mean(), 1), round(lost.std(), 1)) == (mean, sd)


def test_leaderboard_distances_that_do_not_decode():
    assert submission.decode_leaderboard_hd(0.0, 0.0) == 0
    assert submission.decode_leaderboard_hd(100.0, 0.0) == 62
    for mean, sd in ((11.3, 31.9), (12.0, 32.5), (150.0, 0.0), (np.nan, np.nan)):
        with pytest.raises(ValueError, match="not k of 62"):
            submission.decode_leaderboard_hd(mean, sd)


def scored(lost=7, n=62):
    rows = []
    for case in range(n):
        truth = np.zeros((12, 12, 2), bool)
        truth[2:6, 2 : 4 + case % 5] = True
        prediction = np.zeros_like(truth) if case < lost else np.roll(truth, case % 3, axis=0)
        rows.append({"case": case} | case_metrics(prediction, truth, (0.9, 0.9, 5)))
    return pd.DataFrame(rows)


def test_leaderboard_row_charges_lost_scans():
    frame = scored()
    row = submission.leaderboard_row(frame)
    assert (round(row["hd_millions_mean"], 1), round(row["hd_millions_sd"], 1)) == (11.3, 31.6)
    assert (row["n"], row["hd_undefined"]) == (62, 7)
    assert row["dsc_mean"] == pytest.approx(frame["dsc"].mean()) and row["dsc_sd"] == pytest.approx(
        frame["dsc"].std(ddof=0)
    )
    assert row["ppv_mean"] == pytest.approx(frame["ppv"].iloc[7:].mean())


def test_a_scan_without_any_lesion_is_charged_too():
    empty = np.zeros((4, 4, 2), bool)
    frame = pd.DataFrame([case_metrics(empty, empty, (1, 1, 5))])
    assert frame["hd_mm"].item() == 0
    assert submission.leaderboard_row(frame)["hd_millions_mean"] == 100
    with pytest.raises(ValueError, match="at least one"):
        submission.leaderboard_row(frame.iloc[:0])


def test_paper_table2_as_printed():
    paper = paper_table("table2")
    assert paper["rank"].tolist() == list(range(1, 11))
    assert paper["dsc_mean"].is_monotonic_decreasing
    authors = paper.set_index("user").loc["clera2"]
    assert authors["reference"] == "ours"
    assert authors.iloc[2:].tolist() == [0.49, 0.31, 0.51, 0.36, 0.57, 0.35, 11.3, 31.6]


def test_table2_puts_our_row_last_without_a_rank():
    table = submission.table2(paper_table("table2"), submission.leaderboard_row(scored()))
    assert table["hd_undefined"].tolist() == [12, 7, 12, 11, 6, 11, 12, 10, 12, 7, 7]
    assert table["source"].tolist() == ["paper"] * 10 + ["this run"]
    assert table["rank"].isna().tolist() == [False] * 10 + [True]
    assert len(submission.table2()) == 10
    # By Student's t, 61 degrees of freedom.
    assert table.loc[0, ["dsc_low", "dsc_high"]].tolist() == pytest.approx([0.51 - 0.0794, 0.51 + 0.0794], abs=1e-4)
