import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from strokelib import registration
from strokelib.registration import align_flipped, midline, mirror, yaw_degrees


def make_head(
    seed,
    yaw=0.0,
    shift=(0.0, 0.0),
    slices=2,
    side=128,
    asymmetry=1.0,
    noise=3.5,
    texture=2.0,
    slopes=None,
):
    """Draw a head analytically: skull, ventricles and texture in |x|, then what is one-sided.

    Returns the CT and each voxel's signed distance to the true line of symmetry. `slopes` (2, 2)
    shears and scales the head about its center instead of turning it.
    """
    rng = np.random.default_rng(seed)
    scale = side / 256
    i, j = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    across, along = i - (side - 1) / 2 - shift[0], j - (side - 1) / 2 - shift[1]
    a = np.deg2rad(yaw)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) if slopes is None else slopes
    x = (turn[0][0] * across + turn[0][1] * along) / scale
    y = (turn[1][0] * across + turn[1][1] * along) / scale
    waves, phases = rng.normal(0, 0.1, (12, 2)), rng.uniform(0, 6.3, 12)
    ct = np.empty((side, side, slices), np.float32)
    for k in range(slices):
        size = 1 - 0.03 * k
        tissue = 34 + sum(
            texture * np.cos(u * abs(x) + v * y + p + 0.3 * k) for (u, v), p in zip(waves, phases, strict=True)
        )
        tissue -= 28 * np.exp(-(((abs(x) - 10) / 5) ** 2) - (y / 22) ** 2)
        tissue -= 6 * asymmetry * (np.hypot((x - 35) / 15, (y - 10) / 20) < 1)
        head = np.full(x.shape, -1000.0)
        for radius, value in ((98, 15), (93, 1000), (86, tissue)):
            head = np.where(np.hypot(x / (radius * 0.79), y / radius) < size, value, head)
        grain = ndimage.gaussian_filter(rng.standard_normal(x.shape), 0.7) * 2.48 * noise
        ct[:, :, k] = np.clip(ndimage.gaussian_filter(head, 0.6) + grain, -23, 3071)
    return ct, x * scale


def in_head(ct):
    return ndimage.binary_erosion(ct[:, :, 0] > -20, iterations=2)


def window(ct):
    return np.clip(ct, 0, 100).astype(np.float32)


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize(
    ("yaw", "shift", "slices", "side"),
    [
        (0.0, (0.0, 0.0), 2, 256),
        (0.7, (0.3, -12.0), 2, 256),
        (15.0, (-30.0, 10.0), 2, 256),
        (-15.0, (25.0, -25.0), 4, 256),
        (9.0, (-3.6, 2.2), 8, 128),
        (-20.0, (10.0, 0.0), 1, 128),
    ],
)
@pytest.mark.parametrize("asymmetry", [0, 1])
def test_a_known_midline_is_recovered(yaw, shift, slices, side, asymmetry):
    """A one-sided lesion in tissue this plain pulls the line by a degree at most."""
    ct, distance = make_head(1, yaw, shift, slices, side, asymmetry)
    found = align_flipped(ct)
    assert abs(yaw_degrees(found.matrix) - yaw) < (1.4 if asymmetry else 0.5)
    off = np.abs(midline(found.matrix, ct.shape) - distance)[in_head(ct)]
    assert off.max() < (2.5 if asymmetry else 0.5)
    assert found.score > 0.75
    assert found.score >= found.flip_score


CUTS = {  # of a head that reaches from 24 to 230 across and from 22 to 236 along
    "left": np.s_[60:, :], "right": np.s_[:195, :], "front": np.s_[:, :195], "back": np.s_[:, 60:],
    "corner": np.s_[50:, 45:],
}  # fmt: skip


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("side", CUTS)
def test_a_head_cut_by_its_field_of_view_is_aligned(side, padded):
    """Whether the files end there or were filled up again to their old size."""
    ct, distance = make_head(4, 7.0, (3.0, -2.0), side=256)
    cut = CUTS[side]
    if padded:
        kept = np.full_like(ct, -23)
        kept[cut] = ct[cut]
        ct = kept
    else:
        ct, distance = ct[cut], distance[cut]
    found = align_flipped(ct)
    assert abs(yaw_degrees(found.matrix) - 7) < 1
    assert np.abs(midline(found.matrix, ct.shape) - distance)[in_head(ct)].mean() < 1
    assert registration.doubt(found.quality) == ""


