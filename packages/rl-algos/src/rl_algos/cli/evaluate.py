"""`rl evaluate CKPT`: episodes with a saved policy, as figures, in a window or as videos."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer import Option

from rl_algos.cli.common import json_object, make_console, user_errors


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint, or a run, whose newest one is meant.")
    ],
    episodes: Annotated[int, Option(help="How many are played.", min=1)] = 10,
    render: Annotated[bool, Option("--render", help="Show them in a window.")] = False,
    video_dir: Annotated[Path | None, Option(help="Write a video of each into it.")] = None,
    seed: Annotated[int | None, Option(help="Default: derived from the training's.")] = None,
    explore: Annotated[
        bool, Option("--explore", help="Draw actions, instead of taking the most likely ones.")
    ] = False,
    env: Annotated[str | None, Option(help="Another environment with the same spaces.")] = None,
    config: Annotated[
        str, Option(help="""JSON of evaluation_config keys, as in '{"env_config": {}}'.""")
    ] = "{}",
    verbose: Annotated[
        int, Option("-v", "--verbose", count=True, help="Log more and show tracebacks.")
    ] = 0,
) -> None:
    """Play whole episodes with a saved policy and print their returns and lengths."""
    with user_errors(verbose):
        from rl_algos import evaluation
        from rl_algos.checkpoint import locate

        keys = json_object("--config", config)
        if render and video_dir is not None:
            raise ValueError("--render opens a window, --video-dir writes files: give one of them")
        found = locate(checkpoint)
        console = make_console()
        console.print(f"checkpoint: {found}", soft_wrap=True)
        if env is not None:
            keys["env"] = env
        if render or video_dir is not None:
            keys |= _watched(found, keys.get("env"), video_dir, episodes)
        wanted = explore or keys.pop("explore", None)
        figures = evaluation.evaluate(found, episodes, explore=wanted, seed=seed, **keys)
        console.print(as_table(figures))
        if video_dir is not None:
            console.print(f"videos: {video_dir}", soft_wrap=True)


def as_table(figures: Mapping[str, Any]) -> Table:
    """Mean ± deviation, least and most of every episode's return and length."""
    played = figures["hist_stats"]
    table = Table(title=f"{len(played['episode_reward'])} episodes", title_justify="left")
    table.add_column("")
    for name in ("mean ± std", "min", "max"):
        table.add_column(name, justify="right")
    table.add_row("return", *_spread(played["episode_reward"]))
    policies = {k: v for k, v in played.items() if k.startswith("policy_")}
    for name, returns in policies.items() if len(policies) > 1 else ():
        table.add_row(name.removesuffix("_reward").replace("_", " ", 1), *_spread(returns))
    table.add_row("length", *_spread(played["episode_lengths"]))
    return table


def _spread(values: list[float]) -> tuple[str, str, str]:
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return f"{mean:,.1f} ± {deviation:,.1f}", f"{min(values):,.1f}", f"{max(values):,.1f}"


def _watched(found: Path, env: Any, video_dir: Path | None, episodes: int) -> dict[str, Any]:
    """Keys by which the environment is watched, one of it."""
    from rl_algos import rendering
    from rl_algos.stored import decode_config

    if env is None:
        stored = json.loads((found / "config.json").read_bytes())
        env = decode_config({"env": stored["env"]}, {})["env"]
    if video_dir is None:
        watched = rendering.in_window(env)
    else:
        watched = rendering.on_video(env, video_dir, episodes, found.name)
    return {"env": watched, "num_envs_per_worker": 1, "vectorize": False}
