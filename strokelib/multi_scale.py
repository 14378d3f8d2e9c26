"""The network of section 3.2 that looks at several scales at once: convolutions with holes beside plain ones."""

import torch
from torch import nn

from strokelib import network

DILATIONS = {1: 2, 2: 4, 4: 4}  # voxels between those that a convolution sees, and the part of the maps it gives


class Scales(nn.Module):
    """Convolve at several scales side by side: half of the maps see the voxels beside, others every second and fourth.

    As many parameters as one convolution with as many maps.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Conv2d(maps, maps // part, 3, padding=step, dilation=step) for step, part in DILATIONS.items()
        )

    def forward(self, x):
        return torch.cat([part(x) for part in self.parts], dim=1)


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, with atrous convolutions at several scales.

    They stand in the first place of each encoder block but the deepest, whose 4 x 4 places of a patch have no room for
    them. With 10 channels: 592 610 parameters, as many as the paper's.

    Source: Clèrigues et al. 2019, reference 20 (Song 2018), as far as its title and section 5 tell: "multi-scale U-Net
    with atrous convolution". Differs: 2-D as our patches are, there 3-D. Our choice: where they stand, and 1, 2 and 4.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        for block in self.encoder[:-1]:
            block.conv1 = Scales(block.maps)
