"""Dataflow operators: short plans that read top to bottom, in process or over Ray actors.

    plan = (ParallelRollouts(workers)
            .combine(ConcatBatches(4000))
            .for_each(StandardizeFields(["advantages"]))
            .for_each(TrainOneStep(workers, num_sgd_iter=10, sgd_minibatch_size=256))
            .for_each(StandardMetricsReporting(workers)))
    for result in plan: ...

Operators are plain callables. `print(plan)` shows the plan as a picture. Ray is imported only when
remote actors are.
"""

from rl_workers.flow.gradients import (
    ApplyGradients,
    AverageGradients,
    ComputeGradients,
    Gradients,
)
from rl_workers.flow.iterators import NOT_READY, LocalIterator
from rl_workers.flow.operators import (
    ConcatBatches,
    NoExperience,
    SelectExperiences,
    StandardizeFields,
    TrainOneStep,
    receive,
)
from rl_workers.flow.parallel import ParallelIterator, from_actors, from_items
from rl_workers.flow.results import StandardMetricsReporting, finite
from rl_workers.flow.rollouts import ParallelRollouts

__all__ = [
    "NOT_READY",
    "ApplyGradients",
    "AverageGradients",
    "ComputeGradients",
    "ConcatBatches",
    "Gradients",
    "LocalIterator",
    "NoExperience",
    "ParallelIterator",
    "ParallelRollouts",
    "SelectExperiences",
    "StandardMetricsReporting",
    "StandardizeFields",
    "TrainOneStep",
    "finite",
    "from_actors",
    "from_items",
    "receive",
]
