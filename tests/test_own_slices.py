"""How slices become slabs: how many to each, and where the first begins."""

import numpy as np
import pytest

from strokelib.own import slices
from strokelib.own.scan import Grid


@pytest.mark.parametrize(
    ("thick", "slab"),
    [(0.5, 5), (0.625, 5), (1, 5), (1.25, 5), (2, 4), (2.5, 5), (3, 6), (3.99, 3.99), (4, 4), (12, 12)],
)
def test_how_thick_a_slab_becomes(thick, slab):
    assert slices.per_slab(thick) * thick == pytest.approx(slab)


@pytest.mark.parametrize(
    ("reach", "slabs"),
    [
        ((-0.5, 39.5), (8, 5, 0)),  # all 40 slices
        ((-9.0, 60.0), (8, 5, 0)),
        ((9.5, 29.5), (4, 5, 10)),
        ((9.5, 27.5), (4, 4, 11)),  # 18 slices: as many slabs, thinner, a slice less at either end
        ((10.2, 30.1), (4, 5, 11)),
        ((50.0, 60.0), (8, 5, 0)),  # nothing in common, which is refused elsewhere
    ],
)
def test_slabs_begin_and_end_where_the_maps_do(reach, slabs):
    assert slices.slabs(40, 5, [reach], 4) == slabs


def test_slabs_are_never_thinner_than_they_may_be():
    assert slices.slabs(40, 5, [(9.5, 16.5)], 4) == (1, 7, 10), "7 slices: not two slabs of 3 or 4, of which one lacks"
    count, step, _ = slices.slabs(40, 5, [(9.5, 12.5)], 4)
    assert (count, step) == (1, 4)


def test_slices_that_are_left_out_are_counted():
    onto = np.diag([1.0, 1.0, 0.5, 1.0])
    onto[2, 3] = -2.25  # slabs of two slices, from slice 4 on
    assert slices.left_out(Grid((256, 256, 20), np.eye(4), onto, (256, 256, 8))) == (4, 20)
    assert slices.left_out(Grid((256, 256, 20), np.eye(4), np.eye(4), (256, 256, 20))) is None
