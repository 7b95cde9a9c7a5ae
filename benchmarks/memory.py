"""Memory: megabytes that PPO grows by over 2,000 updates, in each mode of each framework."""

from contextlib import ExitStack

import harness

SCRIPTS = {
    "torch": "ours_memory.py torch",
    "tf": "ours_memory.py tf",
    "tf2, eager_tracing": "ours_memory.py tf2 traced",
    "tf2": "ours_memory.py tf2",
}
WARM_UP = TURN = 200
MOST = 5
"""Megabytes; caches and the slack of allocators fill during the warm-up."""


def main() -> None:
    args = harness.arguments(__doc__, ("--updates", 2000, "optimiser steps that are watched"))
    with ExitStack() as stack:
        modes = harness.start(stack, args, SCRIPTS)
        requests = [{"updates": WARM_UP}] + [{"updates": TURN}] * (args.updates // TURN)
        turns = harness.take_turns(modes, requests)
        versions = harness.versions_of(modes)
    rows, checks = [], []
    for mode in turns:
        first, *_, last = held = [turn["mb"] for turn in turns[mode]]
        rows.append(
            {
                "mode": mode,
                f"MB after {WARM_UP} updates": round(first, 1),
                f"after {WARM_UP + args.updates}": round(last, 1),
                "most in between": round(max(held), 1),
            }
        )
        what = f"{mode}: MB more after {args.updates} updates"
        checks.append(harness.check(what, last - first, "<=", MOST))
    notes = [
        "PPO on CartPole-v1, sampling and learning in one process; an update is one optimiser "
        "step of 64 rows. Resident set size, after a garbage collection."
    ]
    harness.save("memory", "Memory over 2,000 updates", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
