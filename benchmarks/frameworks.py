"""PPO with PyTorch and with TensorFlow: training rate under one common setting, one core."""

from contextlib import ExitStack

import harness

SCRIPTS = {
    "torch": "ours_training.py torch",
    "tf": "ours_training.py tf",
    "tf2, eager_tracing": "ours_training.py tf2 traced",
    "tf2": "ours_training.py tf2",
}
LEAST = 0.8
"""What graph mode has to reach of torch's rate."""


def main() -> None:
    args = harness.arguments(
        __doc__, ("--rounds", 10, "turns of each framework"), ("--seconds", 2.0, "of a turn")
    )
    with ExitStack() as stack:
        contenders = harness.start(stack, args, SCRIPTS)
        request = {"seconds": args.seconds}
        turns = harness.take_turns(contenders, [request] * args.rounds, warm_up=request)
        versions = harness.versions_of(contenders)
    rows = []
    for who in turns:
        rate = round(harness.median(t["steps_per_s"] for t in turns[who]))
        learning = round(harness.median(t["learn_ms"] for t in turns[who]), 1)
        ratio = harness.paired_ratio(turns, who, "torch", "steps_per_s")
        rows.append(
            {
                "framework": who,
                "steps/s": rate,
                "of torch": round(ratio, 2),
                "ms of learning an iteration": learning,
            }
        )
    ratio = harness.paired_ratio(turns, "tf", "torch", "steps_per_s")
    checks = [harness.check("rate of tf / rate of torch", ratio, ">=", LEAST)]
    notes = ["8 envs x 128 steps, 4 epochs, minibatch 256, two 64x64 tanh nets, CartPole-v1."]
    harness.save("frameworks", "PPO on each framework, one core", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
