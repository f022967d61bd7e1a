"""Which latents are learned faster? One diffusion model on several, over seeds, with intervals."""

from ssvae.bench.claims import Claim, verdict
from ssvae.bench.convergence import Speedup, holm, speedup, steps_to_target, student
from ssvae.bench.effects import Pair, PairedCurves, Quantity, describe, effects, quantities_of
from ssvae.bench.interventions import run_interventions
from ssvae.bench.records import Arm, Record, RunKey, read_records
from ssvae.bench.scales import SCALES, Scale
from ssvae.bench.stages import Options
from ssvae.bench.tables import arms_table, effects_table
from ssvae.bench.vaes import run_vaes

__all__ = [
    "SCALES",
    "Arm",
    "Claim",
    "Options",
    "Pair",
    "PairedCurves",
    "Quantity",
    "Record",
    "RunKey",
    "Scale",
    "Speedup",
    "arms_table",
    "describe",
    "effects",
    "effects_table",
    "holm",
    "quantities_of",
    "read_records",
    "run_interventions",
    "run_vaes",
    "speedup",
    "steps_to_target",
    "student",
    "verdict",
]
