"""The network of section 3.2 with next to no decoder: it leads up, and has no residual block."""

from torch import nn

from strokelib import network


class Through(nn.Module):
    """Return what comes in, as a block of the decoder without a convolution, and so without dropout before it."""

    def forward(self, x, rate=0.0, keys=None, place=0):
        return x


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, without the blocks of the decoder.

    With 10 channels: 543 170 parameters, 81.92 % of them before the decoder.

    Our choice: a step further the way of sec. 3.2, which the paper does not take.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        self.decoder = nn.ModuleList(Through() for _ in self.decoder)
