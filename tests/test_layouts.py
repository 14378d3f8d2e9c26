import json
import os
import shutil

import pytest
import twin

from strokelib import layouts
from strokelib.cases import find_cases, list_cases, load_case, splits_there
from strokelib.nifti import CaseError

PLAIN = {"CT": "ct", "CT_CBF": "cbf", "CT_CBV": "cbv", "CT_MTT": "mtt", "CT_Tmax": "tmax", "OT": "ot"}


def images(root):
    for path in sorted(root.rglob("*.nii")):
        yield path, path.name.split(".")[4]


def renamed(root, name):
    """Call every image by what `name` makes of its modality and its case's folder."""
    for path, modality in images(root):
        folder = path.parents[1]
        path.rename(folder / name(PLAIN[modality], folder.name))
        shutil.rmtree(path.parent)
    return root


def same_scans(root, whole, numbers=twin.SOME):
    for split in layouts.SPLITS:
        found, expected = find_cases(root, split), find_cases(whole, split, numbers)
        assert [(f.number, f.patient, f.slab) for f in found] == [(f.number, f.patient, f.slab) for f in expected]
        for file, other in zip(found, expected, strict=True):
            one, two = load_case(file), load_case(other)
            assert (one.images == two.images).all() and (one.spacing == two.spacing).all()
            assert split == "TESTING" or (one.lesion == two.lesion).all()
    return find_cases(root, "TESTING")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SMIR.Brain.XX.O.CT.345562.nii", "CT"),
        ("SMIR.Brain.XX.O.CT_CBF.345563.nii.gz", "CBF"),
        ("SMIR.Brain.XX.O.MR_Tmax.339209.nii", "Tmax"),
        ("smir.brain.xx.o.ct_mtt.345565.nii", "MTT"),
        ("SMIR.Brain.XX.O.CT_CBV.345564.NII.GZ", "CBV"),
        ("SMIR.Brain.XX.O.CT_4DPWI.345561.nii", "4DPWI"),
        ("SMIR.Brain.XX.O.OT.345566.nii", "OT"),
        ("SMIR.Brain.XX.O.CT.345562 copy.nii", "CT"),  # so that two are seen, and refused
        ("ct.nii", "CT"),
        ("CBF.nii.gz", "CBF"),
        ("case_1_tmax.nii.gz", "Tmax"),
        ("case-01-lesion.nii", "OT"),
        ("mask.nii.gz", "OT"),
        ("case_12_lesion_mask.nii.gz", "OT"),
        ("brain_mask.nii.gz", None),
        ("case_1_ct_mask.nii.gz", None),
        ("SMIR.Brain.XX.O.MR_DWI.9999.nii", None),
        ("SMIR.Brain.XX.O.CT_CBF345563.nii", None),
        ("tmax_registered.nii", None),
        ("direct.nii", None),
        ("345562.nii", None),
    ],
)
def test_the_last_word_of_a_name_tells_the_image(name, kind):
    assert layouts.modality_of(name) == kind


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("TRAINING", "TRAINING"), ("training", "TRAINING"), ("Train", "TRAINING"), ("ISLES2018_Training", "TRAINING"),
        ("isles 2018 testing set", "TESTING"), ("test", "TESTING"), ("TESTING (1)", None), ("retest", None),
        ("training_12", None),
    ],
)  # fmt: skip
def test_a_folder_is_called_after_a_split(name, split):
    assert layouts.split_of(name) == split


@pytest.mark.parametrize("outer", ["ISLES2018", "ISLES2018/ISLES2018", "my scans (2018)", "Schädel – 脳梗塞"])
def test_outer_folders_are_gone_through(copy, whole, tmp_path, outer):
    (tmp_path / "there" / outer).parent.mkdir(parents=True)
    copy.rename(tmp_path / "there" / outer)
    same_scans(tmp_path / "there", whole)


def test_a_third_outer_folder_is_too_far_down(copy, tmp_path):
    (tmp_path / "there/a/b").mkdir(parents=True)
    copy.rename(tmp_path / "there/a/b/c")
    assert splits_there(tmp_path / "there") == ()
    assert splits_there(tmp_path / "there/a") == layouts.SPLITS


def test_each_zip_may_have_made_a_folder_of_its_own(copy, whole, tmp_path):
    """As the Finder does, and with what else it leaves."""
    for split in layouts.SPLITS:
        (tmp_path / "both" / f"ISLES2018_{split.title()}").mkdir(parents=True)
        (copy / split).rename(tmp_path / "both" / f"ISLES2018_{split.title()}" / split)
    shutil.copytree(tmp_path / "both", tmp_path / "both" / "__MACOSX")
    same_scans(tmp_path / "both", whole)


