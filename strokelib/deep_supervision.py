"""The network of section 3.2 that is held against the truth at three depths while it trains."""

from torch import nn
from torch.nn import functional

from strokelib import network

COARSER = (1, 2)  # levels of the decoder, below the finest, that say what they see, too: 32 and 16 places of a patch


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, whose coarser decoder blocks learn from the truth, too.

    While it trains it returns a tuple of logits (n, 2, h, w), the finest first, those of coarser blocks by linear
    interpolation; at prediction the finest alone, at no cost. With 10 channels: 592 710 parameters.

    Source: Lee et al., AISTATS 2015. Our choice: one convolution of one voxel at each of two levels, and what each
    weighs (`losses.judged`).
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        self.coarser = nn.ModuleList(nn.Conv2d(base * 2**level, 2, 1) for level in COARSER)

    def stochastic(self, state, rate: float = 0.0, keys=None, kept=None):
        """Finish a forward pass, as `network.Network.stochastic` does; with the coarser logits while training."""
        maps = self.climb(state, rate, keys, kept)[::-1]
        logits = self.leave(maps[0])
        if not self.training:
            return logits
        coarser = (
            functional.interpolate(leave(maps[level]), scale_factor=2**level, mode="bilinear", align_corners=False)
            for level, leave in zip(COARSER, self.coarser, strict=True)
        )
        return (logits, *coarser)
