"""The network of section 3.2 that first reads each voxel by itself, as one reads the curve of a series."""

from torch import nn

from strokelib import network

READ = (32, 16)  # maps of the two convolutions that see one voxel


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, with two convolutions of one voxel before its first.

    Given the samples of a voxel's curve, and those of its mirror image, they are a small network over time; the paper's
    first convolution would have to tell all of them in 8 maps at once. With 42 channels: 594 994 parameters.

    Our choice: all of it; the paper reads no series.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        first, second = READ
        self.enter = nn.Sequential(
            *(nn.Conv2d(in_channels, first, 1), network.PReLU(first, init=0.0)),
            *(nn.Conv2d(first, second, 1), network.PReLU(second, init=0.0)),
            nn.Conv2d(second, base, 3, padding=1),
        )
