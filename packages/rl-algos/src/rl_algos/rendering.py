"""Environments that are watched while a policy plays: in a window, or as video files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym

from rl_algos.keys import ConfigError
from rl_workers import EnvContext, make_env


def in_window(env: Any) -> Callable[[EnvContext], gym.Env[Any, Any]]:
    """An environment, for the `env` key, that shows itself in a window in real time."""
    return lambda context: _made(env, context, "human")


def on_video(
    env: Any, directory: Path, episodes: int, name: str
) -> Callable[[EnvContext], gym.Env[Any, Any]]:
    """An environment, for the `env` key, whose episodes become `directory/name-episode-0.mp4`, ….

    Raises:
        ImportError: what writes videos is not installed; says what to install.
    """
    if find_spec("moviepy") is None:
        raise ImportError("videos need moviepy: pip install 'rl-algos[video]'", name="moviepy")

    def make(context: EnvContext) -> gym.Env[Any, Any]:
        plain = _made(env, context, "rgb_array")
        with warnings.catch_warnings():  # of a directory with videos: ours have their own names
            warnings.filterwarnings("ignore", ".*Overwriting existing videos")
            return _Videos(
                plain,
                str(directory),
                episode_trigger=lambda number: number < episodes,
                name_prefix=name,
                disable_logger=True,
            )

    return make


class _Videos(gym.wrappers.RecordVideo[Any, Any]):
    """Records nothing of an episode that is reset before its first step."""

    def reset(self, **kwargs: Any) -> Any:
        """Begin an episode."""
        if self.recording and len(self.recorded_frames) <= 1:
            self.recorded_frames, self.recording = [], False
            self.episode_id -= 1
        return super().reset(**kwargs)


def _made(env: Any, context: EnvContext, mode: str) -> gym.Env[Any, Any]:
    """One environment in a render mode, if it has it."""
    config = EnvContext({**context, "render_mode": mode})
    vars(config).update(vars(context))
    made = make_env(env, config)
    if not isinstance(made, gym.Env):
        raise ConfigError(f"env={env!r} cannot be watched: it is no gymnasium.Env")
    if made.render_mode != mode:
        modes = made.metadata.get("render_modes", [])
        made.close()
        raise ConfigError(
            f"env={env!r} cannot be watched: asked for render_mode={mode!r}, it has "
            f"render_mode={made.render_mode!r}; its render_modes are {modes}"
        )
    return made
