"""Sampling: env steps per second of a local worker against the bare loop, SB3 and RLlib."""

from contextlib import ExitStack

import harness

SIZES = [
    (1, "sync"),
    (8, "sync"),
    (64, "sync"),
    (64, "vector_entry_point"),
    (256, "vector_entry_point"),
]
SCRIPTS = {"ours": "ours_sampling.py", "bare loop": "bare_sampling.py"}
PEERS = {"SB3": "sb3_sampling.py", "RLlib": "rllib_sampling.py"}
LEAST = 0.6


def main() -> None:
    args = harness.arguments(
        __doc__, ("--rounds", 15, "turns of each contender"), ("--seconds", 0.7, "of a turn")
    )
    rows, checks, versions = [], [], {}
    for num_envs, mode in SIZES:
        scripts = SCRIPTS | (PEERS if mode == "sync" else {})
        with ExitStack() as stack:
            contenders = harness.start(stack, args, scripts, num_envs, mode)
            request = {"seconds": args.seconds}
            turns = harness.take_turns(contenders, [request] * args.rounds, warm_up=request)
            versions |= harness.versions_of(contenders)
        rates = {who: harness.median(t["steps_per_s"] for t in turns[who]) for who in turns}
        ratio = harness.paired_ratio(turns, "ours", "bare loop", "steps_per_s")
        row = {"envs": num_envs, "mode": mode.replace("_", " ")}
        row |= {f"{who}, steps/s": round(rate) for who, rate in rates.items()}
        rows.append(row | {"ours / bare loop": round(ratio, 2)})
        checks.append(harness.check(f"{num_envs} envs ({mode}): ours / bare", ratio, ">=", LEAST))
    notes = [
        "Ours hands over batches with GAE, MeanStdFilter on, hooks at episode start, episode end "
        "and sample end; SB3 includes GAE; the bare loop and RLlib do not.",
        "A step is one that an episode took: ticks that only reset are not counted.",
    ]
    harness.save("sampling", "Sampling CartPole-v1, one core", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
