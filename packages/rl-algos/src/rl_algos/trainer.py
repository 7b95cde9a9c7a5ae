"""`Trainer`: runs an execution plan, saves and restores what it has learned."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rl_algos import acting
from rl_algos.config import TrainerConfig
from rl_algos.evaluation import Evaluation
from rl_algos.saving import restore_trainer, save_trainer
from rl_algos.setup import imported, make_policies, make_workers, set_log_level
from rl_sample.protocols import DEFAULT_POLICY_ID
from rl_workers import overridden
from rl_workers.flow import NOT_READY, finite

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition


class Trainer:
    """Runs an execution plan, one result per call of `train`.

    Attributes:
        config: its resolved config.
        origin: one line that says which defaults lie under the user's keys.
        workers: rollout workers and learners, with their counters.
        plan: the iterator that gives the results; `print(trainer.plan)` shows it as a picture.
        iteration: results given so far.
        seed: `config["seed"]`, or the one that was drawn.
        run_id: names this training in its checkpoints; a restored one goes on with it.
        last_result: what `train` gave last; after a restore, the numbers of it.
    """

    def __init__(self, definition: TrainerDefinition, config: TrainerConfig, origin: str) -> None:
        """Make the policies, start the workers and build the plan."""
        self.definition = definition
        self.config = config
        self.origin = origin
        self.iteration = 0
        self.time_total_s = 0.0
        self.run_id = secrets.token_hex(4)
        self.last_result: dict[str, Any] | None = None
        given = config.debugging.seed
        self.seed = secrets.randbits(31) if given is None else given
        set_log_level(config.debugging.log_level)
        policies = make_policies(config, definition.default_policy, self.seed)
        self.workers = make_workers(config, policies, self.seed)
        self._evaluation: Evaluation | None = None
        try:
            self.plan = definition.execution_plan(self.workers, config)
            if config.evaluation.evaluation_interval is not None:  # a bad key shall show at once
                self._evaluation = Evaluation.of_config(config, policies)
            if (call := overridden(self.workers.callbacks, "on_trainer_init")) is not None:
                call(trainer=self)
        except BaseException:
            self.stop()
            raise

    def train(self) -> dict[str, Any]:
        """One iteration of the plan: sample, learn, report; then evaluate, if it is time to.

        Returns:
            `episode_reward_mean` (absent until an episode has finished), `timesteps_total`,
            `info["learner"]`, `timers`, … under RLlib's names; `evaluation` in every
            `evaluation_interval`-th result.

        Raises:
            NoExperience: not a single step was sampled; names the source that gave none.
        """
        started = perf_counter()
        section = self.config.evaluation
        interval, evaluating = section.evaluation_interval, None
        due = interval is not None and (self.iteration + 1) % interval == 0
        if due and section.evaluation_parallel_to_training:
            evaluating = self._start_evaluation()
        while (result := next(self.plan)) is NOT_READY:
            pass
        self.iteration += 1
        if due:
            result["evaluation"] = (evaluating or self._start_evaluation())()
        seconds = perf_counter() - started
        self.time_total_s += seconds
        result["training_iteration"] = self.iteration
        result["time_this_iter_s"], result["time_total_s"] = seconds, self.time_total_s
        self._tell_of(result)
        self.last_result = result
        return result

    def evaluate(self) -> dict[str, Any]:
        """Play `evaluation_duration` whole episodes (or steps) with the policies as they are now.

        Workers, environments, seeds and generators are the evaluation's own: training goes on as
        if nothing had happened. The same iteration gives the same episodes again.

        Returns:
            `{"evaluation": figures}` with `episode_reward_mean`, `_min`, `_max`,
            `episode_len_mean`, `episodes_this_iter`, `custom_metrics`, `hist_stats`, … and
            `training_iteration`, after which the policies were these.
        """
        return {"evaluation": self._start_evaluation()()}

    def get_policy(self, policy_id: str = DEFAULT_POLICY_ID) -> Any:
        """The policy that learns under this id.

        Raises:
            KeyError: there is none; those that exist are named.
        """
        learners = self.workers.learners
        if policy_id not in learners:
            raise KeyError(f"there is no policy {policy_id!r}, only {sorted(learners)}")
        return learners[policy_id]

    def compute_single_action(
        self,
        obs: Any,
        state: Any = None,
        *,
        policy_id: str = DEFAULT_POLICY_ID,
        explore: bool | None = None,
        prev_action: Any = None,
        prev_reward: float | None = None,
        action_mask: Any = None,
    ) -> Any:
        """What a policy does in one observation of the environment.

        Args:
            obs: as the environment gives it.
            state: a recurrent policy's state, from `get_policy().get_initial_state()` on.
            policy_id: who acts.
            explore: sample the action; None does as the config says.
            prev_action: the action before this one, for policies that read it; None: an episode's
                start.
            prev_reward: what it was paid.
            action_mask: [mask size], 1 where an action is legal.

        Returns:
            The action, as the environment takes it; (action, next state) where `state` is given.
        """
        return acting.act_for_one(
            self.get_policy(policy_id), obs, state, explore=explore,
            prev_action=prev_action, prev_reward=prev_reward, action_mask=action_mask,
        )  # fmt: skip

    def compute_actions(
        self,
        obs: Any,
        state: Any = None,
        *,
        policy_id: str | None = None,
        explore: bool | None = None,
        prev_action: Any = None,
        prev_reward: Any = None,
        action_mask: Any = None,
    ) -> Any:
        """What policies do in many observations, in one call of each policy.

        Args:
            obs: [B, …] observations in the space's nested form, a list of B, or {agent: one}.
            state: recurrent states [B, …] each, or {agent: state}; agents that have none begin.
            policy_id: who acts; None: for each agent whom the `policy_mapping_fn` says, else the
                default policy.
            explore: sample the actions; None does as the config says.
            prev_action: [B, …] actions before these, or {agent: action}; likewise the others.
            prev_reward: [B] what they were paid.
            action_mask: [B, mask size], 1 where an action is legal.

        Returns:
            Actions [B, …] as the environment takes them, or {agent: action}; (actions, next
            states) where `state` is given.
        """
        inputs = {
            "explore": explore, "prev_action": prev_action, "prev_reward": prev_reward,
            "action_mask": action_mask,
        }  # fmt: skip
        if acting.is_of_agents(obs, self.workers.learners):
            return acting.act_for_agents(self._policy_of(policy_id), obs, state, **inputs)
        return acting.act_for_many(
            self.get_policy(policy_id or DEFAULT_POLICY_ID), obs, state, **inputs
        )

    def save(
        self,
        directory: str | Path = "checkpoints",
        *,
        keep: int | None = None,
        score_by: str | None = None,
    ) -> Path:
        """Write `directory/checkpoint_000012`: all that going on and acting need.

        The checkpoint is there as a whole or not at all. `policies/<id>` in it is what
        `rl_policy.load_policy` loads for acting.

        Args:
            directory: of this run; it is made if it is not there.
            keep: checkpoints of this run that stay, the newest ones; None: all.
            score_by: those stay whose result has the highest `score_by` (`min-…`: the lowest), and
                the newest one.

        Raises:
            CheckpointError: it could not be written. Training can go on, and the checkpoints that
                were there are as they were.
        """
        return save_trainer(self, directory, keep=keep, score_by=score_by)

    def restore(self, path: str | Path) -> None:
        """Go on where `save` left off.

        Args:
            path: a checkpoint, or a directory of some, whose newest is meant. In place of one that
                is damaged the next older one is taken, with a warning.

        Raises:
            CheckpointError: none is whole, or it is of another algorithm, of other policies or of
                other networks; the trainer is as it was.
        """
        restore_trainer(self, path)

    def stop(self) -> None:
        """Close the environments and end the workers, those that evaluate too."""
        try:
            if self._evaluation is not None:
                self._evaluation.stop()
        finally:
            self.workers.stop()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start_evaluation(self) -> Callable[[], dict[str, Any]]:
        """Evaluate the policies as they are now; call what is returned for the figures."""
        policies = self.workers.learners
        if self._evaluation is None:
            self._evaluation = Evaluation.of_config(self.config, policies)
        step = self.workers.counters["num_env_steps_sampled"]
        return self._evaluation.start(policies, seed=self.seed, iteration=self.iteration, step=step)

    def _tell_of(self, result: dict[str, Any]) -> None:
        """Let `on_train_result` see a result; a NaN or infinity that it adds is left out."""
        call = overridden(self.workers.callbacks, "on_train_result")
        if call is None:
            return
        before = set(result)
        call(trainer=self, result=result)
        result["custom_metrics"] = finite(result["custom_metrics"], "custom metric")
        added = {k: v for k, v in result.items() if k not in before and isinstance(v, float)}
        kept = finite(added, "figure of on_train_result")
        for name in added.keys() - kept.keys():
            del result[name]

    def _policy_of(self, policy_id: str | None) -> Callable[[Any], Any]:
        """Which policy an agent plays: the one that is given, or as the mapping function says."""
        mapping_fn = imported(self.config.multiagent.policy_mapping_fn)
        if policy_id is None and mapping_fn is not None:
            return lambda agent: self.get_policy(mapping_fn(agent, 0, 0))
        policy = self.get_policy(policy_id or next(iter(self.workers.learners)))
        return lambda agent: policy
