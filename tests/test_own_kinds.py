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
