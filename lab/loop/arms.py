"""The arms: what each controls for, and how it spends the same number of demonstrations."""

from __future__ import annotations

from lab.learning.learning import Learning
from lab.loop.names import ArmName
from services.optimizer.plan import Plan


# Without an entry, an arm learns nothing: `generated` takes the first text of `pdo3`, unselected,
# and `generated_pair` the first texts of its first two paths, as rounds show two.
def learning_arms(plan: Plan, rounds: int) -> dict[ArmName, Learning]:
    paths = 3
    three = plan.model_copy(update={"paths": paths})
    # Rounds in name alone: nothing goes from one to the next but the best on the held-out events.
    independent = three.model_copy(
        update={"perturbed": False, "remembered": False, "paired": False}
    )
    return {
        ArmName.PDO3: Learning(three, rounds),
        ArmName.PDO3_NO_PERTURBATION: Learning(
            three.model_copy(update={"perturbed": False}), rounds
        ),
        ArmName.PDO1: Learning(three.model_copy(update={"paths": 1}), paths * rounds),
        ArmName.BEST_OF_N: Learning(independent, rounds),
        ArmName.REVEALS_VALIDATION: Learning(three, rounds, reveals_validation=True),
    }
