import numpy as np
import pytest
import torch

from strokelib import warp


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("axis", [0, 1])
def test_halving_keeps_a_constant_to_the_ends_and_a_ramp_in_place(side, axis):
    constant = torch.full((side, side, 2), 7.0)
    assert torch.equal(warp.halve(constant), torch.full(((side + 1) // 2, (side + 1) // 2, 2), 7.0))
    ramp = torch.arange(side).float().reshape((-1, 1, 1) if axis == 0 else (1, -1, 1)).expand(side, side, 1)
    half = warp.halve(ramp).movedim(axis, 0)[1:-1, 1, 0]
    np.testing.assert_allclose(half, 2 * np.arange(1, len(half) + 1) + 0.5)


def test_a_transform_of_shrunken_images_and_of_full_ones_are_told_from_one_another():
    turn = warp.turn(0.2, np.array([10.0, 12.0]))
    np.testing.assert_allclose(warp.to_full(warp.to_shrunken(turn, 4), 4), turn, atol=1e-12)
    shift = np.array([[1.0, 0, 3], [0, 1, -2], [0, 0, 1]])
    np.testing.assert_allclose(warp.to_full(shift, 4)[:2, 2], [12, -8])


def test_the_border_is_zero_and_takes_all_that_falls_outside():
    image = torch.arange(1.0, 13).reshape(3, 4, 1)
    far = np.array([[1.0, 0, 50], [0, 1, 0], [0, 0, 1]])
    assert torch.equal(warp.warp(image, far), torch.zeros(3, 4, 1))
    assert torch.equal(warp.sample(warp.bordered(image), np.eye(3)), image)


def test_a_motion_turns_about_its_center():
    center = np.array([5.0, 6.0])
    np.testing.assert_allclose(warp.motion([0, 0, 0.3], center) @ [5, 6, 1], [5, 6, 1])
    np.testing.assert_allclose(warp.motion([0, 0, 0.1, 0, 0, 0], center) @ [6, 6, 1], [6.1, 6, 1])