def test_the_mirror_image_of_a_scan_has_the_mirrored_alignment():
    ct, _ = make_head(4, 7.0, (3.0, -2.0))
    cut = ct[25:]
    line, mirrored = (midline(align_flipped(one).matrix, one.shape) for one in (cut, cut[::-1]))
    assert np.abs(line + mirrored[::-1])[in_head(cut)].max() < 0.1


def test_tissue_leads_where_the_skull_is_not_symmetric():
    """One side of the skull thicker by half: the brain's own line of symmetry counts."""
    ct, distance = make_head(4, asymmetry=0.0, side=256, texture=4.0)
    i, j = np.meshgrid(np.arange(256) - 127.5, np.arange(256) - 127.5, indexing="ij")
    thick = (np.hypot(i / 90, j / 100) < 1) & (i + j > 0) & (ct[:, :, 0] < 0)
    ct[thick] = 900
    assert thick.sum() > 1000
    found = align_flipped(ct)
    assert np.abs(midline(found.matrix, ct.shape) - distance)[in_head(ct)].mean() < 0.5


def test_the_whole_head_is_aligned_where_tissue_tells_nothing():
    rng = np.random.default_rng(0)
    ct, distance = make_head(4, 5.0, (3.0, 1.0), side=128)
    tissue = (ct > 0) & (ct < 100)
    ct[tissue] = rng.uniform(20, 60, tissue.sum())
    found = align_flipped(ct)
    assert np.abs(midline(found.matrix, ct.shape) - distance)[in_head(ct)].mean() < 0.6
    assert found.quality < registration.LEAST_SCORE < found.score
    assert f"{found.quality:.2f}" in registration.doubt(found.quality)


def test_what_is_outside_of_a_straight_cut_is_unknown_and_air_around_a_head_is_known():
    ct = torch.from_numpy(window(make_head(4, side=256)[0]))
    assert registration._field(ct).all()
    for cut in (np.s_[:60], np.s_[195:], np.s_[:, :60], np.s_[:, 195:]):
        padded, expected = ct.clone(), torch.ones(256, 256, 1)
        padded[cut], expected[cut] = 0, 0
        assert torch.equal(registration._field(padded), expected)


def test_midline_error_is_small_over_many_heads():
    rng = np.random.default_rng(5)
    errors = []
    for seed in range(12):
        ct, distance = make_head(seed, rng.uniform(-12, 12), rng.uniform(-10, 10, 2))
        found = midline(align_flipped(ct).matrix, ct.shape)
        errors.append(np.abs(found - distance)[in_head(ct)].mean())
    assert np.median(errors) < 0.15
    assert np.max(errors) < 0.4


def test_a_centered_symmetric_head_needs_no_transform():
    ct, _ = make_head(2, asymmetry=0.0, noise=0.0)
    found = align_flipped(ct)
    assert found.score == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(found.matrix, np.eye(3))  # the plain flip cannot be improved upon
    np.testing.assert_allclose(mirror(ct[None], found)[0], ct, atol=1e-2)


def test_rigid_is_rigid_and_affine_is_kept_apart():
    ct, _ = make_head(3, 6.0, (4.0, 2.0))
    linear = align_flipped(ct).matrix[:2, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2), atol=1e-12)
    assert np.linalg.det(linear) == pytest.approx(1.0)
    linear = align_flipped(ct, "affine").matrix[:2, :2]
    assert not np.allclose(linear @ linear.T, np.eye(2), atol=1e-6)


def test_affine_recovers_a_shear():
    rng = np.random.default_rng(0)
    flip, errors = np.diag([-1.0, 1.0]), []
    for seed in range(6):
        slopes = np.eye(2) + rng.uniform(-0.04, 0.04, (2, 2))
        ct, _ = make_head(seed, shift=(3.0, -5.0), slopes=slopes, asymmetry=0.3, noise=1.0, texture=10.0)
        affine = align_flipped(ct, "affine")
        assert affine.score > align_flipped(ct).score
        # A point p and its mirror image q have slopes @ p and slopes @ q of opposite x alone.
        expected = flip @ np.linalg.inv(slopes) @ flip @ slopes
        errors.append(np.abs(affine.matrix[:2, :2] - expected).max())
    assert np.median(errors) < 0.01
    assert np.max(errors) < 0.03


