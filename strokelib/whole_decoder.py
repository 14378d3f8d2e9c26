"""The network of section 3.2 with a decoder of full size: two convolutions a residual block, as in its encoder."""

from torch import nn

from strokelib import network


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, but for the blocks of the decoder.

    With 10 channels: 642 050 parameters, 69.31 % of them before the decoder.

    Source: Clèrigues et al. 2019, sec. 3.2: the decoder's "complexity can be reduced without damaging the performance",
    by one convolution a block in place of two. This is what it is reduced from.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        # Made last, so that all other weights begin as those of the paper's network do.
        self.decoder = nn.ModuleList(network.EncoderBlock(part.maps, momentum, 0.0) for part in self.encoder[:-1])
