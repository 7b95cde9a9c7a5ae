"""The hooks of a trainer, and several callbacks in one config."""

from __future__ import annotations

import pytest
from tiny_trainers import COUNTER, TINY, TINY_PPO

from rl_algos import PPO, ConfigError
from rl_algos.setup import callbacks_of
from rl_algos.trainer import Trainer
from rl_workers import Callbacks, MultiCallbacks


class Hear(Callbacks):
    """Keeps what it is told; `made` are all objects of this class."""

    made = []

    def __init__(self):
        self.told = []
        Hear.made.append(self)

    def on_sub_environment_created(self, *, worker, sub_environment, env_context):
        self.told.append(("environment", env_context.vector_index))

    def on_trainer_init(self, *, trainer):
        self.told.append(("init", trainer))

    def on_learn_on_batch(self, *, policy, train_batch, result):
        self.told.append(("learn", policy, train_batch.count))
        result["rows"] = train_batch.count

    def on_train_result(self, *, trainer, result):
        self.told.append(("result", trainer, result["training_iteration"]))
        result["per_env"] = result["timesteps_total"] / 8
        result["odd"] = float("inf")
        result["custom_metrics"] |= {"good": 1.5, "bad": float("nan")}


class Late(Callbacks):
    """Sees what the callbacks before it have done."""

    def on_train_result(self, *, trainer, result):
        result["seen"] = result["per_env"]


@pytest.fixture(autouse=True)
def nobody_yet():
    Hear.made = []


@pytest.mark.torch
def test_the_trainer_tells_one_object_of_everything():
    with PPO({**TINY_PPO, "callbacks": Hear}) as trainer:
        (hooks,) = Hear.made
        assert hooks is trainer.workers.callbacks
        assert hooks.told == [*[("environment", i) for i in range(8)], ("init", trainer)]
        hooks.told.clear()
        with pytest.warns(RuntimeWarning, match="left out"):
            result = trainer.train()
        policy = trainer.get_policy()
        assert hooks.told == [("learn", policy, 32), ("result", trainer, 1)]
    assert result["info"]["learner"]["default_policy"]["custom_metrics"] == {"rows": 32.0}
    assert result["per_env"] == 4.0
    assert trainer.last_result is result


def test_numbers_that_are_none_are_left_out_and_named():
    keys = {**TINY, "callbacks": Hear}
    with COUNTER(keys) as trainer, pytest.warns(RuntimeWarning) as caught:
        result = trainer.train()
    messages = [str(w.message) for w in caught]
    assert messages == [
        "custom metric left out of the result: {'bad': nan}",
        "figure of on_train_result left out of the result: {'odd': inf}",
    ]
    assert result["custom_metrics"]["good"] == 1.5
    assert "bad" not in result["custom_metrics"]
    assert "odd" not in result


def test_evaluation_has_callbacks_of_its_own():
    with COUNTER({**TINY, "callbacks": Hear, "evaluation_duration": 2}) as trainer:
        trainer.evaluate()
        training, evaluation = Hear.made
        assert [what for what, *_ in evaluation.told] == ["environment"] * 2
        assert training is trainer.workers.callbacks


@pytest.mark.parametrize(
    "callbacks", [[Hear, Late], (Hear, Late), ["test_callbacks:Hear", "test_callbacks:Late"]]
)
def test_several_callbacks_hear_in_order(callbacks):
    found = callbacks_of(callbacks)
    with COUNTER({**TINY, "callbacks": found}) as trainer:
        assert isinstance(trainer.workers.callbacks, MultiCallbacks)
        with pytest.warns(RuntimeWarning, match="left out"):
            assert trainer.train()["seen"] == 4.0


def test_a_trainer_whose_hook_fails_is_stopped():
    stopped = []

    class Fail(Callbacks):
        def on_trainer_init(self, *, trainer):
            assert isinstance(trainer, Trainer)
            trainer.workers.local_worker.stop = lambda: stopped.append(True)
            raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        COUNTER({**TINY, "callbacks": Fail})
    assert stopped == [True]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (dict, "<class 'dict'> is not a subclass of rl_workers.Callbacks"),
        (Hear.on_trainer_init, "on_trainer_init.* is not a subclass"),
        ([Hear, 3], "callbacks: 3 is not a subclass"),
        ("collections:OrderedDict", "OrderedDict'> is not a subclass"),
        ("test_callbacks:Heer", "'test_callbacks:Heer' cannot be imported"),
    ],
)
def test_what_is_no_callback_is_named(callbacks, message):
    with pytest.raises(ConfigError, match=message):
        COUNTER({**TINY, "callbacks": callbacks})