def test_a_split_within_one_of_its_name_is_found(copy, whole):
    (copy / "TRAINING").rename(copy / "inner")
    (copy / "TRAINING").mkdir()
    (copy / "inner").rename(copy / "TRAINING" / "TRAINING")
    same_scans(copy, whole)


def test_two_folders_of_a_split_are_refused_but_not_a_link_to_the_same(copy, whole):
    (copy / "train").symlink_to(copy / "TRAINING")
    same_scans(copy, whole)
    (copy / "train").unlink()
    shutil.copytree(copy / "TRAINING", copy / "train")
    with pytest.raises(CaseError, match=r"several folders of TRAINING scans: .*TRAINING, .*train; name the folder"):
        find_cases(copy, "TRAINING")
    assert len(find_cases(copy, "TESTING")) == 3


@pytest.mark.parametrize("split", layouts.SPLITS)
def test_cases_may_lie_in_the_folder_itself(copy, tmp_path, split):
    """Called after their split it is that one, else the outlines tell."""
    other = layouts.SPLITS[split == "TRAINING"]
    for name in (split, "scans"):
        folder = tmp_path / name
        (copy / split if name == split else tmp_path / split).rename(folder)
        assert splits_there(folder) == (split,)
        assert len(find_cases(folder, split)) == 3
        with pytest.raises(FileNotFoundError):
            find_cases(folder, other)
    for path in folder.rglob("*.OT.*.nii"):
        path.unlink()
    assert splits_there(folder) == ("TESTING",)
    assert splits_there(folder.rename(tmp_path / split)) == (split,)


@pytest.mark.parametrize("spelling", ["Case_{}", "case {}", "CASE-00{}", "training_{}", "case{}"])
def test_folders_of_cases_in_any_spelling(copy, whole, spelling):
    for folder in [*copy.glob("*/case_*")]:
        folder.rename(folder.with_name(spelling.format(folder.name[5:])))
    same_scans(copy, whole)


@pytest.mark.parametrize(
    "name",
    ["{0}.nii", "{1}_{0}.nii", "{1}-{0}.NII", "{1}.{0}.nii"],
)
def test_names_without_ids(copy, whole, name):
    found = same_scans(renamed(copy, lambda word, case: name.format(word, case)), whole)
    assert [file.ids for file in found] == [{}] * 3


@pytest.mark.parametrize("word", ["lesion", "mask", "OT"])
def test_the_outline_has_three_names(copy, whole, word):
    same_scans(renamed(copy, lambda name, case: f"{name.replace('ot', word)}.nii"), whole)


def test_all_scans_of_a_split_in_one_folder(copy, whole):
    renamed(copy, lambda word, case: f"{case}_{word}.nii")
    for path in [*copy.glob("*/*/*")]:
        path.rename(path.parents[1] / path.name)
    for folder in [*copy.glob("*/case_?")]:
        folder.rmdir()
    same_scans(copy, whole)
    (copy / "TRAINING" / "case_2_cbv.nii").unlink()
    found, problems = list_cases(copy, "TRAINING")
    assert [file.number for file in found] == [1, 3] and "case_2 has no CBV" in problems[2]


def test_small_letters_and_capital_suffixes(copy, whole):
    for path, _ in [*images(copy)]:
        path.rename(path.with_name(path.name.lower().replace(".nii", ".NII")))
    same_scans(copy, whole)