@pytest.mark.parametrize("kind", registration.KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_never_below_the_flip(kind, seed):
    """Noise without a head has no symmetry to find: the guard must hold there, too."""
    rng = np.random.default_rng(seed)
    ct = make_head(seed, 4.0)[0] if seed else rng.uniform(-50, 150, (64, 64, 2))
    found = align_flipped(ct, kind)
    assert found.score >= found.flip_score
    assert (registration.doubt(found.quality) == "") == bool(seed)


def test_mirroring_twice_gives_the_scan_back():
    smooth = np.random.default_rng(0).normal(size=(2, 128, 128, 3)).astype(np.float32)
    smooth = ndimage.gaussian_filter(smooth, (0, 5, 5, 0)) * 50
    ct, _ = make_head(6, 8.0, (5.0, -3.0), slices=3)
    found = align_flipped(ct)
    twice = mirror(mirror(smooth, found), found)
    middle = np.s_[:, 30:-30, 30:-30]
    # A reflection undoes itself; what is left is the glide along the line and interpolation.
    assert np.abs(twice - smooth)[middle].max() < 0.1 * np.abs(smooth).max()
    assert np.corrcoef(twice[middle].ravel(), smooth[middle].ravel())[0, 1] > 0.998


def test_the_identity_is_exactly_the_flip():
    images = np.random.default_rng(0).normal(size=(5, 40, 36, 3)).astype(np.float32)
    plain = registration.Alignment(np.eye(3), 0.5, 0.5)
    np.testing.assert_array_equal(mirror(images, plain), images[:, ::-1])


def test_whole_voxel_shifts_copy_values_and_leave_zeros_outside():
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 2)).astype(np.float32)
    matrix = np.array([[1.0, 0, 3], [0, 1, -2], [0, 0, 1]])
    moved = mirror(images, registration.Alignment(matrix, 0.5, 0.5))
    expected = np.zeros_like(images)
    expected[:, :-3, 2:] = images[:, ::-1][:, 3:, :-2]
    np.testing.assert_array_equal(moved, expected)


def simpleitk_mirror(image, matrix):
    """Resample the flipped slices with SimpleITK and the same matrix."""
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(matrix[:2, :2].ravel().tolist())
    transform.SetTranslation(matrix[:2, 2].tolist())
    slices = []
    for k in range(image.shape[2]):
        flipped = sitk.GetImageFromArray(np.ascontiguousarray(image[::-1, :, k].T, dtype=np.float64))
        moved = sitk.Resample(flipped, flipped, transform, sitk.sitkLinear, 0.0)
        slices.append(sitk.GetArrayFromImage(moved).T)
    return np.stack(slices, axis=2)


def test_mirror_equals_simpleitk():
    ct, _ = make_head(7, 11.0, (6.0, -4.0), slices=3)
    matrix = align_flipped(ct, "affine").matrix
    ours = mirror(ct[None], registration.Alignment(matrix, 1.0, 0.0))[0]
    interior = np.s_[8:-8, 8:-8]
    corners = np.array([[8, 8, 1], [8, 119, 1], [119, 8, 1], [119, 119, 1.0]]) @ matrix.T
    assert corners[:, :2].min() < 0  # so that the fill value is compared, too
    theirs = simpleitk_mirror(ct, matrix)
    i, j = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    places = matrix[:2] @ np.stack([i.ravel(), j.ravel(), np.ones(i.size)])
    # SimpleITK extends the image by half a voxel; we fade to 0 there.
    sure = ((places > 0) & (places < 127)).all(0) | ((places < -1) | (places > 128)).any(0)
    sure = sure.reshape(128, 128)[interior]
    assert np.abs(ours - theirs)[interior][sure].max() < 1e-3


def mean_slice(ct):
    return sitk.GetImageFromArray(np.ascontiguousarray(ct.mean(2).T, dtype=np.float64))


def test_the_score_is_not_below_simpleitk_registration():
    for seed, yaw, shift in ((8, 7.0, (4.0, 3.0)), (9, -3.0, (-6.0, 1.0))):
        ct, _ = make_head(seed, yaw, shift)
        windowed = window(ct)
        fixed, moving = mean_slice(windowed), mean_slice(windowed[::-1])
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsCorrelation()
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        method.SetInitialTransform(
            sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler2DTransform()), inPlace=False
        )
        euler = method.Execute(fixed, moving)
        columns = [np.array(euler.TransformPoint(p)) for p in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))]
        matrix = np.eye(3)
        matrix[:2] = np.stack([columns[1] - columns[0], columns[2] - columns[0], columns[0]], axis=1)
        tissue = (ct > 0) & (ct < 100)
        both = tissue & (simpleitk_mirror(tissue, matrix) > 0.99)
        theirs = correlation(windowed[both], simpleitk_mirror(windowed, matrix)[both])
        found = align_flipped(ct)
        both = tissue & (simpleitk_mirror(tissue, found.matrix) > 0.99)
        ours = correlation(windowed[both], simpleitk_mirror(windowed, found.matrix)[both])
        assert ours > theirs - 0.01


