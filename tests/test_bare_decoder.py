from decoders import check_passes

from strokelib import bare_decoder
from strokelib.network import count_parameters


def test_what_leads_up_is_all_that_is_left():
    """Transposed convolutions from 2 m to m maps, and 8 maps to 2 classes."""
    left = sum(2 * m * m * 9 + m for m in (8, 16, 32, 64)) + 8 * 2 * 9 + 2
    assert count_parameters(bare_decoder.Network(10)) == {"encoder": 444_984, "decoder": left, "total": 444_984 + left}
    assert left == 98_186


def test_shapes_and_stochastic_passes():
    check_passes(bare_decoder.Network)
