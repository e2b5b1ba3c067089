"""Arrays as soundfile reads them, (samples, channels), are refused with what to transpose."""

import numpy as np
import pytest

import jaxsep
from jaxsep import bss
from jaxsep.metrics import bss_eval_images
from jaxsep.separator import Separator


def separator(x):
    return Separator.from_pretrained("sounds")(x, 22050)


@pytest.mark.parametrize(
    "function",
    [
        jaxsep.fastica,
        bss.infomax,
        bss.fobi,
        bss.auxiva,
        bss.ilrma,
        separator,
        lambda x: jaxsep.bss_eval_sources(x, x),
        lambda x: bss_eval_images(x[None], x[None]),
    ],
    ids=["fastica", "infomax", "fobi", "auxiva", "ilrma", "Separator", "sources", "images"],
)
@pytest.mark.parametrize("shape", [(44100, 2), (70, 100)])
def test_samples_come_last(rng, function, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    with pytest.raises(ValueError, match=rf"shape=\(.*{shape[0]}, {shape[1]}\): .*transpose .*\.T"):
        function(x)
