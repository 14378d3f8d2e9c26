"""Adadelta, AdamW and SGD, each in three forms: torch's own, over one vector in a recorded step, and portable.

The portable ones have the same bits on every processor. torch's take square roots by MKL, which rounds them in other
ways on other processors; here a root is the reciprocal of what torch computes by the processor's own square root and
division, and IEEE 754 says how these round. SGD takes no roots and is portable as it is.
"""

import math

import torch

from strokelib.run.settings import Training

MOMENTUM = 0.9  # of SGD
BETAS, DECAY, EPS = (0.9, 0.999), 0.01, 1e-8  # of AdamW; torch's own
RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 25e4  # of one cycle: share of updates that rise, rates as shares of the largest


class PortableAdadelta(torch.optim.Optimizer):
    """Adadelta with the same bits on every processor."""

    def __init__(self, parameters, lr: float, rho: float, eps: float = 1e-6):
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; there is no closure."""
        for group in self.param_groups:
            rho, eps = group["rho"], group["eps"]
            for values in group["params"]:
                state, gradient = self.state[values], values.grad
                if not state:
                    state |= {name: torch.zeros_like(values) for name in ("square_avg", "acc_delta")}
                squares, changes = state["square_avg"], state["acc_delta"]
                squares.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
                change = squares.add(eps).rsqrt_().div_(changes.add(eps).rsqrt_()).mul_(gradient)
                changes.mul_(rho).addcmul_(change, change, value=1 - rho)
                values.sub_(change, alpha=group["lr"])


class PortableAdamW(torch.optim.Optimizer):
    """AdamW with the same bits on every processor."""

    def __init__(self, parameters, lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; there is no closure."""
        for group in self.param_groups:
            for values in group["params"]:
                state, gradient = self.state[values], values.grad
                if not state:
                    state |= {name: torch.zeros_like(values) for name in ("exp_avg", "exp_avg_sq")}
                    state["step"] = torch.zeros((), dtype=torch.float32)  # as torch's own, which loading leaves alone
                state["step"] += 1
                first, second = (1 - _power(beta, int(state["step"])) for beta in BETAS)
                means, squares = state["exp_avg"], state["exp_avg_sq"]
                means.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
                squares.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
                root = squares.rsqrt().reciprocal_().div_(math.sqrt(second)).add_(EPS)
                values.mul_(1 - group["lr"] * DECAY).sub_(root.reciprocal_().mul_(means), alpha=group["lr"] / first)


def _power(value: float, count: int) -> float:
    """Raise to a whole power by products, which round alike everywhere, as a library's power need not."""
    result = 1.0
    while count:
        result, value, count = result * (value if count % 2 else 1.0), value * value, count // 2
    return result


def make_optimizer(
    parameters, settings: Training, foreach: bool = True, recorded: bool = False, portable: bool = False
):
    """Make the optimizer that the settings name.

    Parameters
    ----------
    parameters : iterable of tensors
    settings : Training, of which optimizer, learning_rate and rho (of Adadelta) count
    foreach : update all parameters together
    recorded : update one vector in a recorded step
    portable : with the same bits on every processor

    Source: Clèrigues et al. 2019, sec. 3.3 (Adadelta). Our choice, for comparison: AdamW with torch's betas and
    decay of weights, and SGD with a momentum of 0.9 and no decay.
    """
    parameters, rate = list(parameters), settings.learning_rate
    foreach = foreach and not recorded  # one vector: its kernels for many tensors would use a tenth of a GPU
    if recorded and settings.schedule != "constant":
        rate = torch.tensor(rate, device=parameters[0].device)  # which a recorded step reads anew each time
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, foreach=foreach)
    capturable = recorded and parameters[0].is_cuda
    if settings.optimizer == "adamw":
        if portable:
            return PortableAdamW(parameters, lr=rate)
        how = {"betas": BETAS, "weight_decay": DECAY, "eps": EPS}
        return torch.optim.AdamW(parameters, lr=rate, foreach=foreach, capturable=capturable, **how)
    if portable:
        return PortableAdadelta(parameters, lr=rate, rho=settings.rho)
    return torch.optim.Adadelta(parameters, lr=rate, rho=settings.rho, foreach=foreach, capturable=capturable)


def paced(settings: Training, done: int, most: int) -> float:
    """Return the learning rate of the update that follows `done` of `most` updates.

    "constant" is training.learning_rate throughout. "one_cycle" rises to it in the first 30 % from a 25th of it, and
    falls to a 250 000th of it at the last update, both along half a cosine.

    Source: Smith and Topin 2019 (one cycle), as torch.optim.lr_scheduler.OneCycleLR has it by default. Our choice:
    momentum stays as it is. A training that early stopping ends has not come to the end of its cycle.
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    top = RISE * most - 1
    low, share = (FIRST, done / top) if done <= top else (LAST, (most - 1 - done) / (most - 1 - top))
    return settings.learning_rate * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)


def pace(optimizer, rate: float) -> None:
    """Set the learning rate of an optimizer for its next steps, of a recorded one where it lies."""
    for group in optimizer.param_groups:
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
