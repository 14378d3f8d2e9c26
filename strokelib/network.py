"""The asymmetric residual encoder-decoder of section 3.2, Fig. 2."""

import functools
from importlib import import_module

import torch
from torch import nn
from torch.nn import functional

LEVELS = 5
STOCHASTIC_LEVEL = 3  # encoder levels from here on, and decoder levels down to here, take prediction dropout


class _PReLUFunction(torch.autograd.Function):
    """PReLU whose backward pass is whole-tensor arithmetic; torch's own took a fifth of a training step."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope.to(x.dtype))

    @staticmethod
    def backward(ctx, gradient):
        x, slope = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, x, 0)
        below = gradient - above
        maps = x.shape[1]
        product = below.permute(0, 2, 3, 1).reshape(-1, maps) * x.permute(0, 2, 3, 1).reshape(-1, maps)
        return torch.addcmul(above, below, slope.to(x.dtype).view(1, -1, 1, 1)), product.sum(0, dtype=slope.dtype)


class PReLU(nn.PReLU):
    """Parametric rectifier, one slope a channel; the same numbers as torch's."""

    def forward(self, x):
        if x.is_cuda:
            return functional.prelu(x, self.weight.to(x.dtype))
        return _PReLUFunction.apply(x, self.weight)


def _activation(maps: int, momentum: float) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(maps, eps=1e-3, momentum=momentum), PReLU(maps, init=0.0))


def _mixed(x):
    """Scatter int32 values in place, so that the high bits of near ones have nothing in common (a hash)."""
    x.mul_(0x7FEB352D)
    x.bitwise_xor_((x >> 15).bitwise_and_(0x1FFFF))
    return x.mul_(-0x7B935975)


@functools.lru_cache(maxsize=64)
def _counters(place: int, count: int, device) -> torch.Tensor:
    return _mixed(torch.arange(count, dtype=torch.int32, device=device).add_(place << 24))


def _drop_voxels(x, rate: float, keys, place: int):
    """Zero single values at `rate` and scale the rest.

    What is dropped is a function of the patch's key (n,) int32, the place in the network and the value's own place
    in the patch: the same on every device and whatever the batch. It is also five times as fast as drawing.
    """
    if rate == 0:
        return x
    n, maps, h, w = x.shape
    noise = _mixed(_counters(place, maps * h * w, x.device) ^ keys[:, None])
    keep = torch.empty((n, h, w, maps), device=x.device)
    torch.ge(noise.view(n, h, w, maps), int((rate - 0.5) * 2**32), out=keep)  # int32 values spread evenly
    return x * keep.mul_(1 / (1 - rate)).permute(0, 3, 1, 2)


class EncoderBlock(nn.Module):
    """Pre-activated residual block with two convolutions."""

    def __init__(self, maps: int, momentum: float, dropout: float):
        super().__init__()
        self.before1, self.conv1 = _activation(maps, momentum), nn.Conv2d(maps, maps, 3, padding=1)
        self.before2, self.conv2 = _activation(maps, momentum), nn.Conv2d(maps, maps, 3, padding=1)
        self.maps, self.dropout = maps, dropout

    def first(self, x):
        """Compute up to the place of the dropout, which no dropout rate changes."""
        return self.before2(self.conv1(self.before1(x)))

    def second(self, x, inner, rate=0.0, keys=None, place=0, kept=None):
        if kept is not None:
            inner = inner * kept.to(inner.dtype)
        return x + self.conv2(_drop_voxels(inner, rate, keys, place))

    def forward(self, x, rate=0.0, keys=None, place=0, kept=None):
        return self.second(x, self.first(x), rate, keys, place, kept)


class DecoderBlock(nn.Module):
    """Pre-activated residual block with a single convolution."""

    def __init__(self, maps: int, momentum: float):
        super().__init__()
        self.before, self.conv = _activation(maps, momentum), nn.Conv2d(maps, maps, 3, padding=1)

    def forward(self, x, rate=0.0, keys=None, place=0):
        return x + self.conv(_drop_voxels(self.before(x), rate, keys, place))


class Down(nn.Module):
    """Halve the sides and double the maps: a strided convolution beside a max-pool."""

    def __init__(self, maps: int, momentum: float):
        super().__init__()
        self.before, self.conv = _activation(maps, momentum), nn.Conv2d(maps, maps, 3, stride=2, padding=1)

    def forward(self, x):
        return torch.cat([self.conv(self.before(x)), functional.max_pool2d(x, 2)], dim=1)


