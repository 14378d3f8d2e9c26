"""A network with an encoder for each modality, whose features are fused at every level, and one decoder."""

import torch
from torch import nn
from torch.nn import functional

from strokelib import network

FUSED = network.LEVELS - 1  # levels with an encoder for each modality; the deepest takes what they have in common


class Down(network.Down):
    """Halve the sides and double the maps of each modality, whose maps stay side by side."""

    def __init__(self, maps: int, momentum: float, modalities: int):
        super().__init__(maps, momentum)
        self.modalities = modalities
        self.conv = nn.Conv2d(maps, maps, 3, stride=2, padding=1, groups=modalities)

    def forward(self, x):
        parts = self.conv(self.before(x)), functional.max_pool2d(x, 2)
        return torch.cat([part.unflatten(1, (self.modalities, -1)) for part in parts], dim=2).flatten(1, 2)


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, with an encoder of half the maps for each modality.

    A grouped convolution is one for each modality: what one encoder finds, no other sees. Convolutions of one voxel
    fuse their features level by level, for the decoder, which is the paper's, and for the deepest block, which all
    share.

    With 5 channels: 645 386 parameters, 9 % more than the paper's network has with 10.

    Source: Clèrigues et al. 2019, reference 36 (Chen et al. 2018), as far as its title tells: "modalities fused". Our
    choice: all else; a deepest block for each modality would double the parameters.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        fused = [base * 2**level for level in range(FUSED)]
        own = [in_channels * maps // 2 for maps in fused]  # maps of all encoders together
        self.enter = nn.Conv2d(in_channels, own[0], 3, padding=1, groups=in_channels)
        for level, maps in enumerate(own):
            block = network.EncoderBlock(maps, momentum, self.encoder[level].dropout)
            for name in ("conv1", "conv2"):
                setattr(block, name, nn.Conv2d(maps, maps, 3, padding=1, groups=in_channels))
            self.encoder[level] = block
        for level, maps in enumerate(own[:-1]):
            self.down[level] = Down(maps, momentum, in_channels)
        self.down[FUSED - 1] = nn.Sequential(nn.Conv2d(own[-1], fused[-1], 1), self.down[FUSED - 1])
        self.fuse = nn.ModuleList(nn.Conv2d(*maps, 1) for maps in zip(own, fused, strict=True))

    def descend(self, state, rate: float = 0.0, keys=None, kept=None) -> list:
        """Return what each level gives the decoder, as `network.Network.descend` does, with features fused."""
        *skips, x = super().descend(state, rate, keys, kept)
        return [*(fuse(skip) for fuse, skip in zip(self.fuse, skips, strict=True)), x]
