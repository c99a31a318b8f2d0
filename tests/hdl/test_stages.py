"""What the dataflow family says of a Program that it cannot build."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.stages import stages_of
from addax.quant.formats import unsigned
from networks import Builder


def test_program_without_an_arg_max_is_refused_with_the_name_of_its_output():
    """Accelerators of this family end in class scores and a class."""
    b = Builder(np.random.default_rng(0), (2, 4, 4))
    b.convolution("mult", 2)
    b.rescale(unsigned(8))

    with pytest.raises(UserError, match=f"the dataflow family ends in an arg-max; .* raw result of {b.last}$"):
        stages_of(b.raw())
