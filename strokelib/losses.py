"""What training minimizes and what early stopping watches.

With two classes all of it follows from d, the difference of the two logits: softmax gives p = sigmoid(d).
"""

import torch
from torch.nn import functional

REACH = 16  # voxels, from where on a border is far: a quarter of the paper's patch
BY_PLACE = ("boundary",)  # losses to which it matters where in a patch a voxel lies


def _difference(logits, target):
    if logits.shape[1] != 2 or logits.shape[0] != target.shape[0] or logits.shape[2:] != target.shape[1:]:
        raise ValueError(
            f"expected logits (n, 2, h, w) and target (n, h, w), got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    return logits[:, 1] - logits[:, 0], target.to(logits.dtype)


def cross_entropy(logits, target):
    """Average the cross-entropy of both classes over all voxels."""
    difference, truth = _difference(logits, target)
    return functional.binary_cross_entropy_with_logits(difference, truth)


def generalized_dice(logits, target, weights: str = "volume"):
    r"""Compute the generalized Dice loss over the batch.

    .. math:: 1 - 2 \frac{\sum_l w_l \sum_n p_{ln} g_{ln}}{\sum_l w_l \sum_n (p_{ln} + g_{ln})}

    Parameters
    ----------
    logits : (n, 2, h, w)
    target : (n, h, w), 0 or 1
    weights : "volume" for w = 1/v, "squared" for 1/v^2, v the voxels of the class in the batch

    Returns
    -------
    scalar tensor in [0, 1], 0 for a perfect prediction.

    Source: Sudre et al. 2017; Clèrigues et al. 2019, sec. 3.1. Our choice: 1/v as the authors' release; a class that
    is absent from the batch takes the largest finite weight.
    """
    difference, truth = _difference(logits, target)
    lesion = torch.sigmoid(difference)
    n_lesion, n_all = truth.sum(), truth.numel()
    volume = torch.stack([n_all - n_lesion, n_lesion])
    weight = 1 / volume.clamp(min=1) ** (1 if weights == "volume" else 2)
    weight = torch.where(volume > 0, weight, weight.where(volume > 0, torch.zeros_like(weight)).max())
    overlap = (lesion * truth).sum()
    predicted = lesion.sum()
    # The background's sums follow from the lesion's.
    overlap_background = n_all - n_lesion - predicted + overlap
    sum_lesion = predicted + n_lesion
    numerator = weight[1] * overlap + weight[0] * overlap_background
    denominator = weight[1] * sum_lesion + weight[0] * (2 * n_all - sum_lesion)
    return 1 - 2 * numerator / denominator


def gdl_cross_entropy(logits, target, weights: str = "volume"):
    """Add the generalized Dice loss and the cross-entropy.

    Source: Clèrigues et al. 2019, sec. 3.1 and 3.3.
    """
    return generalized_dice(logits, target, weights) + cross_entropy(logits, target)


def weighted_cross_entropy(logits, target):
    """Average the cross-entropy over the voxels of each class, and then over the two classes.

    Returns
    -------
    scalar tensor, 0 for a perfect prediction; where a class is absent from the batch, the mean over the other.

    Source: a weight for each class, as the challenge's entries of Song and of Liu had (Clèrigues et al. 2019, sec. 1).
    Our choice: the inverse of its share of the batch, for the paper does not say which.
    """
    difference, truth = _difference(logits, target)
    each = functional.binary_cross_entropy_with_logits(difference, truth, reduction="none")
    n_lesion = truth.sum()
    lesion = (each * truth).sum() / n_lesion.clamp(min=1)
    background = (each * (1 - truth)).sum() / (truth.numel() - n_lesion).clamp(min=1)
    present = (n_lesion > 0).to(each.dtype) + (n_lesion < truth.numel())
    return (lesion + background) / present


def focal(logits, target, gamma: float = 2.0):
    """Average the cross-entropy over all voxels, each weighted by how far off it is.

    Parameters
    ----------
    gamma : the power of 1 - p that weighs a voxel, p being what its true class was given; 0 gives the cross-entropy

    Source: Lin et al., ICCV 2017, eq. 4; the entry of Hu weighted by difficulty likewise (Clèrigues et al. 2019, sec.
    1). Our choice: 2 as Lin et al. found best, without their second weight by class.
    """
    difference, truth = _difference(logits, target)
    each = functional.binary_cross_entropy_with_logits(difference, truth, reduction="none")
    return ((torch.sigmoid(difference) - truth).abs() ** gamma * each).mean()


def soft_dice(logits, target):
    """Compute the Dice loss of the lesion class over the batch, in [0, 1].

    Source: Milletari et al., 3DV 2016, eq. 1, with sums in place of sums of squares. Our choice: a voxel is added above
    and below, so that a batch without lesion has a gradient.
    """
    difference, truth = _difference(logits, target)
    lesion = torch.sigmoid(difference)
    return 1 - (2 * (lesion * truth).sum() + 1) / (lesion.sum() + truth.sum() + 1)


def border_distance(target, reach: int = REACH):
    """Count the steps from each voxel to the border of the lesion, negative inside of it.

    Parameters
    ----------
    target : float (n, h, w), 0 or 1
    reach : int, voxels; whatever lies farther is so many steps away, as is all of a patch that holds no border

    Returns
    -------
    float tensor (n, h, w) : 1 or -1 beside the border. Steps go by turns to 4 and to 8 neighbors, so that what lies
    within some steps is an octagon.
    """
    lesion = (target > 0.5).to(target.dtype)  # no booleans: of them torch writes C++ that does not compile
    healthy, distance = 1 - lesion, torch.zeros_like(lesion)
    for step in range(reach):
        distance = distance + healthy - lesion  # 0 for whoever has been reached from the other side
        lesion, healthy = (_grown(part, corners=step % 2 == 1) for part in (lesion, healthy))
    return distance


def _grown(mask, corners: bool):
    along_x = _along(mask, 1)
    return _along(along_x, 2) if corners else torch.maximum(along_x, _along(mask, 2))


def _along(mask, axis: int):
    """Grow a mask by a voxel to both sides of an axis."""
    size = mask.shape[axis]
    padded = functional.pad(mask, (0, 0, 1, 1) if axis == 1 else (1, 1))
    beside = torch.maximum(padded.narrow(axis, 0, size), padded.narrow(axis, 2, size))
    return torch.maximum(mask, beside)


def boundary(logits, target, reach: int = REACH):
    """Average how wrong each voxel is, by its distance to the border of the lesion.

    Returns
    -------
    scalar tensor in [0, 1], 0 for a perfect prediction; wrong voxels that lie `reach` steps or more away count whole.

    Source: Kervadec et al., MIDL 2019, eq. 5, less what the true mask itself would have, which no weight changes. Our
    choice: distances within the patch, up to `reach`, by `border_distance`.
    """
    difference, truth = _difference(logits, target)
    return ((torch.sigmoid(difference) - truth) * border_distance(truth, reach)).mean() / reach


def training_loss(logits, target, loss: str, weights: str = "volume"):
    """Compute the loss a variant names, one of variants.KINDS_OF_LOSS.

    Parameters
    ----------
    weights : "volume" or "squared", as training.gdl_weights has it: of gdl_cross_entropy, alone or with the boundary
        loss beside it; "gdl" and "gdl_squared" say theirs by their names

    Raises
    ------
    ValueError : another name.
    """
    if loss == "gdl_cross_entropy":
        return gdl_cross_entropy(logits, target, weights)
    if loss in ("gdl", "gdl_squared"):
        return generalized_dice(logits, target, "volume" if loss == "gdl" else "squared")
    if loss == "boundary":
        return gdl_cross_entropy(logits, target, weights) + boundary(logits, target)
    if loss == "dice_cross_entropy":
        return soft_dice(logits, target) + cross_entropy(logits, target)
    alone = {"cross_entropy": cross_entropy, "weighted_cross_entropy": weighted_cross_entropy, "focal": focal}
    if loss not in alone:
        raise ValueError(f"no loss is called {loss!r}; variants.KINDS_OF_LOSS lists those there are")
    return alone[loss](logits, target)


def judged(found, target, loss: str, weights: str = "volume"):
    """Return the loss and the error sums of what a network says of a batch while it trains.

    Parameters
    ----------
    found : logits (n, 2, h, w); or several, of a network that is supervised at several depths, the finest first: each
        next counts half as much in the loss, and not at all among the errors
    target : (n, h, w), 0 or 1
    loss, weights : as of `training_loss`
    """
    depths = [logits.float() for logits in ([found] if torch.is_tensor(found) else found)]
    shares = [0.5**depth for depth in range(len(depths))]
    each = [training_loss(logits, target, loss, weights) for logits in depths]
    total = sum(share * one for share, one in zip(shares, each, strict=True)) / sum(shares)
    return total, error_sums(depths[0].detach(), target)


def error_sums(logits, target):
    """Sum what the monitored quantities need over a batch.

    Returns
    -------
    tensor (6,) float64 : voxels, wrong voxels, |p - g|, p g, p, g. Add them up over batches, then `monitored`.
    """
    difference, truth = _difference(logits, target)
    lesion = torch.sigmoid(difference)
    wrong = (difference > 0) != (truth > 0.5)
    terms = (torch.ones_like(lesion), wrong, (lesion - truth).abs(), lesion * truth, lesion, truth)
    return torch.stack([term.sum(dtype=torch.float64) for term in terms])


def monitored(sums) -> dict[str, float]:
    """Turn summed terms of `error_sums` into accuracy and the two early-stopping quantities, both to be small.

    `l1_error` is the L1 loss plus the error rate (Clèrigues et al. 2019, sec. 3.3); `dice` is the probabilistic Dice
    loss of the baseline (sec. 4.1). Our choice: the latter of the lesion class, over the whole stopping set at once.
    """
    voxels, wrong, l1, overlap, predicted, truth = (float(s) for s in sums)
    both = predicted + truth
    return {
        "accuracy": 1 - wrong / voxels,
        "l1_error": (l1 + wrong) / voxels,
        "dice": 1 - 2 * overlap / both if both else 0.0,
    }
