"""The network with the four voxels of a 2 x 2 square side by side in its first level, for GPUs.

A matrix unit multiplies blocks of 32 channels and more; the first level has 8, at the largest size, and would fill a
quarter of each block. Laid out as 4 x 8 channels at half the sides, its convolutions are convolutions of 3 x 3 again,
with weights in other places: the same sums, several times as fast there. On a CPU it would be slower.
"""

import torch
from torch import nn
from torch.nn import functional

from strokelib.network import LEVELS, Network


def pack(values):
    """Lay (n, ..., h, w) out as (n, ..., h / 2, 2 w): squares of 2 x 2 one after the other, each row by row."""
    *front, h, w = values.shape
    return values.unflatten(-1, (w // 2, 2)).unflatten(-3, (h // 2, 2)).transpose(-3, -2).reshape(*front, h // 2, 2 * w)


def _wide(x):
    """View (n, c, h, 4 w), channels last, as (n, 4 c, h, w): a square's voxels become channels."""
    return x.permute(0, 2, 3, 1).unflatten(2, (-1, 4)).flatten(3).permute(0, 3, 1, 2)


def _narrow(x):
    """View what `_wide` returned as it was."""
    return x.permute(0, 2, 3, 1).unflatten(3, (4, -1)).flatten(2, 3).permute(0, 3, 1, 2)


def _places(kind: str) -> torch.Tensor:
    """Tell where the weights of a 3 x 3 convolution go when voxels are packed, as 0 and 1.

    Parameters
    ----------
    kind : "same" from packed to packed voxels, "down" by a stride of 2 to plain ones, "up" from plain ones, transposed

    Returns
    -------
    tensor (from, to, 3, 3, 3, 3) : voxel of the square it takes, voxel it makes, its 3 x 3 weights, where they lie.
    """
    line = torch.zeros(2, 2, 3, 3)  # along one side of the square
    for to in range(1 if kind == "down" else 2):
        for weight in range(3):
            if kind == "up":  # makes voxel 2 i - 1 + weight of plain voxel i
                if (to + 1 - weight) % 2 == 0:
                    line[0, to, weight, (to + 1 - weight) // 2 + 1] = 1
            else:
                voxel = to + weight - 1
                line[voxel % 2, to, weight, voxel // 2 + 1] = 1
    square = torch.einsum("abij,cdkl->acbdikjl", line, line).reshape(4, 4, 3, 3, 3, 3)
    return square[: 1 if kind == "up" else 4, : 1 if kind == "down" else 4].contiguous()


class Packed(nn.Module):
    """Compute what a network does, in training, from packed patches.

    `forward` takes images packed by `pack`, (n, in_channels, h / 2, 2 w) with channels last, and what
    `Network.draw_kept` drew; it returns logits (n, 2, h / 2, 2 w) in the same order. The parameters are the network's.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        device = next(network.parameters()).device
        self.places = {kind: _places(kind).to(device) for kind in ("same", "down", "up")}

    def _convolve(self, convolution, x, kind: str):
        """Apply a convolution of the first level to what `_wide` returned, or to plain voxels for "up"."""
        weight = convolution.weight.transpose(0, 1) if kind == "up" else convolution.weight
        places = self.places[kind].to(weight.dtype)
        made = places.shape[1]
        # Not as a matrix product, whose kernels would outweigh these few numbers: (o, i, from, to, 9, 9) summed.
        spread = weight.flatten(2)[:, :, None, None, None] * places.flatten(2, 3).flatten(3).transpose(2, 3)
        weight = spread.sum(-1).permute(3, 0, 2, 1, 4).unflatten(-1, (3, 3)).flatten(2, 3).flatten(0, 1)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(x, weight, convolution.bias.repeat(made), padding=1)

    def _block(self, convolution, before, x):
        return _narrow(self._convolve(convolution, _wide(before(x)), "same"))

    def forward(self, x, kept):
        net, first = self.network, self.network.encoder[0]
        x = _narrow(self._convolve(net.enter, _wide(x), "same"))
        skip = x + self._block(first.conv2, first.before2, self._block(first.conv1, first.before1, x))
        strided = self._convolve(net.down[0].conv, _wide(net.down[0].before(skip)), "down")
        x = torch.cat([strided, functional.max_pool2d(skip, (1, 4))], dim=1)
        skips = [skip]
        for level in range(1, LEVELS):
            x = net.encoder[level](x, kept=kept[level])
            if level < LEVELS - 1:
                skips.append(x)
                x = net.down[level](x)
        for level in range(LEVELS - 2, 0, -1):
            x = net.decoder[level](net.up[level](x) + skips[level])
        x = _narrow(self._convolve(net.up[0], x, "up")) + skip
        x = x + self._block(net.decoder[0].conv, net.decoder[0].before, x)
        return _narrow(self._convolve(net.leave, _wide(x), "same"))
