import numpy as np
import pytest
from scipy.interpolate import BSpline

from strokelib.phantom import fields

AXES = [np.arange(-60, 61, 4.0), np.arange(-100, 61, 4.0), np.arange(-30, 61, 4.0)]


@pytest.mark.parametrize("knots", [6, 14])
def test_smooth_field_has_unit_variance_and_the_asked_smoothness(knots):
    field = fields.smooth_field(np.random.default_rng(0), (150, 150, 12), (1.0, 1.0, 5.0), knots)
    assert field.mean() == pytest.approx(0, abs=0.15)
    assert field.std() == pytest.approx(1, abs=0.1)

    def correlation(shift):
        return np.corrcoef(field[shift:].ravel(), field[:-shift].ravel())[0, 1]

    assert correlation(1) > 0.95
    assert abs(correlation(4 * knots)) < 0.2


def test_field_is_the_spline_of_scipy():
    found = fields._spline_basis(np.arange(0, 20, 0.5), 5.0, 20.0)
    knots = 5.0 * np.arange(-3, found.shape[1] + 1)
    expected = BSpline(knots, np.eye(found.shape[1]), 3)(np.arange(0, 20, 0.5))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_template_field_is_mirrored_as_far_as_asked():
    def mirrored(symmetry):
        field = fields.template_field(np.random.default_rng(1), AXES, 10, symmetry)
        return np.corrcoef(field.ravel(), field[::-1].ravel())[0, 1]

    assert mirrored(1.0) == pytest.approx(1)
    assert abs(mirrored(0.0)) < 0.25
    assert mirrored(0.9) == pytest.approx(0.9, abs=0.06)


def test_template_field_does_not_depend_on_what_is_asked_for():
    whole = fields.template_field(np.random.default_rng(2), AXES, 12, 0.7)
    part = fields.template_field(np.random.default_rng(2), [AXES[0], AXES[1], AXES[2][5:9]], 12, 0.7)
    np.testing.assert_allclose(part, whole[..., 5:9], atol=1e-5)


def test_trilinear_is_exact_for_a_plane_and_takes_the_edge_outside():
    rng, origin, step, shape = np.random.default_rng(3), (-10.0, -20.0, 0.0), 2.0, (11, 12, 9)
    points = [rng.uniform(o, o + step * (n - 1), 50) for o, n in zip(origin, shape, strict=True)]
    grid = np.meshgrid(*[o + step * np.arange(n) for o, n in zip(origin, shape, strict=True)], indexing="ij")
    plane = 2 * grid[0] - grid[1] + 0.5 * grid[2] + 7
    found = fields.trilinear(origin, step, shape, points) @ plane.ravel()
    np.testing.assert_allclose(found, 2 * points[0] - points[1] + 0.5 * points[2] + 7, atol=1e-2)
    outside = fields.trilinear(origin, step, shape, [np.full(1, 1e3), np.zeros(1), np.zeros(1)])
    assert (outside @ grid[0].ravel())[0] == pytest.approx(10, abs=0.01)
