"""What the command line can ask for: it must know these before it loads anything."""

from __future__ import annotations

from enum import StrEnum


class CandidatesFrom(StrEnum):
    RETRIEVAL = "retrieval"
    UNIFORM = "uniform"


class ArmName(StrEnum):
    ZERO_SHOT = "zero_shot"
    ZERO_SHOT_LONG = "zero_shot_long"
    ZERO_SHOT_LONGER = "zero_shot_longer"
    GENERATED = "generated"
    GENERATED_PAIR = "generated_pair"
    BEST_OF_N = "best_of_n"
    PDO1 = "pdo1"
    PDO3 = "pdo3"
    PDO3_NO_PERTURBATION = "pdo3_no_perturbation"
    REVEALS_VALIDATION = "reveals_validation"
