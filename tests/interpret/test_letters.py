"""Letters that a model of n-grams attended to."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from ivy_models import attention_to_letters, create_model, draw_letters
from ivy_models.errors import InputError
import ivy


def test_shares_belong_to_the_letters(backend):
    model = create_model("perceiver_io_languages", pretrained=True)
    text, shares = attention_to_letters(model, "Wie spät  ist es?")
    assert text == " wie spät ist es? "
    assert shares.shape == (len(text),)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert shares.min() > 0
    assert shares[text.index("ä")] > 1.5 / len(text)  # it tells much, with hardly more attention
    ivy.set_backend("numpy")
    np.testing.assert_allclose(
        attention_to_letters(model, "Wie spät ist es?")[1], shares, atol=1e-5
    )
    figure = draw_letters(text, shares)
    assert isinstance(figure, Figure)
    assert "".join(part.get_text() for part in figure.axes[0].texts) == text
    with pytest.raises(InputError, match="The text is empty"):
        attention_to_letters(model, " ")
    for digits in ("1", "0123456789 " * 20):
        with pytest.raises(InputError, match="has no letters, so it has no language"):
            attention_to_letters(model, digits)
    with pytest.raises(InputError, match="shares have shape"):
        draw_letters("ab", shares)
    with pytest.raises(InputError, match="does not read texts as n-grams"):
        attention_to_letters(create_model("perceiver_io_digits"), "a")
