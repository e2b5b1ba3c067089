"""python examples/blind_room.py: two voices in a room, two microphones, nothing known of either."""

import numpy as np

import jaxsep
from jaxsep.bss import auxiva
from jaxsep.examples import song

RATE = 16000
parts = song(6.0, RATE)
dry = np.stack([parts["vocals"], parts["accompaniment"]])
rng = np.random.default_rng(0)
# Each source reaches each microphone later and with an echo of its own.
echo = np.exp(-np.arange(800) / 160) * rng.standard_normal((2, 2, 800)) / 8
for source, microphone, delay in ((0, 0, 0), (0, 1, 9), (1, 0, 7), (1, 1, 0)):
    echo[source, microphone, delay] += 1.0
images = np.stack([[np.convolve(s, h)[: len(s)] for h in hs] for s, hs in zip(dry, echo, strict=True)])
heard = images.sum(axis=0).astype(np.float32)  # (microphones, samples)

found = np.asarray(auxiva(heard, n_fft=2048, hop_length=512))  # at the level of microphone 1
scores = jaxsep.bss_eval_sources(images[:, 0].astype(np.float32), found)
before = jaxsep.bss_eval_sources(images[:, 0].astype(np.float32), np.stack([heard[0]] * 2), permute=False)
for name, after, then in zip(("voice", "band"), scores.sir, before.sir, strict=True):
    print(f"{name}: interference {float(then):.1f} dB below it in the microphone, {float(after):.1f} dB now")
