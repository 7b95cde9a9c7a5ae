"""`Trainer`: runs an execution plan, saves and restores what it has learned."""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rl_algos import checkpoint
from rl_algos.checkpoint import CheckpointError
from rl_algos.config import TrainerConfig
from rl_algos.setup import limit_threads, make_policies, make_workers
from rl_policy import ArtifactError, Policy
from rl_sample.protocols import DEFAULT_POLICY_ID
from rl_workers.flow import NOT_READY

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
    """

    def __init__(self, definition: TrainerDefinition, config: TrainerConfig, origin: str) -> None:
        """Make the policies, start the workers and build the plan."""
        self.definition = definition
        self.config = config
        self.origin = origin
        self.iteration = 0
        self.time_total_s = 0.0
        given = config.debugging.seed
        self.seed = secrets.randbits(31) if given is None else given
        policies = make_policies(config, definition.default_policy, self.seed)
        limit_threads(config.resources.num_cpus_for_driver)
        self.workers = make_workers(config, policies, self.seed)
        try:
            self.plan = definition.execution_plan(self.workers, config)
        except BaseException:
            self.workers.stop()
            raise

    def train(self) -> dict[str, Any]:
        """One iteration of the plan: sample, learn, report.

        Returns:
            `episode_reward_mean` (absent until an episode has finished), `timesteps_total`,
            `info["learner"]`, `timers`, … under RLlib's names.
        """
        started = perf_counter()
        while (result := next(self.plan)) is NOT_READY:
            pass
        self.iteration += 1
        seconds = perf_counter() - started
        self.time_total_s += seconds
        result["training_iteration"] = self.iteration
        result["time_this_iter_s"], result["time_total_s"] = seconds, self.time_total_s
        return result

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
        **inputs: Any,
    ) -> Any:
        """What the policy does in one observation of the environment.

        Args:
            obs: as the environment gives it.
            state: a recurrent policy's state, from `get_policy().get_initial_state()` on.
            policy_id: who acts.
            explore: sample the action; None does as the config says.
            **inputs: `prev_action`, `prev_reward`, `action_mask`.

        Returns:
            The action, as the environment takes it; (action, next state) where `state` is given.
        """
        policy = self.get_policy(policy_id)
        action, next_state, _ = policy.compute_single_action(obs, state, explore=explore, **inputs)
        return action if state is None else (action, next_state)

    def save(self, directory: str | Path = "checkpoints") -> Path:
        """Write `directory/checkpoint_000012`: weights, optimisers, filters, counters, config.

        The checkpoint is there as a whole or not at all. `policies/<id>` in it is what
        `rl_policy.load_policy` loads for acting.
        """
        path = Path(directory) / f"checkpoint_{self.iteration:06d}"
        about = {"algorithm": self.definition.name, "iteration": self.iteration}
        with checkpoint.new_checkpoint(path, **about) as draft:
            keys = checkpoint.encode_config(self.config.flat())
            (draft / "config.json").write_text(json.dumps(keys, indent=1))
            checkpoint.write_state(draft, "trainer", self._state())
            for policy_id, learner in self.workers.learners.items():
                name = quote(policy_id, safe="")
                checkpoint.write_state(draft / "learners", name, learner.state_dict())
                if isinstance(learner, Policy):
                    with suppress(ArtifactError):  # a policy without a network acts from its class
                        learner.save(draft / "policies" / name)
        return path

    def restore(self, path: str | Path) -> None:
        """Go on where `save` left off.

        Raises:
            CheckpointError: a file is missing, damaged or foreign, or it is of another algorithm
                or of other policies.
        """
        path = Path(path)
        manifest = checkpoint.check(path)
        state = checkpoint.read_state(path, "trainer")
        mine = {"algorithm": self.definition.name, "policies": sorted(self.workers.learners)}
        saved = {"algorithm": manifest["algorithm"], "policies": sorted(state["policies"])}
        for what, expected in mine.items():
            if saved[what] != expected:
                raise CheckpointError(f"{path} is of {what} {saved[what]}, this is of {expected}")
        states = {
            policy_id: checkpoint.read_state(path / "learners", quote(policy_id, safe=""))
            for policy_id in self.workers.learners
        }
        for policy_id, learner in self.workers.learners.items():
            learner.load_state_dict(states[policy_id])
        self.iteration, self.time_total_s = state["iteration"], state["time_total_s"]
        self.workers.counters.update(state["counters"])
        self.workers.metrics.load_state_dict(state["metrics"])
        self.plan.load_state_dict(state["plan"])
        self.workers.publish()

    def stop(self) -> None:
        """Close the environments and end the workers."""
        self.workers.stop()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "time_total_s": self.time_total_s,
            "policies": sorted(self.workers.learners),
            "counters": dict(self.workers.counters),
            "metrics": self.workers.metrics.state_dict(),
            "plan": self.plan.state_dict(),
        }
