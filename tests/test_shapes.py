"""Arrays as others hand them over: samples first, in half precision, read-only; separators that travel."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsep
from jaxsep import bss
from jaxsep.codecs import STFT, Codec
from jaxsep.metrics import bss_eval_images
from jaxsep.networks import LSTMMask
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig


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


@pytest.fixture(scope="module")
def small():
    codec, network = Codec(STFT(n_fft=256, hop_length=64)), LSTMMask(layers=1, width=4)
    windows = dict(segment_seconds=1.0, overlap_seconds=0.2)
    system = System(SystemConfig(sample_rate=8000, codec=codec, network=network, **windows))
    return Separator(system, jax.jit(system.init)(jax.random.key(0)), name="small", windows=2)


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_separator_is_copied_and_pickled(rng, small, travel):
    x = rng.standard_normal(5000).astype(np.float32)
    other = travel(small)
    assert (other.name, other.windows, other.wiener) == ("small", 2, 0)
    for name, stem in small(x, 8000).items():
        np.testing.assert_array_equal(other(x, 8000)[name], stem)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64])
def test_other_precisions_are_computed_in_float32(rng, small, dtype):
    x = (rng.standard_normal((2, 4000)) / 5).astype(dtype)
    wide = x.astype(np.float32)
    for function in (
        lambda x: jaxsep.stft(x, n_fft=256),
        lambda x: jaxsep.fastica(x).sources,
        lambda x: jaxsep.bss_eval_sources(x, x[::-1], filter_length=8).sdr,
        lambda x: jaxsep.si_sdr(x, x[::-1]),
        lambda x: small(x, 8000)["vocals"],
    ):
        result = np.asarray(function(x))
        assert result.dtype in (np.float32, np.complex64)
        np.testing.assert_array_equal(result, function(wide))


def test_arrays_that_cannot_be_written_to_are_read(rng, small):
    x = rng.standard_normal(4000).astype(np.float32)
    x.setflags(write=False)
    assert small(x, 8000)["vocals"].shape == x.shape
