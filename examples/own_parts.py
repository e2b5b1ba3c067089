"""python -m train examples/own_parts.yaml --plugin examples/own_parts.py: four parts of your own."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

import jaxsep
from jaxsep.networks import NetworkFacts
from train.data.recipes import StereoPairs


@jaxsep.register("network", "per_bin_example")
@dataclass(frozen=True)
class PerBin(NetworkFacts):
    width: int = jaxsep.ranged(64, least=1)
    shape: tuple[int, ...] = ()  # of the outputs of a frame, once it is built
    output_range = "not negative"

    def build(self, *, sources, channels, bins):
        return replace(self, shape=(sources, channels, bins))

    def init(self, key, features):
        ins, outs = features.shape[1] * features.shape[2], math.prod(self.shape)
        first, last = (jax.random.normal(k, (ins, outs)) for k in jax.random.split(key))
        first, last = first[:, : self.width] / ins**0.5, last[: self.width] / self.width**0.5
        return {"params": {"first": first, "last": last}}

    def apply(self, variables, features, *, train=False, key=None, mask=None, axis_name=None):
        x = jnp.moveaxis(features.reshape(len(features), -1, features.shape[-1]), 1, 2)
        y = jax.nn.softplus(jax.nn.relu(x @ variables["params"]["first"]) @ variables["params"]["last"])
        return jnp.moveaxis(y.reshape(*y.shape[:2], *self.shape), 1, -1), {}


@jaxsep.register("loss", "log_error_example")
@dataclass(frozen=True)
class LogError:
    reads = "magnitudes"

    def __call__(self, estimate, reference):
        return jnp.mean(jnp.abs(jnp.log(estimate + 0.1) - jnp.log(reference + 0.1)), axis=(1, 2, 3, 4))


@jaxsep.register("head", "softmax_example")
@dataclass(frozen=True)
class Softmax:
    shares, direct = True, False
    ranges = staticmethod(lambda signed: {"any", "not negative", "unit"})

    def __call__(self, outputs, size, restore):
        return jax.nn.softmax(outputs, axis=1), jax.nn.softmax(outputs, axis=1) * size


@jaxsep.register("recipe", "loud_pairs_example")
@dataclass(frozen=True)
class LoudPairs(StereoPairs):
    def find(self, data, folder, sources, part):
        return [track for track in super().find(data, folder, sources, part) if "loud" in track.name]
