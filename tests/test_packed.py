import copy

import pytest
import torch

from strokelib.network import Network
from strokelib.packed import Packed, pack


def unpack(values):
    """Put the voxels back by hand, one by one."""
    h, w = values.shape[-2] * 2, values.shape[-1] // 2
    whole = torch.empty(*values.shape[:-2], h, w, dtype=values.dtype)
    for x in range(h):
        for y in range(w):
            whole[..., x, y] = values[..., x // 2, 4 * (y // 2) + 2 * (x % 2) + y % 2]
    return whole


def test_packing_lays_squares_side_by_side():
    values = torch.arange(16).reshape(4, 4)
    assert pack(values).tolist() == [[0, 1, 4, 5, 2, 3, 6, 7], [8, 9, 12, 13, 10, 11, 14, 15]]
    more = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack(pack(more)), more)


@pytest.mark.parametrize(("channels", "h", "w"), [(10, 64, 64), (5, 48, 48), (5, 32, 64)])
def test_it_is_the_same_network_forward_and_backward(channels, h, w):
    """In float64: logits, all gradients, and the running statistics of batch normalization."""
    torch.manual_seed(0)
    plain = Network(channels).double().to(memory_format=torch.channels_last).train()
    for parameter in plain.parameters():  # slopes and biases off their first values
        parameter.data += 0.05 * torch.randn_like(parameter)
    other = copy.deepcopy(plain)
    packed = Packed(other)
    packed.places = {kind: places.double() for kind, places in packed.places.items()}
    images = torch.randn(3, channels, h, w, dtype=torch.float64)
    kept = [None if k is None else k.double() for k in plain.draw_kept(3, torch.Generator().manual_seed(1))]
    logits = plain(images, kept=kept)
    gradient = torch.randn_like(logits)
    logits.backward(gradient)
    found = packed(pack(images).contiguous(memory_format=torch.channels_last), kept)
    found.backward(pack(gradient))
    assert torch.allclose(found, pack(logits), atol=1e-12)
    for ours, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(other.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), atol=1e-12)
