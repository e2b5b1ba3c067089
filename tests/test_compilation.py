"""Options of XLA that networks ask for: only what is known, and the same numbers."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import pytest

from jaxsep.codecs import STFT, Codec
from jaxsep.compilation import compiler_options
from jaxsep.losses import Discriminative
from jaxsep.networks import DPCRN, FeedForward, LSTMMask, UNet
from jaxsep.optimizers import SGD
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the options are a CPU's")
OPTION = "xla_cpu_experimental_ynn_fusion_type"


@dataclass(frozen=True)
class Odd(UNet):
    """Asks for one option that XLA has, one that it never had, and a value that it lacks."""

    @property
    def cpu_options(self):
        return {"xla_cpu_enable_fast_math": "False", "xla_cpu_no_such_option": "1", OPTION: "NO_SUCH_VALUE"}


def test_unknown_options_are_left_out():
    assert compiler_options(Odd()) == {"xla_cpu_enable_fast_math": "False"}
    assert compiler_options(FeedForward()) == {}


@pytest.mark.parametrize("flag", ["--xla_cpu_enable_fast_math=true", "--xla_cpu_enable_fast_math"])
def test_what_the_user_set_stays(monkeypatch, flag):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_foo=1 {flag}")
    assert compiler_options(Odd()) == {}


def test_the_options_are_a_cpus(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options(Odd()) == {}


def test_a_separator_is_compiled_with_them(monkeypatch):
    monkeypatch.setattr("jaxsep.separator.compiler_options", lambda network: {"xla_cpu_no_such_option": "1"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        Separator.from_pretrained("sounds")(np.zeros(22050, np.float32), 22050)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [UNet(levels=2, filters=8), LSTMMask(layers=2, width=300), DPCRN(levels=3, filters=8, width=16)],
    ids=lambda network: network.name,
)
def test_a_training_step_is_the_same_with_and_without_and_every_time(network):
    options = compiler_options(network)
    if not options:
        pytest.skip("this XLA has no such option")
    codec = Codec(STFT(n_fft=128, hop_length=32))
    system = System(SystemConfig(sources=("a", "b"), residual="b", codec=codec, network=network))
    optimizer = SGD(learning_rate=1.0)()
    step = partial(train_step, system=system, loss=Discriminative(), optimizer=optimizer)
    batch = make_batch(np.random.default_rng(0).standard_normal((3, 2, 4000)))
    state = init_state(system, optimizer)
    fast = jax.jit(step, compiler_options=options)
    (ours, metrics), (again, _), (plain, expected) = jax.device_get(
        [fast(state, batch), fast(state, batch), jax.jit(step)(state, batch)]
    )
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, ours.params, again.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours.params, plain.params)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours.params, state.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