def test_midline_by_hand():
    side = 9
    np.testing.assert_allclose(midline(np.eye(3), (side, side, 2))[:, 4], np.arange(9) - 4)
    # Flipped, then shifted by two voxels: x -> 8 - (x + 2) = 6 - x, so the line lies at x = 3.
    shifted = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(midline(shifted, (side, side))[:, 0], np.arange(9) - 3)
    # A shift along the line moves no voxel across.
    along = np.array([[1.0, 0, 0], [0, 1, 5], [0, 0, 1]])
    np.testing.assert_allclose(midline(along, (side, side)), midline(np.eye(3), (side, side)))


def test_midline_changes_sign_under_the_reflection_itself():
    ct, _ = make_head(1, 10.0, (3.0, 3.0))
    matrix = align_flipped(ct).matrix
    distance = midline(matrix, ct.shape)
    x, y = 40, 75
    u, v = (matrix @ [x, y, 1])[:2]
    u = ct.shape[0] - 1 - u
    reflected = ndimage.map_coordinates(distance, [[u], [v]], order=1)[0]
    assert reflected == pytest.approx(-distance[x, y], abs=1e-6)
    assert distance[-1, 64] > 0 > distance[0, 64]


def test_the_result_is_the_same_each_time():
    ct, _ = make_head(1, 5.0)
    first, second = align_flipped(ct, "affine"), align_flipped(ct.astype(np.float64), "affine")
    np.testing.assert_array_equal(first.matrix, second.matrix)
    assert first.score == second.score


def test_sides_need_not_be_equal_nor_even():
    ct, distance = make_head(1, 5.0, (2.0, 1.0))
    cropped = ct[7:-4, 3:-2]
    found = midline(align_flipped(cropped).matrix, cropped.shape)
    assert np.abs(found - distance[7:-4, 3:-2])[in_head(cropped)].max() < 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_cpu():
    ct, _ = make_head(1, -9.0, (8.0, 1.0))
    cpu, cuda = align_flipped(ct, device="cpu"), align_flipped(ct, device="cuda")
    np.testing.assert_allclose(cuda.matrix, cpu.matrix, atol=1e-2)
    np.testing.assert_allclose(mirror(ct[None], cpu, "cuda"), mirror(ct[None], cpu, "cpu"), atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ct: ct[0], "ct must be"),
        (lambda ct: ct[None], "ct must be"),
        (lambda ct: ct[:20], "at least 32"),
        (lambda ct: ct[:, :, :0], "ct must be"),
        (lambda ct: np.where(ct > 50, np.nan, ct), "NaN"),
        (lambda ct: np.where(ct > 50, np.inf, ct), "infinite"),
        (lambda ct: np.full_like(ct, 40), "constant"),
        (lambda ct: ct * 1e-6 - 1000, "constant"),
    ],
)
def test_bad_images_are_refused(change, message):
    ct, _ = make_head(0)
    with pytest.raises(ValueError, match=message):
        align_flipped(change(ct))


def test_a_head_that_does_not_meet_its_mirror_image_keeps_the_flip():
    """A corner of tissue: turned over, none of it lies on itself, and there is nothing to climb."""
    ct = np.full((64, 64, 2), -1000.0, np.float32)
    ct[2:6, 2:6] = np.arange(20, 52).reshape(4, 4, 2)
    found = align_flipped(ct, "rigid")
    assert np.isfinite(found.matrix).all() and found.score == found.flip_score


def test_bad_arguments_are_refused():
    ct, _ = make_head(0)
    with pytest.raises(ValueError, match="kind must be"):
        align_flipped(ct, "elastic")
    with pytest.raises(ValueError, match="device must be"):
        align_flipped(ct, device="gpu")
    with pytest.raises(ValueError, match="images must be"):
        mirror(ct, registration.Alignment(np.eye(3), 1.0, 1.0))
