"""What networks that differ from the paper's in their decoder alone have in common."""

import torch

from strokelib.network import LEVELS


def check_passes(kind) -> None:
    """Hold a class of networks to the shape of what it gives; stochastic passes go on from what is shared."""
    torch.manual_seed(0)
    network = kind(5).eval()
    images, keys = torch.randn(2, 5, 32, 48), torch.tensor([1, 2], dtype=torch.int32)
    with torch.no_grad():
        plain, state = network(images), network.deterministic(images)
        assert plain.shape == (2, 2, 32, 48) and torch.equal(plain, network.stochastic(state))
        assert not torch.equal(plain, network.stochastic(state, 0.3, keys))
        for level in range(1, LEVELS + 1):  # whichever the dropout begins at
            assert torch.equal(plain, network.stochastic(network.deterministic(images, level)))
