"""Learning: env steps that each algorithm needs, with its presets and with bare defaults."""

from contextlib import ExitStack
from secrets import randbelow
from typing import Any

import harness


def runs(fresh: int) -> dict[str, list[dict]]:
    """{what is measured: one request per seed}."""
    new = [randbelow(2**31) for _ in range(fresh)]
    cartpole = {"env": "CartPole-v1", "target": 475.0}
    acrobot = {"env": "Acrobot-v1", "target": -100.0}
    pendulum = {"env": "Pendulum-v1", "target": -200.0}
    bare = {"window": 100, "preset": None}
    return {
        "PPO on CartPole-v1, preset": [
            {**cartpole, "seed": s, "window": 20, "max_steps": 100_000, "evaluation_episodes": 50}
            for s in [*range(5), *new]
        ],
        "PPO on CartPole-v1, defaults": over_seeds(3, **cartpole, **bare, max_steps=150_000),
        "PPO on Acrobot-v1, defaults": over_seeds(3, **acrobot, **bare, max_steps=500_000),
        "PPO on Pendulum-v1, preset": over_seeds(3, **pendulum, window=100, max_steps=200_000),
        "A2C on CartPole-v1, preset": over_seeds(
            5, algorithm="A2C", **cartpole, window=20, max_steps=150_000
        ),
        "A2C on CartPole-v1, defaults": over_seeds(
            5, algorithm="A2C", **cartpole, **bare, max_steps=250_000
        ),
        "A2C on Acrobot-v1, defaults": over_seeds(
            5, algorithm="A2C", **acrobot, **bare, max_steps=500_000
        ),
        "PG on CartPole-v1, defaults": over_seeds(
            5, algorithm="PG", **{**cartpole, "target": 200.0}, **bare, max_steps=200_000
        ),
        **{
            f"PPO-{cell[4:].upper()} on {env}, {framework}": over_seeds(
                5, **toy(env, target, max_steps), framework=framework, **{cell: True}
            )
            for framework in ("torch", "tf")
            for cell in ("use_lstm", "use_gru")
            for env, target, max_steps in MEMORY
        },
        **{
            f"PPO on NestedRepeat, {framework}": over_seeds(
                5, **toy("NestedRepeat", 18.0, 40_000), framework=framework
            )
            for framework in ("torch", "tf")
        },
    }


MEMORY = [("RepeatAfterMe", 50.0, 100_000), ("StatelessCartPole", 150.0, 200_000)]


def toy(env: str, target: float, max_steps: int) -> dict[str, Any]:
    """An environment of `learning_envs`, with the settings that stand beside it."""
    bare = {"window": 50, "preset": None, "target": target, "max_steps": max_steps}
    return {**bare, "env": f"learning_envs:{env}", "settings": env}


def over_seeds(count: int, **request: Any) -> list[dict]:
    """The same request for seeds 0, 1, …"""
    return [{**request, "seed": seed} for seed in range(count)]


def main() -> None:
    args = harness.arguments(__doc__, ("--fresh", 5, "fresh seeds of the CartPole preset"))
    rows, checks = [], []
    with ExitStack() as stack:
        contenders = harness.start(stack, args, {"ours": "ours_learning.py"})
        for what, requests in runs(args.fresh).items():
            turns = harness.take_turns(contenders, requests)["ours"]
            steps = [t["env_steps"] for t in turns]
            middle = harness.median(steps)
            worst = min((t["evaluation"] for t in turns if "evaluation" in t), default=None)
            rows.append(
                {
                    "run": what,
                    "goal": "last {window} episodes average {target}".format(**requests[0]),
                    "seeds": " ".join(str(r["seed"]) for r in requests),
                    "env steps (median)": round(middle),
                    "env steps (all)": " ".join(map(str, steps)),
                    "seconds (median)": round(harness.median(t["seconds"] for t in turns), 1),
                    "worst of 50 greedy": worst if worst is None else round(worst, 1),
                }
            )
            limit, failed = requests[0]["max_steps"], sum(not t["solved"] for t in turns)
            checks.append(harness.check(f"{what}: seeds that need > {limit}", failed, "<=", 0))
            if worst is not None:  # only the first run is greedily evaluated
                checks.append(harness.check(f"{what}: median env steps", middle, "<=", 35e3))
                checks.append(harness.check(f"{what}: worst mean of 50 greedy", worst, ">=", 475))
        versions = harness.versions_of(contenders)
    harness.save("learning", "Learning", rows, checks, versions)


if __name__ == "__main__":
    main()
