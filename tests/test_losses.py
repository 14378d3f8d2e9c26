import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from strokelib import losses
from strokelib.run.variants import KINDS_OF_LOSS, VARIANTS


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 16, 16, generator=generator)
    target = (torch.rand(3, 16, 16, generator=generator) < 0.2).to(torch.uint8)
    return logits, target


def sure(target, value=50.0):
    """Logits that give the target with certainty."""
    lesion = (target.float() * 2 - 1) * value
    return torch.stack([-lesion, lesion], dim=1)


def test_cross_entropy_is_torchs_own(batch):
    logits, target = batch
    assert torch.allclose(losses.cross_entropy(logits, target), functional.cross_entropy(logits, target.long()))


@pytest.mark.parametrize(("weights", "monai"), [("volume", "simple"), ("squared", "square")])
def test_generalized_dice_agrees_with_monai(batch, weights, monai):
    logits, target = batch
    oracle = GeneralizedDiceLoss(softmax=True, to_onehot_y=True, batch=True, w_type=monai, smooth_nr=0, smooth_dr=0)
    expected = oracle(logits, target[:, None])
    assert torch.allclose(losses.generalized_dice(logits, target, weights), expected, atol=1e-6)


def test_hand_worked_generalized_dice():
    """Four voxels, one lesion, p = 0.5 everywhere: w = (1/3, 1); numerator 1.5/3 + 0.5 = 1, denominator 5/3 + 3."""
    target = torch.tensor([[[1, 0], [0, 0]]])
    value = losses.generalized_dice(torch.zeros(1, 2, 2, 2), target)
    assert value.item() == pytest.approx(1 - 2 * 1 / (5 / 3 + 3))


def test_perfect_prediction_costs_nothing_and_the_inverse_everything(batch):
    _, target = batch
    assert losses.generalized_dice(sure(target), target).item() == pytest.approx(0, abs=1e-6)
    assert losses.gdl_cross_entropy(sure(target), target).item() == pytest.approx(0, abs=1e-6)
    assert losses.generalized_dice(sure(1 - target), target).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("weights", ["volume", "squared"])
def test_an_absent_class_stays_finite_and_differentiable(value, weights):
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    loss = losses.gdl_cross_entropy(logits, torch.full((2, 4, 4), value), weights)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


