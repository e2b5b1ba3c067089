"""Importers: weights of other programs as models of ours. What they read is data; none of it is executed."""

from __future__ import annotations

from jaxsep.importers.openunmix import import_openunmix as import_openunmix
from jaxsep.importers.spleeter import import_spleeter as import_spleeter
