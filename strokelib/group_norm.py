"""The network of section 3.2 with group normalization: what a patch is normalized by is its own, not its batch's."""

from torch import nn

from strokelib import network

GROUPS = 4  # of the channels of a layer, of which the first have 8


class GroupNorm(nn.GroupNorm):
    """Normalize in float32 and give back what came in: CUDA's own takes no bf16 with parameters in float32."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, with groups of channels normalized in each patch.

    With 10 channels: 592 610 parameters, as many as the paper's.

    Source: Wu and He 2018. Our choice: not the paper's, for comparison; four groups in every layer.
    """

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        for parent in [*self.modules()]:
            for name, part in [*parent.named_children()]:
                if isinstance(part, nn.BatchNorm2d):
                    setattr(parent, name, GroupNorm(GROUPS, part.num_features, eps=part.eps))
