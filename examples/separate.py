"""python examples/separate.py [SONG]: the voice of a song, file to file; without a song, of a made-up one."""

import sys

import soundfile

import jaxsep
from jaxsep.audio import AudioReader
from jaxsep.examples import song

separator = jaxsep.Separator.from_pretrained("vocals")
if len(sys.argv) > 1:
    reader = AudioReader(sys.argv[1])  # any format; reader.read() is (channels, samples) float32
    rate, mixture = reader.sample_rate, reader.read()
else:
    rate = 16000
    mixture = sum(song(6.0, rate).values())
stems = separator(mixture, rate)
for name, stem in stems.items():
    soundfile.write(f"{name}.wav", stem.T, rate, subtype="FLOAT")
    print(f"{name}.wav: {stem.shape[-1] / rate:.1f} s")
