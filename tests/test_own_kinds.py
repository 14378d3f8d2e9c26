"""Which file is which image: by its name alone, as given, and what is not read."""

import pytest
from own_scans import phantom, place, save, write

from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import kinds

TWENTY_FOUR = "sub-stroke0007_ses-01_space-ncct_"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CT.nii", "CT"), ("ncct_brain.nii.gz", "CT"), ("SMIR.Brain.XX.O.CT.345562.nii", "CT"),
        ("SMIR.Brain.XX.O.CT_Tmax.345567.nii", "Tmax"), ("SMIR.Brain.XX.O.CT_4DPWI.345561.nii", "series"),
        (f"{TWENTY_FOUR}cbf.nii.gz", "CBF"), (f"{TWENTY_FOUR}cta.nii.gz", None), (f"{TWENTY_FOUR}ctp.nii.gz", "series"),
        (f"{TWENTY_FOUR}lesion-msk.nii.gz", None), ("CTP_MTT_map.nii", "MTT"), ("ct_perfusion.nii", "series"),
        ("sub-01_ses-01_ncct.nii.gz", "CT"), ("SMIR.Brain.XX.O.CT_CBF.345563.nii", "CBF"),
        ("SMIR.Brain.XX.O.OT.345563.nii", None), ("sub-01_space-cta_ncct.nii", "CT"), ("ctp_contrast.nii", "series"),
        ("rCBF.nii", "CBF"), ("RAPID_relCBV.nii", "CBV"), ("T_max.nii.gz", "Tmax"), ("case-7_t-max.nii", "Tmax"),
        ("TMAX_s.nii", "Tmax"), ("Time to maximum.nii", "Tmax"), ("mean_transit_time.nii", "MTT"),
        ("blood-flow.nii", "CBF"), ("BloodVolume.nii", None), ("transit.nii", None), ("T1_max.nii", None),
        ("brain.nii", None), ("TTP.nii", None), ("case_1_mask.nii", None), ("cbfmap.nii", None),
        ("cbf_in_ct.nii", "CBF"), ("MTT_CT.nii.gz", "MTT"), ("CBF_CTP.nii.gz", "CBF"), ("CBV-map-CT.nii", "CBV"),
        ("Kopf_nativ.nii.gz", "CT"), ("cbf_mask_ct.nii", "CBF"),
    ],
)  # fmt: skip
def test_what_a_file_is_by_its_name(name, kind):
    assert kinds.kind_of(name) == kind


@pytest.mark.parametrize("other", ["angio", "angiography", "CTA", "contrast", "with_contrast", "ce", "postcontrast",
                                   "post-contrast", "venous", "bone", "MIP"])  # fmt: skip
def test_a_ct_that_another_word_makes_something_else_is_none(other):
    """A CTA was read as the CT without contrast."""
    assert kinds.kind_of(f"CT_{other}.nii.gz") is None and kinds.kind_of(f"{other} CT.nii") is None


@pytest.mark.parametrize("plain", ["noncontrast", "non_contrast", "Non-Contrast", "no contrast", "without_contrast",
                                   "w-o_contrast", "precontrast", "unenhanced", "native"])  # fmt: skip
def test_a_ct_without_contrast_is_the_ct(plain):
    assert kinds.kind_of(f"CT_{plain}.nii.gz") == kinds.kind_of(f"{plain}_ct.nii") == "CT"
    assert kinds.kind_of(f"head_{plain}.nii") == (None if plain == "native" else "CT"), "native is a space as well"
    assert kinds.kind_of(f"CBF_{plain}_mask.nii") is None


def test_maps_win_over_a_series_and_this_is_said(tmp_path):
    write(tmp_path)
    save(tmp_path / "ctp.nii", phantom().series[..., :3], place())
    files, said = kinds.find_files(tmp_path)
    assert sorted(files) == sorted(ISLES) and "raw series was not used" in said[0]


def test_names_are_given_in_any_case_and_once():
    assert kinds.by_kind({"TMAX": "a", "ct": "b"}) == {"Tmax": "a", "CT": "b"} and kinds.by_kind(None) == {}
    with pytest.raises(CaseError, match=r"names holds an image twice \(CT, ct\)"):
        kinds.by_kind({"CT": "a", "ct": "b"})


def test_images_of_several_patients_in_one_folder_ask_for_a_folder_each(tmp_path):
    for who in ("sub-01", "sub-02"):
        for name in ISLES:
            (tmp_path / f"{who}_{name.lower()}.nii").touch()
    words = r"called CT: sub-01_ct\.nii, sub-02_ct\.nii; .* of sub-01, sub-02, expected one .*a folder of its own"
    with pytest.raises(CaseError, match=words):
        kinds.find_files(tmp_path)
    (tmp_path / "sub-02_ct.nii").rename(tmp_path / "sub-01_native_ct.nii")
    with pytest.raises(CaseError, match=r"2 images called CT: .*; keep one, or name it"):
        kinds.find_files(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"{who}_{name.lower()}.nii" for who, name in zip((*3 * ["sub-01"], *2 * ["sub-02"]), ISLES, strict=True)],
         r"sub-01_ct.nii \(CT\) is called after sub-01, sub-02_mtt.nii \(MTT\) after sub-02, expected one patient"),
        (["case_1/ct.nii", *(f"case_2/{name.lower()}.nii" for name in ISLES[1:])], "ct.nii .* after case_1, cbf.nii"),
    ],
)  # fmt: skip
def test_files_of_two_patients_are_no_scan(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(CaseError, match=words):
        kinds.find_files(tmp_path)
    given = {kind: str(tmp_path / name) for kind, name in zip(ISLES, names, strict=True)}
    assert len(kinds.find_files(tmp_path, given)[0]) == len(ISLES), "whoever names the files knows"


def test_files_of_one_patient_in_two_folders_are_a_scan(tmp_path):
    for name in ("anat/sub-7_ct.nii", *(f"perf/sub-7_ses-2_{name.lower()}.nii" for name in ISLES[1:])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(kinds.find_files(tmp_path)[0]) == len(ISLES)
