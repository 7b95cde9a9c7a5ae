"""Time to solve: seconds from the first reset until 20 CartPole-v1 episodes average 475."""

from contextlib import ExitStack

import harness

SCRIPTS = {"ours": "ours_solve.py", "SB3": "sb3_solve.py", "RLlib": "rllib_solve.py"}
MOST = {"SB3": 0.3, "RLlib": 1 / 12}
WARM_UP = {"seed": 0, "max_steps": 4_000}


def main() -> None:
    args = harness.arguments(__doc__, ("--seeds", 5, "seeds of each contender"))
    with ExitStack() as stack:
        contenders = harness.start(stack, args, SCRIPTS, all_cores=("RLlib",))
        requests = [{"seed": seed} for seed in range(args.seeds)]
        turns = harness.take_turns(contenders, requests, warm_up=WARM_UP)
        versions = harness.versions_of(contenders)
    medians = {who: harness.median(t["seconds"] for t in turns[who]) for who in turns}
    rows = [
        {
            "contender": who,
            "seconds (median)": round(medians[who], 1),
            "all": " ".join(f"{t['seconds']:.1f}" for t in turns[who]),
            "env steps (median)": round(harness.median(t["env_steps"] for t in turns[who])),
            "solved": f"{sum(t['solved'] for t in turns[who])} of {len(turns[who])}",
        }
        for who in turns
    ]
    checks = [
        harness.check(
            f"ours / {who}, medians",
            medians["ours"] / medians[who] if who in medians else None,
            "<=",
            bound,
        )
        for who, bound in MOST.items()
    ]
    notes = [
        "Imports and first-use costs are off the clock on all sides: each first trains a little.",
        "SB3: the settings of rl-baselines3-zoo. RLlib: those of its example cartpole_ppo.py "
        "(lr 3e-4, 6 epochs, one linear layer of 32, shared), two env runners. Ours and SB3 have "
        "one core; RLlib has all of them.",
        "An unsolved run counts with the time it took until its budget was spent.",
    ]
    harness.save("time_to_solve", "Time to solve CartPole-v1", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
