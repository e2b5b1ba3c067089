"""Separation without training: the ceiling that known sources give, and what rules alone reach."""

from jaxsep.baselines.hpss import hpss as hpss
from jaxsep.baselines.oracle import ORACLES as ORACLES
from jaxsep.baselines.oracle import oracle as oracle
from jaxsep.baselines.repet import repet as repet