class Network(nn.Module):
    """Segment the lesion core in patches.

    Parameters
    ----------
    in_channels : how many inputs there are: the modalities, or these and the mirrored ones
    base : maps of the first level, doubled at each of the four next
    dropout : rate of channel dropout in the three deepest encoder blocks while training; see `draw_kept`
    momentum : of the batch normalization

    `forward` takes (n, in_channels, h, w), sides multiples of 16, and returns logits (n, 2, h, w). A network with a
    `margin` takes so many voxels more on each side.
    With 10 channels: 592 610 parameters, 75.09 % of them before the decoder.

    Source: Clèrigues et al. 2019, sec. 3.2 and Fig. 2. Our choice: prediction dropout acts where the training
    dropout does, before the last convolution of a block; initial weights are torch's own (Kaiming uniform).
    """

    margin = 0  # voxels around a patch that it is given, too, on each side

    def __init__(self, in_channels: int, base: int = 8, dropout: float = 0.2, momentum: float = 0.01):
        super().__init__()
        maps = [base * 2**level for level in range(LEVELS)]
        self.in_channels = in_channels
        self.enter = nn.Conv2d(in_channels, base, 3, padding=1)
        self.encoder = nn.ModuleList(
            EncoderBlock(m, momentum, dropout if level + 1 >= STOCHASTIC_LEVEL else 0.0)
            for level, m in enumerate(maps)
        )
        self.down = nn.ModuleList(Down(m, momentum) for m in maps[:-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * m, m, 3, stride=2, padding=1, output_padding=1) for m in maps[:-1]
        )
        self.decoder = nn.ModuleList(DecoderBlock(m, momentum) for m in maps[:-1])
        self.leave = nn.Conv2d(base, 2, 3, padding=1)

    def forward(self, x, rate: float = 0.0, keys=None, kept=None):
        return self.stochastic(self.deterministic(x), rate, keys, kept)

    def draw_kept(self, count: int, generator) -> list:
        """Draw which channels training dropout keeps in a batch, for `forward`.

        Parameters
        ----------
        count : int, patches
        generator : torch.Generator, on whose device the masks are made

        Returns
        -------
        list, one an encoder block: None without dropout, else a tensor (count, maps, 1, 1) of 0, and of 1 / (1 - rate)
            where a channel is kept. Drawn here and not inside, they are the same when a step is compiled or recorded.
        """
        kept = [None] * LEVELS
        for level, block in enumerate(self.encoder):
            if block.dropout:
                drawn = torch.empty((count, block.maps, 1, 1), device=generator.device)
                kept[level] = drawn.bernoulli_(1 - block.dropout, generator=generator).div_(1 - block.dropout)
        return kept

    def deterministic(self, x, level: int = STOCHASTIC_LEVEL):
        """Compute what no prediction dropout reaches; several stochastic passes share it, bit for bit.

        Parameters
        ----------
        x : (n, in_channels, h + 2 margin, w + 2 margin)
        level : 1 to 5, the first encoder level with prediction dropout, and the last decoder level; 3 in the paper

        Returns
        -------
        list of tensors : skips of the levels above the first dropout, the input of that level, and its block
        up to the dropout.

        Raises
        ------
        ValueError : sides that are no multiple of 16, or a channel count the network was not made for.
        """
        if x.shape[1] != self.in_channels:
            raise ValueError(f"this network takes {self.in_channels} modalities, got {x.shape[1]}")
        sides = [side - 2 * self.margin for side in x.shape[2:]]
        if min(sides) < 16 or sides[0] % 16 or sides[1] % 16:
            around = f" within a margin of {self.margin}" if self.margin else ""
            raise ValueError(f"patch sides must be multiples of 16, got {sides[0]} x {sides[1]}{around}")
        x = self.begin(x)
        skips = []
        for above in range(level - 1):
            skips.append(self.encoder[above](x))
            x = self.down[above](skips[-1])
        return [*skips, x, self.encoder[level - 1].first(x)]

    def begin(self, x):
        """Return the first maps of patches, (n, base, h, w), without their margin."""
        return self.enter(x)

    def stochastic(self, state, rate: float = 0.0, keys=None, kept=None):
        """Finish a forward pass, with voxel-wise dropout at `rate` in the deepest steps.

        Parameters
        ----------
        state : what `deterministic` returned; its skips tell the level where dropout begins
        rate : share of values that are dropped
        keys : int32 tensor (n,), one random number a patch; required where rate > 0
        kept : what `draw_kept` drew, while training; None drops no channels
        """
        return self.leave(self.climb(state, rate, keys, kept)[-1])

    def descend(self, state, rate: float = 0.0, keys=None, kept=None) -> list:
        """Return what each level gives the decoder, the finest first; parameters as `stochastic`."""
        *skips, x, inner = state
        deep = len(skips)
        kept = kept or [None] * LEVELS
        skips = [*skips, self.encoder[deep].second(x, inner, rate, keys, deep, kept[deep])]
        for level in range(deep + 1, LEVELS):
            skips.append(self.encoder[level](self.down[level - 1](skips[-1]), rate, keys, level, kept[level]))
        return skips

    def climb(self, state, rate: float = 0.0, keys=None, kept=None) -> list:
        """Return the maps of the decoder, the coarsest first; parameters as `stochastic`."""
        *skips, x = self.descend(state, rate, keys, kept)
        deep, maps = len(state) - 2, []
        for level in range(LEVELS - 2, -1, -1):
            x = self.up[level](x) + skips[level]
            x = self.decoder[level](x, rate if level >= deep else 0.0, keys, LEVELS + level)
            maps.append(x)
        return maps


