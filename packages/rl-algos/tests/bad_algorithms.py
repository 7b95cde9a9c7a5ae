"""Algorithms with a mistake, for `--run bad_algorithms:NAME`."""

from __future__ import annotations

from rl_algos import build_trainer
from rl_policy import build_policy, discounted


def algorithm(spoil):
    """Policy gradient whose loss goes through `spoil(loss per row)`."""

    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        logp = dist_class(logits, model).logp(train_batch["actions"])
        return spoil(-logp * train_batch["advantages"])

    policy = build_policy("BadPolicy", loss_fn=loss, postprocess_fn=discounted)
    return build_trainer("Bad", {"train_batch_size": 32}, policy)


NAN = algorithm(lambda rows: rows[0] * float("nan"))
PER_ROW = algorithm(lambda rows: rows)
NOTHING = algorithm(lambda rows: None)
A_STRING = algorithm(lambda rows: (rows[0], "total"))
BROKEN = NAN.with_updates(execution_plan=lambda workers, config: workers + config)
FOR_WHOM = algorithm(lambda rows: {"adm": rows[0]})
