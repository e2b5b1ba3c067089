"""Generated clips, for classes of which few recordings are free: parts of the kind ``generator``.

A generator is called with a NumPy generator, samples and Hz, and gives ``(samples,)`` float32.
"""

from __future__ import annotations

from train.data.generators.sirens import Siren as Siren
