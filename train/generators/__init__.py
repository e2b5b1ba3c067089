"""Generated clips, for classes of which few recordings are free."""

from __future__ import annotations

from train.generators.sirens import siren

#: Source -> what generates a clip of it, given a NumPy generator, samples and Hz.
GENERATORS = {"siren": siren}
