import torch
from decoders import check_passes

from strokelib import whole_decoder
from strokelib.network import Network, count_parameters


def test_a_second_convolution_a_block_is_all_that_is_added():
    """Blocks of 64, 32, 16 and 8 maps: m x m x 9 weights and m biases, 2 m of normalization and m slopes."""
    added = sum(9 * m * m + 4 * m for m in (8, 16, 32, 64))
    assert added == 49_440
    found = count_parameters(whole_decoder.Network(10))
    assert found == {"encoder": 444_984, "decoder": 147_626 + added, "total": 592_610 + added}


def test_the_encoder_begins_as_the_papers_does():
    made = []
    for kind in (Network, whole_decoder.Network):
        torch.manual_seed(0)
        made.append(kind(5).state_dict())
    first, second = made
    assert all(torch.equal(first[key], second[key]) for key in first if not key.startswith("decoder"))
    assert second.keys() - first.keys() == {key for key in second if key.startswith("decoder") and key not in first}


def test_shapes_and_stochastic_passes():
    check_passes(whole_decoder.Network)