def make_network(kind: str, in_channels: int, dropout: float = 0.2, momentum: float = 0.01) -> nn.Module:
    """Make a network by the name of the module of strokelib that defines its class `Network`; "network" is this one.

    Another one is made with the same three numbers, keeps `in_channels`, and has `margin`, `forward`, `draw_kept`,
    `deterministic` and `stochastic` as this one does.

    Raises
    ------
    ValueError : no name of a module that lies beside this one.
    ModuleNotFoundError, AttributeError : there is no such module, or no such class in it.
    """
    return _kind(kind)(in_channels, dropout=dropout, momentum=momentum)


def margin_of(kind: str) -> int:
    """Return how many voxels around a patch a network of that name is given, on each side."""
    return _kind(kind).margin


def _kind(name: str):
    if not name.isidentifier():  # it may come from a file
        raise ValueError(f"a network is named by its module in strokelib, such as 'network', got {name!r}")
    return import_module(f"strokelib.{name}").Network


@torch.no_grad()
def measure_normalization(network, batches) -> None:
    """Set mean and variance of batch normalization to their plain means over some batches, seen without dropout.

    Parameters
    ----------
    batches : iterable of tensors (n, in_channels, h, w)

    The network is left ready to train.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    remembered = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for the plain mean over all batches
    network.train()
    for images in batches:
        network(images)
    for layer, momentum in zip(layers, remembered, strict=True):
        layer.momentum = momentum


def count_parameters(network: Network) -> dict[str, int]:
    """Count trainable parameters in the encoder (input convolution included), in the decoder and in all."""
    decoding = ("up", "decoder", "leave", "coarser")  # the last of `deep_supervision`
    decoder = sum(p.numel() for name, part in network.named_children() if name in decoding for p in part.parameters())
    total = sum(p.numel() for p in network.parameters())
    return {"encoder": total - decoder, "decoder": decoder, "total": total}


def layer_table(network: Network, side: int = 64) -> list[dict]:
    """List the network's stages in order of computation, by running it once on an empty patch.

    Returns
    -------
    list of dict : stage, level (1 to 5), kind, maps, side (voxels) and parameters; what Fig. 2 is drawn from. Those of
    a second stream are called coarse.
    """
    names = {"enter": network.enter, "leave": network.leave}
    for group in ("coarse", "encoder", "down", "up", "decoder"):
        names |= {f"{group}.{level}": part for level, part in enumerate(getattr(network, group, ()))}
    rows, hooks = [], []

    def record(name, module):
        def hook(_module, _inputs, output):
            rows.append(_layer_row(name, module, output))

        return hook

    # A block split for shared passes is not called as a whole: its last convolution stands for it.
    for name, part in names.items():
        place = part.conv2 if isinstance(part, EncoderBlock) else part
        hooks.append(place.register_forward_hook(record(name, part)))
    was_training = network.training
    try:
        device = next(network.parameters()).device
        with torch.no_grad():
            whole = side + 2 * network.margin
            network.eval()(torch.zeros(1, network.in_channels, whole, whole, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return rows


def _layer_row(name: str, module: nn.Module, output) -> dict:
    kind, _, level = name.partition(".")
    return {
        "stage": name,
        "level": int(level or 0) + (2 if kind == "down" else 1),
        "kind": kind,
        "maps": output.shape[1],
        "side": output.shape[2],
        "parameters": sum(p.numel() for p in module.parameters()),
    }