def test_files_are_listed_once_as_deep_as_told(tmp_path):
    for name in ("a.nii", "one/b.nii", "one/two/c.nii", ".hidden/d.nii", "__MACOSX/e.nii", "one/._b.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "one" / "up").symlink_to(tmp_path)
    (tmp_path / "one" / "beside").symlink_to(tmp_path / "one" / "two")
    listed = [[path.relative_to(tmp_path).as_posix() for path in layouts.files_in(tmp_path, depth)]
              for depth in (0, 1, 2, None)]
    assert listed == [["a.nii"], ["a.nii", "one/b.nii"], *2 * [["a.nii", "one/b.nii", "one/beside/c.nii"]]]


def test_links_are_followed_and_count_once(copy, whole, tmp_path):
    (tmp_path / "store").mkdir()
    for path, _ in [*images(copy)]:
        path.rename(tmp_path / "store" / path.name)
        path.symlink_to(tmp_path / "store" / path.name)
    for folder in [*copy.glob("*/*/SMIR*CBV*")]:
        folder.rename(tmp_path / "store" / folder.name)
        folder.symlink_to(tmp_path / "store" / folder.name)
    (copy / "TRAINING" / "case_1" / "again").symlink_to(copy / "TRAINING" / "case_1")  # leads in a circle
    same_scans(copy, whole)


def nnunet(copy, target, names=("CT", "4DPWI", "CBF", "CBV", "MTT", "Tmax"), key="channel_names"):
    """Rewrite a copy as nnU-Net's data set; its series are empty files, which nobody is to open."""
    order = ["CT", "CT_4DPWI", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax"]
    for path, modality in [*images(copy)]:
        end = {"TRAINING": "Tr", "TESTING": "Ts"}[path.parents[2].name]
        kind = f"labels{end}" if modality == "OT" else f"images{end}"
        number = int(path.parents[1].name[5:])
        name = f"ISLES2018_{number:03d}" + (f"_{order.index(modality):04d}" if modality != "OT" else "")
        (target / kind).mkdir(parents=True, exist_ok=True)
        path.rename(target / kind / f"{name}.nii")
        if modality == "CT":
            (target / kind / f"{name[:-4]}0001.nii").write_bytes(b"")
    facts = {key: {str(place): name for place, name in enumerate(names)}}
    (target / "dataset.json").write_text(json.dumps(facts))
    return target


@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_nnunets_layout(copy, whole, tmp_path, key):
    root = nnunet(copy, tmp_path / "nnUNet_raw" / "Dataset018", key=key)
    found = same_scans(root, whole)
    assert found[0].files["CBF"].name == "ISLES2018_001_0002.nii" and "4DPWI" not in found[0].files
    same_scans(root.parent, whole)
    (root / "imagesTr" / "ISLES2018_002_0003.nii").unlink()
    (root / "labelsTr" / "ISLES2018_003.nii").unlink()
    found, problems = list_cases(root, "TRAINING")
    assert [file.number for file in found] == [1]
    assert "case_2 has no CBV" in problems[2] and "ISLES2018_002_0003.nii" in problems[2]
    assert "case_3 has no OT" in problems[3] and "labelsTr/ISLES2018_003.nii" in problems[3]
    shutil.rmtree(root / "imagesTs")
    assert splits_there(root) == ("TRAINING",)


def test_nnunets_channels_go_by_dataset_json(copy, whole, tmp_path):
    root = nnunet(copy, tmp_path / "set", names=("CT", "x", "Tmax", "CT_CBV", "mtt", "CBF"))
    (file, *_), (other, *_) = find_cases(root, "TRAINING"), find_cases(whole, "TRAINING")
    exchanged = {"CT": "CT", "Tmax": "CBF", "CBV": "CBV", "MTT": "MTT", "CBF": "Tmax"}
    for name, there in exchanged.items():
        assert file.files[name].read_bytes() == other.files[there].read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not say which channel is what"),
        ("{", "does not say which channel is what"),
        ("[]", "does not say which channel is what"),
        ('{"channel_names": ["CT"]}', "does not say which channel is what"),
        ('{"channel_names": {"zero": "CT"}}', "does not say which channel is what"),
        ('{"channel_names": {"0": "CT", "1": "CBF", "2": "CBV", "3": "MTT"}}', "Tmax cannot be done without"),
        ('{"modality": {"0": "noNorm"}}', "names the channels noNorm, expected CT, CBF"),
    ],
)
def test_nnunets_layout_without_its_description_is_one_error(copy, tmp_path, content, message):
    root = nnunet(copy, tmp_path / "set")
    (root / "dataset.json").unlink()
    if content:
        (root / "dataset.json").write_text(content)
    with pytest.raises(CaseError, match=rf"dataset\.json.*{message}"):
        find_cases(root, "TRAINING")


def test_two_scans_of_one_number_are_named(copy, tmp_path):
    root = nnunet(copy, tmp_path / "set")
    for path in [*root.glob("*Tr/ISLES2018_001*")]:
        shutil.copy(path, path.with_name(path.name.replace("ISLES2018", "again")))
    found, problems = list_cases(root, "TRAINING")
    assert [file.number for file in found] == [2, 3]
    assert "case_1 needs one scan of that number" in problems[1] and "'ISLES2018_001', 'again_001'" in problems[1]


def test_a_folder_that_may_not_be_read_is_passed_by(copy, whole, monkeypatch):
    usual = os.scandir

    def refuse(path="."):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    (copy / "locked").mkdir()
    monkeypatch.setattr("os.scandir", refuse)
    monkeypatch.setattr("os.listdir", lambda path: [entry.name for entry in refuse(path)])
    same_scans(copy, whole)
