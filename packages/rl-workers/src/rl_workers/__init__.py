"""rl_workers: rollout workers over Gymnasium environments, in this process or on Ray."""

from rl_workers.callbacks import Callbacks, MultiCallbacks, overridden
from rl_workers.envs import EnvContext, env_spaces, make_env, register_env
from rl_workers.errors import EnvError, WorkerError
from rl_workers.evaluation import EvaluationWorkers
from rl_workers.flow.results import Episode, EpisodeMetrics
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.options import RolloutOptions
from rl_workers.rollout_worker import RolloutWorker
from rl_workers.sampler import Sampler
from rl_workers.worker_set import WorkerSet

__all__ = [
    "Callbacks",
    "EnvContext",
    "EnvError",
    "Episode",
    "EpisodeMetrics",
    "EvaluationWorkers",
    "MultiAgentEnv",
    "MultiCallbacks",
    "RolloutOptions",
    "RolloutWorker",
    "Sampler",
    "WorkerError",
    "WorkerSet",
    "__version__",
    "env_spaces",
    "make_env",
    "overridden",
    "register_env",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("rl-workers")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
