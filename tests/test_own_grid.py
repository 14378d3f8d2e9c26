import csv

import numpy as np
import pytest
from own_scans import coarser, finer, part, place, tilted, turned
from scipy import ndimage

from strokelib.nifti import CaseError
from strokelib.own import grid, slices
from strokelib.own.volumes import Volume
from strokelib.run.runtime import ROOT

RNG = np.random.default_rng(3)


def head(shape=(256, 256, 4), sides=(0.9, 0.9, 5.0), center=(0.0, 0.0)):
    """Draw an ellipse of 40 HU in the air."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * side for n, side in zip(shape, sides, strict=True))
    inside = ((x[:, None] - center[0]) / 65) ** 2 + ((y - center[1]) / 85) ** 2 < 1
    return np.where(inside[..., None] & (z == z), 40, -1000).astype(np.int16)


def volume(image, affine=None, sides=(0.9, 0.9, 5.0)):
    sides = sides if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    return Volume("somewhere/cbf.nii", image, np.array(sides), affine)


def test_the_range_that_the_networks_saw_is_that_of_the_table_of_facts():
    with open(ROOT / "data" / "isles18_cases.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["spacing_x_mm"]]
    across = [float(row["spacing_x_mm"]) for row in rows]
    thick = [float(row["spacing_z_mm"]) for row in rows]
    assert (min(across), max(across)) == pytest.approx(grid.SEEN_MM, abs=1e-3)
    assert grid.SEEN_MM[0] < grid.USUAL_MM < grid.SEEN_MM[1]
    assert (min(thick), max(thick)) == pytest.approx((slices.THICK_MM, slices.THICKEST_MM), rel=1e-3)


@pytest.mark.parametrize("affine", [None, place(), tilted()])
def test_a_scan_like_those_of_training_passes_through_bit_for_bit(affine):
    images = {name: RNG.normal(50, 20, (256, 256, 4)).astype(np.float32) for name in ("CT", "CBF", "Tmax")}
    images["CBF"][:40] = images["Tmax"][:40] = 0
    found = grid.to_networks("CT", {name: volume(image, affine) for name, image in images.items()})
    assert all(np.array_equal(found.images[name], image) for name, image in images.items())
    assert np.array_equal(np.rint(found.grid.onto), np.eye(4)) and np.allclose(found.spacing, (0.9, 0.9, 5))
    assert [("do not say where the axes point" in said) for said in found.remarks] == ([True] if affine is None else [])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "RPI", "PIR", "ASL", "SRA"])
def test_other_axes_are_exchanged_and_flipped_and_nothing_changes(axes):
    ct, cbf = head() + RNG.integers(0, 9, (256, 256, 4)), RNG.integers(0, 900, (256, 256, 4)).astype(np.uint16)
    turned_ct, affine = turned(ct, place(), axes)
    found = grid.to_networks("CT", {"CT": volume(turned_ct, affine), "CBF": volume(cbf, place())})
    assert np.array_equal(found.images["CT"], ct) and np.array_equal(found.images["CBF"], cbf)
    assert any(f"axes to {axes}" in said for said in found.remarks)
    mask = ct > 44
    assert np.array_equal(found.grid.back(mask, order=0), turned(mask, place(), axes)[0])
    assert np.array_equal(found.grid.back(found.images["CBF"]), turned(cbf, place(), axes)[0])


def test_slices_make_slabs_by_their_mean_and_all_of_them_count():
    """Ten slices of 2 mm go into five slabs of 4 mm; seven of 1 mm into two, each of which lacks one or two."""
    ramp = np.broadcast_to(np.arange(10.0), (256, 256, 10))
    plan, spacing = grid.plan(volume(ramp, place((0.9, 0.9, 2.0))))
    assert spacing[2] == 4 and plan.inner[2] == 5
    found = grid.resample(volume(ramp, place((0.9, 0.9, 2.0))), plan, 0.0)
    assert found[0, 0].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    plan, spacing = grid.plan(volume(ramp[..., :7], place((0.9, 0.9, 1.0))))
    found = grid.resample(volume(ramp[..., :7], place((0.9, 0.9, 1.0))), plan, 0.0)
    assert spacing[2] == 5 and np.allclose(found[0, 0], [np.mean([0, 1, 2, 3]), np.mean([4, 5, 6])])


@pytest.mark.parametrize(
    ("sides", "spacing"),
    [
        ((0.9, 0.9), 0.9), ((0.45, 0.45), 0.9), ((0.43, 0.43), 0.86), ((0.3, 0.3), 0.9), ((0.6, 0.6), 0.89),
        ((1.5, 1.5), 0.89), ((0.7, 0.5), 1.0), ((2.0, 0.8), 0.8),
    ],
)  # fmt: skip
def test_which_spacing_a_scan_gets_in_plane(sides, spacing):
    _, found = grid.plan(volume(head((300, 300, 1), (*sides, 5.0)), place((*sides, 5.0))))
    assert np.allclose(found[:2], spacing)


def test_half_voxels_are_averaged_without_blur():
    image = RNG.normal(40, 9, (256, 256, 4)).astype(np.float32)
    fine, affine = finer(image, place(), (2, 2, 5))
    found = grid.to_networks("CT", {"CT": volume(fine, affine), "CBF": volume(fine, affine)})
    assert np.allclose(found.images["CT"], image, atol=1e-4) and np.allclose(found.images["CBF"], image, atol=1e-4)
    assert any("20 slices of 1 mm: averaged into 4 slabs of 5 mm" in said for said in found.remarks)


def test_a_small_field_is_padded_around_the_head_and_a_large_one_cut():
    small, affine = part(head(center=(30, 10)), place(), (70, 40, 0), (250, 240, 4))
    found = grid.to_networks("CT", {"CT": volume(small, affine), "CBF": volume(small > 0, affine)})
    assert found.images["CT"].shape == (256, 256, 4) and (found.images["CT"] == 40).sum() == (small == 40).sum()
    large = head((400, 380, 2), center=(-60, 40))
    found = grid.to_networks("CT", {"CT": volume(large, place()), "CBF": volume(large > 0, place())})
    there = np.argwhere(found.images["CT"][..., 0] == 40)
    assert len(there) == (large[..., 0] == 40).sum()
    assert np.allclose(there.mean(0), 127.5, atol=1)


def test_resampling_agrees_with_scipy_where_nothing_is_averaged():
    """Linear interpolation onto finer voxels, and of an image that is turned against the grid."""
    smooth = ndimage.gaussian_filter(RNG.normal(size=(90, 100, 6)), (4, 4, 0.5)).astype(np.float32)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    for affine in (place((1.9, 1.9, 5.0)), turn @ place((1.9, 1.9, 5.0), (80, -80, 20))):
        plan, _ = grid.plan(volume(head((200, 200, 5)), place((0.9, 0.9, 5.0), (85, -90, 20))))
        onto = np.linalg.inv(affine) @ plan.affine @ np.linalg.inv(plan.onto)
        expected = ndimage.affine_transform(
            smooth, onto[:3, :3], onto[:3, 3], plan.inner, order=1, mode="constant", cval=np.nan
        )
        found = grid.resample(volume(smooth, affine), plan, 0.0)
        inside = np.isfinite(expected)
        assert inside.mean() > 0.2 and np.allclose(found[inside], expected[inside], atol=2e-4)


def test_an_average_of_a_map_is_one_over_its_brain():
    """Half of a block is background: its Tmax stays 8 s and does not become 4; a true 0 in the brain counts."""
    cbf, tmax = np.zeros((256, 256, 2)), np.zeros((256, 256, 2))
    cbf[100:103, 100:102], tmax[100:102, 100:102] = 30, 8
    fine = {name: finer(image, place((1.8, 1.8, 5.0)), (1, 1, 1)) for name, image in (("CBF", cbf), ("Tmax", tmax))}
    ct = head((256, 256, 2), (0.45, 0.45, 5.0))
    volumes = {name: volume(image, place((0.45, 0.45, 5.0))) for name, (image, _) in fine.items()}
    found = grid.to_networks("CT", {"CT": volume(ct, place((0.45, 0.45, 5.0)))} | volumes)
    assert sorted(np.unique(found.images["Tmax"])) == [0, 8] and sorted(np.unique(found.images["CBF"])) == [0, 30]
    assert (found.images["CBF"] > 0).sum() == 4 and (found.images["Tmax"] > 0).sum() == 2


def test_slices_that_a_map_does_not_reach_are_left_out():
    ct, affine = head((256, 256, 10)), place()
    slab, where = part(head((256, 256, 10)), affine, (0, 0, 3), (256, 256, 7))
    found = grid.to_networks("CT", {"CT": volume(ct, affine), "CBF": volume((slab > 0) * 1.0, where)})
    assert found.grid.inner == (256, 256, 4) and found.images["CT"].shape[2] == 4
    assert any("6 of 10 slices are left out" in said for said in found.remarks)
    back = found.grid.back(found.images["CBF"] > 0, order=0)
    assert [k for k in range(10) if back[..., k].any()] == [3, 4, 5, 6]


@pytest.mark.parametrize("begin", [7, 8, 9, 10, 11])
def test_slabs_of_thin_slices_begin_where_thick_maps_begin(begin):
    """A CT of 1 mm from vertex to base, and two map slices of 6 mm in the midst: no slab of theirs is half empty."""
    ct = head((256, 256, 40), (0.9, 0.9, 1.0))
    where = place((0.9, 0.9, 6.0), (115.0, -110.0, 20.0 + begin + 2.5))
    tmax = (head((256, 256, 2)) > 0) * np.array([3.0, 8.0])
    found = grid.to_networks("CT", {"CT": volume(ct, place((0.9, 0.9, 1.0))), "Tmax": volume(tmax, where)})
    assert found.grid.inner[2] == 2 and found.spacing[2] == 6, "as thick as the maps' slices"
    assert np.array_equal(found.images["Tmax"], tmax), "which pass as they are"
    assert any("28 of 40 slices are left out" in said for said in found.remarks)
    back = found.grid.back(found.images["Tmax"] > 6, order=0)
    assert [*np.flatnonzero(back.any((0, 1)))] == [*range(begin + 6, begin + 12)]
    assert back.sum() * 1.0 == (tmax > 6).sum() * 6, "one volume on either grid"


@pytest.mark.parametrize(("thin", "thick", "slab"), [(1.0, 8.0, 8), (0.625, 5.0, 5), (2.5, 10.0, 10), (1.0, 3.0, 6)])
def test_slabs_are_as_thick_as_the_slices_of_maps_or_fill_what_these_reach(thin, thick, slab):
    ct = volume(head((256, 256, 96), (0.9, 0.9, thin)), place((0.9, 0.9, thin)))
    cbf = volume(head((256, 256, 4)) * 1.0, place((0.9, 0.9, thick), (115.0, -110.0, 30.0)))
    _, spacing = grid.plan(ct, {"CBF": cbf})
    assert spacing[2] == pytest.approx(slab)


@pytest.mark.parametrize("above", [0.3, 1.1, 2.3, 3.9])
def test_slabs_fill_what_thick_maps_and_thin_slices_have_in_common(above):
    """Four map slices of 5 mm on a CT of 40 x 0.5 mm, whose field they leave by some millimeters at one end."""
    ct = volume(head((256, 256, 40), (0.9, 0.9, 0.5)), place((0.9, 0.9, 0.5), (115.0, -110.0, 20.25)))
    tmax = volume((head() > 0) * 8.0, place((0.9, 0.9, 5.0), (115.0, -110.0, 22.5 + above)))
    found = grid.to_networks("CT", {"CT": ct, "Tmax": tmax})
    assert found.spacing[2] >= 4
    assert found.grid.inner[2] * found.spacing[2] == pytest.approx(20 - above, abs=1.01)
    late = (found.images["Tmax"] > 6).sum() * np.prod(found.spacing)
    assert late == pytest.approx((tmax.values > 6).sum() / 4 * 0.9 * 0.9 * (20 - above), rel=0.06)


def test_what_maps_show_beside_a_narrow_ct_is_told_and_left_out():
    """A CT that was cut 10 mm within one side of what the maps show."""
    wide = (head() > 0) * 1.0
    begin = int(np.flatnonzero(wide.any((1, 2)))[0]) + 11
    ct, where = part(head(), place(), (begin, 0, 0), (256, 256, 4))
    found = grid.to_networks("CT", {"CT": volume(ct, where), "CBF": volume(wide, place())})
    lost = wide[:begin].sum() * 0.9 * 0.9 * 5 / 1000
    assert any(said.startswith(f"{lost:.1f} mL of the CBF lie beside the CT: they are left") for said in found.remarks)
    assert found.images["CBF"].sum() == wide[begin:].sum()


def test_what_maps_show_above_the_ct_is_told():
    """Six slices of maps on a CT of four: two are left out of every volume."""
    tall = (head((256, 256, 6)) > 0) * 1.0
    found = grid.to_networks("CT", {"CT": volume(head(), place()), "CBF": volume(tall, place())})
    ml = tall[..., :2].sum() * 0.9 * 0.9 * 5 / 1000
    assert f"{ml:.1f} mL of the CBF lie above or below the 4 slices that the CT and all maps have in common" in "".join(
        found.remarks
    )
    with pytest.raises(CaseError, match=r"has 2 slices, between which lie 33 % of what .* export the CT of all that"):
        grid.to_networks("CT", {"CT": volume(head()[..., :2], place()), "CBF": volume(tall, place())})


def test_a_series_is_brought_frame_by_frame():
    frames = RNG.normal(50, 9, (128, 128, 4, 3)).astype(np.float32)
    affine = coarser(np.zeros((256, 256, 4)), place(), (2, 2, 1))[1]
    found = grid.to_networks("CT", {"CT": volume(head(), place()), "series": volume(frames, affine)})
    assert found.images["series"].shape == (256, 256, 4, 3)
    for k in range(3):
        alone = grid.to_networks("CT", {"CT": volume(head(), place()), "series": volume(frames[..., k], affine)})
        assert np.array_equal(found.images["series"][..., k], alone.images["series"])


def test_an_image_elsewhere_is_refused():
    away = place(origin=(115.0, -110.0, 220.0))
    with pytest.raises(CaseError, match=r"cbf.nii lies elsewhere than .*: 0 % of what it shows is in the field"):
        grid.to_networks("CT", {"CT": volume(head(), place()), "CBF": volume((head() > 0) * 1, away)})


def test_a_header_that_does_not_say_needs_the_same_size():
    ct, cbf = head(), (head((128, 128, 4), (1.8, 1.8, 5.0)) > 0) * 1.0
    with pytest.raises(
        CaseError, match=r"128 x 128 x 4 voxels of 1.8 x 1.8 x 5 mm, the CT 256 x 256 x 4 .* of CBF doe"
    ):
        grid.to_networks("CT", {"CT": volume(ct, place()), "CBF": volume(cbf, sides=(1.8, 1.8, 5.0))})


@pytest.mark.parametrize(("affine", "stated"), [(None, False), (place(), True), (tilted(), True)])
def test_the_grid_remembers_whether_left_and_right_are_known(affine, stated):
    plan, _ = grid.plan(volume(np.zeros((256, 256, 2), np.float32), affine))
    assert plan.stated is stated


def test_a_header_that_does_not_say_takes_the_place_of_one_that_does():
    ct, affine = turned(head(center=(30, 10)), place(), "RPS")
    found = grid.to_networks("CT", {"CT": volume(ct), "CBF": volume((ct > 0) * 1.0, affine)})
    assert np.array_equal(found.images["CT"], head(center=(30, 10)))
    assert np.array_equal(found.images["CBF"] > 0, found.images["CT"] > 0)
    assert any("the header of CT does not say where it lies: taken to lie as the CBF" in s for s in found.remarks)


def test_two_headers_that_disagree_about_a_third_that_is_silent_are_refused():
    cbf = (head() > 0) * 1.0
    other = turned(cbf, place(), "RAS")[1]
    with pytest.raises(CaseError, match=r"header of .*cbf.nii does not say .* disagree: LAS \(CBF\), RAS \(Tmax\)"):
        grid.to_networks("CT", {"CT": volume(head()), "CBF": volume(cbf, place()), "Tmax": volume(cbf, other)})
