"""The network of section 3.2 beside a coarser stream, which has both hemispheres in view."""

from torch import nn
from torch.nn import functional

from strokelib import network

STAGES = 4  # of the coarser stream: at a half, a quarter, an eighth and a sixteenth of the resolution


class Network(network.Network):
    """Segment the lesion core in patches; as `network.Network`, told what a coarser stream sees around its patch.

    That stream takes a patch with 64 voxels more on each side, 192 for a side of 64, at half resolution, through four
    stages of the paper's encoder. What it says of the places in the patch is brought to their resolution and added to
    the first maps. With 10 channels: 705 058 parameters.

    Our choice: all of it, and that it ends where the paper's encoder begins, so that prediction dropout does not reach
    it; the paper gives the other hemisphere by its mirror image.
    """

    margin = 64

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__(in_channels, base, dropout, momentum)
        maps = [base * 2**stage for stage in range(STAGES)]
        ways = [nn.Conv2d(in_channels, base, 3, padding=1), *(network.Down(m, momentum) for m in maps[:-1])]
        blocks = (network.EncoderBlock(m, momentum, 0.0) for m in maps)
        self.coarse = nn.ModuleList(nn.Sequential(way, block) for way, block in zip(ways, blocks, strict=True))
        self.tell = nn.Conv2d(maps[-1], base, 1)

    def begin(self, x):
        """Return the first maps of patches, (n, base, h, w), with what is seen around them."""
        around, margin, step = functional.avg_pool2d(x, 2), self.margin, 2**STAGES
        for stage in self.coarse:
            around = stage(around)
        edge = margin // step - 1  # a place is kept around the patch, to interpolate from
        around = around[..., edge : around.shape[-2] - edge, edge : around.shape[-1] - edge]
        around = functional.interpolate(self.tell(around), scale_factor=step, mode="bilinear", align_corners=False)
        seen = x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
        return self.enter(seen) + around[..., step : around.shape[-2] - step, step : around.shape[-1] - step]
