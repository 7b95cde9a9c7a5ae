"""Training rate: env steps per second of PPO, sampling and learning, under one common setting."""

from contextlib import ExitStack

import harness

SCRIPTS = {"ours": "ours_training.py", "SB3": "sb3_training.py", "RLlib": "rllib_training.py"}
LEAST = {"SB3": 2.0, "RLlib": 5.0}


def main() -> None:
    args = harness.arguments(
        __doc__, ("--rounds", 10, "turns of each contender"), ("--seconds", 2.0, "of a turn")
    )
    with ExitStack() as stack:
        contenders = harness.start(stack, args, SCRIPTS)
        request = {"seconds": args.seconds}
        turns = harness.take_turns(contenders, [request] * args.rounds, warm_up=request)
        versions = harness.versions_of(contenders)
    rows, checks = [], []
    for who in SCRIPTS:
        ratio = harness.paired_ratio(turns, "ours", who, "steps_per_s")
        if who in turns:
            rate = round(harness.median(t["steps_per_s"] for t in turns[who]))
            rows.append({"contender": who, "steps/s": rate, "ours is faster by": round(ratio, 2)})
        if who in LEAST:
            checks.append(harness.check(f"ours / {who}", ratio, ">=", LEAST[who]))
    notes = ["8 envs x 128 steps, 4 epochs, minibatch 256, two 64x64 tanh nets, CartPole-v1."]
    harness.save("training_rate", "Training rate of PPO, one core", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
