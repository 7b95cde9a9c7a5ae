"""Ray Tune over the whole stack, on a cluster of two CPUs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import ray
from clusters import local_cluster
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from toy_envs import Corridor

from rl_algos import PPO, ConfigError, build_trainer, get_algorithm
from rl_algos.tune import PPOTrainer, make_trainable, register

pytestmark = [pytest.mark.ray, pytest.mark.extras]

SMALL = {
    "env": "toy_envs:Corridor",
    "train_batch_size": 128,
    "num_envs_per_worker": 4,
    "sgd_minibatch_size": 64,
    "num_sgd_iter": 2,
    "fcnet_hiddens": [8],
    "seed": 1,
}
LEARNER = "info/learner/default_policy/learner_stats"


@pytest.fixture(autouse=True, scope="module")
def ray_cluster():
    with local_cluster():
        yield


def run_config(tmp_path, **options):
    return tune.RunConfig(storage_path=str(tmp_path), verbose=0, **options)


def test_tune_run_ends_at_the_stop_of_the_config_and_keeps_a_checkpoint(tmp_path):
    config = {"env": "CartPole-v1", "stop": {"timesteps_total": 2000}}
    analysis = tune.run(PPOTrainer, config=config, storage_path=str(tmp_path), verbose=0)
    (trial,) = analysis.trials
    assert str(trial).startswith("PPO_CartPole-v1_")
    result = trial.last_result
    assert (result["timesteps_total"], result["training_iteration"]) == (2048, 2)
    assert result["episode_reward_mean"] > 8
    frame = analysis.trial_dataframes[trial.trial_id]
    assert frame["episode_reward_mean"].notna().all()
    assert frame["timesteps_total"].tolist() == [1024, 2048]
    with PPO.from_checkpoint(trial.checkpoint.path) as trainer:
        assert trainer.train()["timesteps_total"] == 3072


def test_a_grid_search_by_name_over_flat_and_nested_keys(tmp_path):
    register()
    space = {**SMALL, "lr": tune.grid_search([0.001, 0.01]), "model": {"fcnet_hiddens": [4]}}
    del space["fcnet_hiddens"]
    space["workers"] = {"num_envs_per_worker": tune.grid_search([4])}
    del space["num_envs_per_worker"]
    tuner = tune.Tuner(
        "PPO",
        param_space=space,
        tune_config=tune.TuneConfig(metric="episode_reward_mean", mode="max"),
        run_config=run_config(
            tmp_path,
            stop={"training_iteration": 2},
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
        ),
    )
    results = tuner.fit()
    assert not results.errors
    rates = {r.config["lr"]: r.metrics["info"]["learner"]["default_policy"] for r in results}
    assert rates.keys() == {0.001, 0.01}
    for lr, learned in rates.items():
        assert learned["learner_stats"]["cur_lr"] == lr
    best = results.get_best_result()
    assert best.metrics["timesteps_total"] == 256
    assert len(list(Path(best.path).glob("checkpoint_*"))) == 1
    with PPO.from_checkpoint(best.checkpoint.path, env=Corridor) as trainer:
        assert trainer.config["fcnet_hiddens"] == (4,)
        assert trainer.iteration == 2


def test_population_based_training_takes_weights_from_the_better_and_new_hyperparameters(tmp_path):
    scheduler = PopulationBasedTraining(
        metric=f"{LEARNER}/cur_lr",  # the higher rate is the better one: who is copied is certain
        mode="max",
        time_attr="training_iteration",
        perturbation_interval=2,
        quantile_fraction=0.5,
        hyperparam_mutations={"lr": [0.01, 0.02], "entropy_coeff": [0.03, 0.05]},
        synch=True,
    )
    tuner = tune.Tuner(
        PPOTrainer,
        param_space={**SMALL, "lr": tune.grid_search([1e-9, 0.01]), "entropy_coeff": 0.001},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=run_config(tmp_path, stop={"training_iteration": 4}),
    )
    results = tuner.fit()
    assert not results.errors
    copied, best = sorted(results, key=lambda result: result.config["entropy_coeff"], reverse=True)
    assert best.config["entropy_coeff"] == 0.001
    assert copied.config["entropy_coeff"] in (0.03, 0.05)
    assert copied.config["lr"] in (0.01, 0.02)
    for result in (copied, best):
        stats = result.metrics["info"]["learner"]["default_policy"]["learner_stats"]
        assert stats["cur_lr"] == result.config["lr"]
        assert stats["entropy_coeff"] == result.config["entropy_coeff"]
        assert result.metrics["timesteps_total"] == 4 * 128


# Tune leaves the files of its loggers open when it is interrupted.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_experiment_is_restored(tmp_path):
    class Interrupt(tune.Callback):
        def on_trial_save(self, iteration, trials, trial, **info):
            if trial.last_result["training_iteration"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

    tuner = tune.Tuner(
        PPOTrainer,
        param_space=SMALL,
        run_config=run_config(
            tmp_path,
            name="cut",
            stop={"training_iteration": 4},
            callbacks=[Interrupt()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    )
    (cut,) = tuner.fit()
    assert cut.metrics["training_iteration"] < 4
    assert tune.Tuner.can_restore(str(tmp_path / "cut"))
    (whole,) = tune.Tuner.restore(str(tmp_path / "cut"), trainable=PPOTrainer).fit()
    assert whole.error is None
    assert whole.metrics["training_iteration"] == 4
    assert whole.metrics["timesteps_total"] == 4 * 128
    steps = whole.metrics_dataframe["timesteps_total"]
    assert np.all(np.diff(steps) >= 0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_workers": 2}, r"asks for 3 CPUs \(1 for itself, 2 for 2 workers\).* has 2\. Lower"),
        ({"num_wokers": 2}, "no key 'num_wokers'; did you mean 'num_workers'"),
        ({"train_batch_size": 130}, "train_batch_size=130 is not a multiple"),
        ({"stop": {"timesteps_total": "many"}}, "number to reach, not 'many'"),
    ],
)
def test_what_cannot_run_is_an_error_before_anything_runs(tmp_path, keys, message):
    tuner = tune.Tuner(PPOTrainer, param_space={**SMALL, **keys}, run_config=run_config(tmp_path))
    started = perf_counter()
    with pytest.raises(ValueError, match=message) as raised:
        tuner.fit()
    assert perf_counter() - started < 10
    assert isinstance(raised.value, ConfigError) or "stop" in keys


def test_workers_are_in_the_placement_group_of_their_trial(tmp_path):
    ppo = get_algorithm("PPO")
    own = build_trainer("Own", {**SMALL, "taste": 1}, ppo.default_policy).with_updates(
        default_config=type("OwnConfig", (ppo.config_class,), {}), execution_plan=ppo.execution_plan
    )

    class Watched(make_trainable(own)):
        def step(self):
            (worker,) = self.trainer.workers.remote_workers
            groups = [_group(None), ray.get(worker.apply.remote(_group))]
            return {**super().step(), "groups": groups, "free": ray.available_resources()}

    results = tune.Tuner(
        Watched,
        param_space={**SMALL, "num_workers": 1, "lr": tune.grid_search([0.01, 0.02])},
        run_config=run_config(tmp_path, stop={"training_iteration": 1}),
    ).fit()
    assert not results.errors
    groups = [result.metrics["groups"] for result in results]
    for of_trial, of_worker in groups:
        assert of_trial == of_worker is not None
    assert groups[0] != groups[1]
    for result in results:  # each had both CPUs: they ran one after the other
        assert result.metrics["free"].get("CPU", 0) == 0


def _group(worker):
    from ray.util import get_current_placement_group

    group = get_current_placement_group()
    return group and group.id.hex()
