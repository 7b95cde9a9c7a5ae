"""Learning: env steps that PPO needs, with its presets and with bare defaults."""

from contextlib import ExitStack
from secrets import randbelow

import harness


def runs(fresh: int) -> dict[str, list[dict]]:
    """{what is measured: one request per seed}."""
    new = [randbelow(2**31) for _ in range(fresh)]
    cartpole = {"env": "CartPole-v1", "target": 475.0}
    return {
        "CartPole-v1, preset": [
            {**cartpole, "seed": s, "window": 20, "max_steps": 100_000, "evaluation_episodes": 50}
            for s in [*range(5), *new]
        ],
        "CartPole-v1, defaults": [
            {**cartpole, "seed": s, "window": 100, "max_steps": 150_000, "preset": None}
            for s in range(3)
        ],
        "Acrobot-v1, defaults": [
            {"env": "Acrobot-v1", "target": -100.0, "seed": s, "window": 100}
            | {"max_steps": 500_000, "preset": None}
            for s in range(3)
        ],
        "Pendulum-v1, preset": [
            {"env": "Pendulum-v1", "target": -200.0, "seed": s, "window": 100}
            | {"max_steps": 200_000}
            for s in range(3)
        ],
    }


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
            if worst is not None:
                checks.append(harness.check(f"{what}: median env steps", middle, "<=", 35e3))
                checks.append(harness.check(f"{what}: worst mean of 50 greedy", worst, ">=", 475))
        versions = harness.versions_of(contenders)
    harness.save("learning", "Learning with PPO", rows, checks, versions)


if __name__ == "__main__":
    main()
