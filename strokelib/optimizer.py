"""Adadelta in its three forms: torch's own, over one vector in a recorded step, and with the same bits everywhere."""

import torch

from strokelib.run.settings import Training


class PortableAdadelta(torch.optim.Optimizer):
    """Adadelta with the same bits on every processor.

    torch's takes square roots by MKL, which rounds them in other ways on other processors. Here the ratio of two roots
    is that of their reciprocals, which torch computes by the processor's own square root and division; IEEE 754 says
    how these round.
    """

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


def make_optimizer(
    parameters, settings: Training, foreach: bool = True, recorded: bool = False, portable: bool = False
):
    """Make Adadelta; with `foreach` it updates all parameters together, `recorded` one vector in a recorded step."""
    parameters = list(parameters)
    if portable:
        return PortableAdadelta(parameters, lr=settings.learning_rate, rho=settings.rho)
    return torch.optim.Adadelta(
        parameters,
        lr=settings.learning_rate,
        rho=settings.rho,
        foreach=foreach and not recorded,  # one vector: its kernels for many tensors would use a tenth of a GPU
        capturable=recorded and parameters[0].is_cuda,
    )
