"""One name, unit and color for each thing, and colors that every kind of eye can tell apart."""

import itertools

import numpy as np
import pytest
import seaborn as sns
from matplotlib.colors import to_rgb

from strokelib import vocabulary
from strokelib.run.checks import SettingsError
from strokelib.run.settings import Drawing
from strokelib.run.variants import CHANGES, VARIANTS, Change

# Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291-1298, severity 1, on linear RGB.
EYES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen_lab(color, eye):
    """Return CIE L*a*b* of a color as seen by an eye."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(EYES[eye]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-9))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colors, eye):
    pairs = itertools.combinations([seen_lab(color, eye) for color in colors], 2)
    return min(np.linalg.norm(a - b) for a, b in pairs)


def test_every_variant_has_a_name_and_a_color_of_its_own():
    assert set(VARIANTS) < set(vocabulary.METHODS)
    assert len(set(vocabulary.COLORS.values())) == len(vocabulary.COLORS)
    assert len(set(vocabulary.NAMES.values())) == len(vocabulary.NAMES)
    assert {variant.monitor for variant in VARIANTS.values()} == set(vocabulary.MONITORS)


def test_any_number_of_further_variants_has_names():
    further = vocabulary.in_code(["a", "b", "c", "d", "e"])
    assert [method.name for method in further.values()] == [*further] == ["a", "b", "c", "d", "e"]
    assert further["d"].color == further["a"].color != further["b"].color


def test_metrics_have_labels_for_the_file_the_table_and_the_difference():
    dsc, hd = vocabulary.METRICS["dsc"], vocabulary.METRICS["hd_mm"]
    assert (dsc.axis, dsc.column, dsc.difference) == ("DSC", "DSC (%)", "difference in DSC (points)")
    assert (hd.axis, hd.column, hd.difference) == ("HD (mm)", "HD (mm)", "difference in HD (mm)")
    assert set(vocabulary.OPTIMIZED) < set(vocabulary.COMPARED) < set(vocabulary.METRICS)


def test_the_rule_is_named_in_both_its_forms():
    rules = [name for name in vocabulary.METHODS if name.startswith("conventional")]
    assert rules == ["conventional", "conventional_tuned"] == [*vocabulary.METHODS][:2]
    assert vocabulary.NAMES["conventional_tuned"] == "The same rule, tuned on the other folds"


def test_what_the_field_reports_stands_beside_what_is_compared():
    further = ("hd95_mm", "nsd", "lesion_f1", "lesion_count_difference", "volume_error_ml")
    assert not {*further} & {*vocabulary.COMPARED}
    assert [vocabulary.METRICS[name].column for name in further] == [
        "HD95 (mm)",
        "NSD at 2 mm (%)",
        "lesion F1 (%)",
        "|Δ count| (lesions)",
        "|ΔV| (mL)",
    ]


def test_every_change_is_told_in_words():
    told = {name: vocabulary.changed(name) for name in CHANGES}
    assert len(set(told.values())) == len(told)
    assert told["patch_96"] == ("patch side, RT + SM", "96 voxels")
    assert told["patch_48"] == ("patch side, RT + SM", "48 voxels")
    assert told["rate_5"] == ("dropout at prediction, RT + SM + UF", "5 %")
    assert not any("_" in words for pair in told.values() for words in pair)


def test_the_settings_offer_the_colors_that_there_are():
    for colors in vocabulary.OUTCOMES:
        assert Drawing(colors).colors == colors
    with pytest.raises(SettingsError, match="'paper' or 'colorblind'"):
        Drawing("gray")


def test_the_papers_colors_are_green_red_and_blue():
    assert [int(np.argmax(to_rgb(color))) for color in vocabulary.OUTCOMES["paper"].values()] == [1, 0, 2]


@pytest.mark.parametrize("eye", EYES)
def test_outcomes_are_told_apart_by_every_kind_of_eye(eye):
    assert closest(vocabulary.OUTCOMES["colorblind"].values(), eye) > 40


def test_the_papers_colors_are_not():
    assert min(closest(vocabulary.OUTCOMES["paper"].values(), eye) for eye in EYES) < 40


def test_methods_have_the_colors_of_seaborns_palette_for_colorblind_readers():
    palette = {color.lower() for color in sns.color_palette("colorblind").as_hex()}
    colors = [color.lower() for color in vocabulary.COLORS.values()]
    assert set(colors) <= palette and len(set(colors)) == len(colors)


def test_a_change_without_words_of_its_own_is_told_by_what_it_sets(monkeypatch):
    monkeypatch.setitem(CHANGES, "slow", Change("rt_sm", "training.learning_rate", 0.5))
    assert vocabulary.changed("slow") == ("training.learning_rate, RT + SM", "0.5")