def test_the_loss_falls_as_the_prediction_improves(batch):
    _, target = batch
    values = [losses.gdl_cross_entropy(sure(target, v), target).item() for v in (-1, 0, 1, 3)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4


def test_variants_choose_their_loss(batch):
    logits, target = batch
    assert losses.training_loss(logits, target, "cross_entropy") == losses.cross_entropy(logits, target)
    both = losses.generalized_dice(logits, target) + losses.cross_entropy(logits, target)
    assert losses.training_loss(logits, target, "gdl_cross_entropy") == both


@pytest.mark.parametrize("weights", ["volume", "squared"])
def test_the_settings_weights_are_those_of_the_main_tables_losses_alone(batch, weights):
    """What Table 1 trains with is the same to the last bit; GDL alone is what its name says under any settings."""
    logits, target = batch
    entropy, overlap = losses.cross_entropy(logits, target), losses.generalized_dice(logits, target, weights)
    written = {"cross_entropy": entropy, "gdl_cross_entropy": overlap + entropy}
    for row in VARIANTS.values():
        assert torch.equal(losses.training_loss(logits, target, row.loss, weights), written[row.loss])
    for name, own in (("gdl", "volume"), ("gdl_squared", "squared")):
        found = losses.training_loss(logits, target, name, weights)
        assert torch.equal(found, losses.generalized_dice(logits, target, own))
    pair = [losses.training_loss(logits, target, name, weights) for name in ("gdl", "gdl_squared")]
    assert not torch.equal(*pair)


def test_a_weighted_cross_entropy_by_hand_with_both_classes_and_with_one():
    """p = 3/4 of lesion everywhere: -ln(3/4) for lesion, -ln(1/4) for background, however many there are of either."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = np.log(3)
    lesion, background = -np.log(3 / 4), -np.log(1 / 4)
    for target, expected in (
        ([[1, 0], [0, 0]], (lesion + background) / 2),
        ([[1, 1], [1, 0]], (lesion + background) / 2),
        ([[0, 0], [0, 0]], background),
        ([[1, 1], [1, 1]], lesion),
    ):
        found = losses.weighted_cross_entropy(logits, torch.tensor([target]))
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_weighted_cross_entropy_is_torchs_with_inverse_shares(batch):
    logits, target = batch
    share = target.float().mean()
    weight = torch.stack([1 / (1 - share), 1 / share]) / 2  # torch divides by the sum of weights, which is n here
    expected = functional.cross_entropy(logits, target.long(), weight=weight)
    assert torch.allclose(losses.weighted_cross_entropy(logits, target), expected)
    even = torch.arange(target.numel()).view_as(target) % 2  # classes of one size weigh the same
    assert torch.allclose(losses.weighted_cross_entropy(logits, even), losses.cross_entropy(logits, even))


def test_focal_agrees_with_monai_and_without_a_power_is_cross_entropy(batch):
    logits, target = batch
    oracle = FocalLoss(gamma=2.0, to_onehot_y=False)
    difference = (logits[:, 1] - logits[:, 0])[:, None]
    assert torch.allclose(losses.focal(logits, target), oracle(difference, target[:, None].float()), atol=1e-6)
    assert torch.allclose(losses.focal(logits, target, gamma=0), losses.cross_entropy(logits, target))
    # Half sure of everything: a quarter of ln 2.
    assert losses.focal(torch.zeros_like(logits), target).item() == pytest.approx(np.log(2) / 4)


def test_soft_dice_agrees_with_monai(batch):
    logits, target = batch
    oracle = DiceLoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)
    difference = (logits[:, 1] - logits[:, 0])[:, None]
    assert torch.allclose(losses.soft_dice(logits, target), oracle(difference, target[:, None].float()), atol=1e-6)


def test_border_distances_are_those_of_scipy_within_what_an_octagon_differs():
    """Inside a square, along its axes, the steps are exact; elsewhere within a tenth of the Euclidean way, and one."""
    truth = torch.zeros(2, 40, 40)
    truth[0, 10:25, 12:30] = 1
    truth[1, 20, 20] = 1
    found = losses.border_distance(truth, reach=12)
    assert found[1, 20, 20] == -1 and found[1, 20, 21] == 1 and found[1, 21, 21] == 2 and found[1, 20, 27] == 7
    assert found[0, 24, 20] == -1 and found[0, 25, 20] == 1 and found[0, 17, 20] == -8 and found[0, 39, 39] == 12
    for mask, steps in zip(truth.numpy() > 0, found.numpy(), strict=True):
        euclid = distance_transform_edt(~mask) - distance_transform_edt(mask)
        near = np.abs(euclid) < 11
        assert (np.sign(steps) == np.where(mask, -1, 1)).all()
        assert (np.abs(steps - euclid)[near] <= 0.1 * np.abs(euclid)[near] + 1).all()
    assert (losses.border_distance(torch.zeros(1, 8, 8), 5) == 5).all()


def test_the_boundary_loss_weighs_wrong_voxels_by_their_distance():
    """One wrong voxel beside a lesion costs 1 / 16 of a voxel, one far off a whole one."""
    truth = torch.zeros(1, 64, 64)
    truth[0, 4:8, 4:8] = 1
    for place, steps in (((8, 5), 1), ((60, 60), 16), ((7, 5), 1)):
        wrong = truth.clone()
        wrong[0, *place] = 1 - wrong[0, *place]
        cost = losses.boundary(sure(wrong, 50), truth).item()
        assert cost == pytest.approx(steps / 16 / 64**2, rel=1e-5)
    both = losses.gdl_cross_entropy(sure(truth, 1), truth) + losses.boundary(sure(truth, 1), truth)
    assert torch.equal(losses.training_loss(sure(truth, 1), truth, "boundary"), both)


@pytest.mark.parametrize("loss", KINDS_OF_LOSS)
def test_every_loss_has_the_gradient_of_its_value_and_falls(batch, loss):
    logits, target = batch
    few, those = logits[:1, :, :3, :3].double().requires_grad_(), target[:1, :3, :3]
    assert those.any() and not those.all()
    assert torch.autograd.gradcheck(lambda values: losses.training_loss(values, those, loss), few)
    values = [losses.training_loss(sure(target, v), target, loss).item() for v in (-1, 0, 1, 3, 50)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 5
    assert values[-1] == pytest.approx(0, abs=1e-6), "a perfect prediction costs nothing"


@pytest.mark.parametrize("loss", KINDS_OF_LOSS)
def test_losses_of_several_batches_can_be_computed_together(batch, loss):
    """As a GPU validates."""
    logits, target = (torch.stack([part, part.roll(3, -1)]) for part in batch)
    together = torch.vmap(lambda *pair: losses.training_loss(*pair, loss))(logits, target)
    each = torch.stack([losses.training_loss(*pair, loss) for pair in zip(logits, target, strict=True)])
    assert torch.allclose(together, each, atol=1e-6)


@pytest.mark.parametrize("loss", KINDS_OF_LOSS)
@pytest.mark.parametrize("value", [0, 1])
def test_every_loss_stays_finite_where_a_class_is_absent(loss, value):
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    found = losses.training_loss(logits, torch.full((2, 4, 4), value), loss)
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(logits.grad).all()


def test_what_is_said_at_several_depths_counts_by_halves_and_its_errors_are_those_of_the_finest(batch):
    """Three losses a, b, c come to (a + b / 2 + c / 4) / 1.75; one alone to itself."""
    logits, target = batch
    each = [logits, logits * 0.5, -logits]
    (a, one), (b, _), (c, _) = (losses.judged(part, target, "gdl_cross_entropy") for part in each)
    assert torch.equal(a, losses.gdl_cross_entropy(logits, target))
    assert torch.equal(one, losses.error_sums(logits, target))
    loss, errors = losses.judged(tuple(each), target, "gdl_cross_entropy")
    assert loss.item() == pytest.approx((a + b / 2 + c / 4).item() / 1.75) and torch.equal(errors, one)


def test_a_loss_that_nobody_knows_is_refused_by_name(batch):
    with pytest.raises(ValueError, match="no loss is called 'tversky'"):
        losses.training_loss(*batch, "tversky")


def test_monitored_quantities_by_hand():
    """p = 0.5 but for one sure lesion voxel of two: |p - g| sums 0 + .5 + .5 + .5, one voxel of four is wrong."""
    target = torch.tensor([[[1, 1], [0, 0]]])
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, :, 0, 0] = torch.tensor([-50.0, 50.0])
    values = losses.monitored(losses.error_sums(logits, target))
    assert values["accuracy"] == pytest.approx(0.75)
    assert values["l1_error"] == pytest.approx(1.5 / 4 + 1 / 4)
    assert values["dice"] == pytest.approx(1 - 2 * 1.5 / (2.5 + 2))


def test_monitored_sums_do_not_depend_on_the_batches(batch):
    logits, target = batch
    whole = losses.error_sums(logits, target)
    parts = sum(losses.error_sums(logits[i : i + 1], target[i : i + 1]) for i in range(3))
    assert np.allclose(whole, parts) and whole[0] == target.numel()


def test_shapes_that_do_not_fit_are_refused(batch):
    logits, target = batch
    with pytest.raises(ValueError, match="expected logits"):
        losses.gdl_cross_entropy(logits, target[:, :8])
