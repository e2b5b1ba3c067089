"""python examples/two_speakers.py: two people, two microphones; the mixing matrix from their distances."""

import numpy as np

import jaxsep
from jaxsep.bss import free_field_mixing
from jaxsep.examples import song

RATE = 16000
parts = song(6.0, RATE)
speech = np.stack([parts["vocals"], parts["accompaniment"]])
speakers = [[0.0, 0.0], [1.0, 0.2]]  # where they are, m
microphones = [[0.3, 0.8], [0.9, 0.9]]
mixing = np.asarray(free_field_mixing(speakers, microphones))  # a11, a12; a21, a22
heard = mixing @ speech  # x = A s

result = jaxsep.fastica(heard)  # knows neither speech nor mixing
scores = jaxsep.bss_eval_sources(speech, np.asarray(result.sources))
print("A, from the distances:\n", mixing.round(3))
# Found up to order and scale: columns as the sources turned out, scaled to 1 at the first microphone.
found = np.asarray(result.mixing)[:, np.asarray(scores.permutation)]
print("A, found, relative to microphone 1:\n", (found / found[0]).round(3))
print("A, true, relative to microphone 1:\n", (mixing / mixing[0]).round(3))
for name, sir in zip(("first", "second"), scores.sir, strict=True):
    print(f"{name} speaker: interference {float(sir):.0f} dB below")
