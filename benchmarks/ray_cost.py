"""Ray's cost: two workers on an environment of 1 ms CPU per step, against two plain processes."""

from contextlib import ExitStack

import harness

SCRIPTS = {"ours": "ours_ray.py", "bare loop": "bare_pair.py"}


def main() -> None:
    args = harness.arguments(
        __doc__, ("--rounds", 3, "turns of each contender"), ("--seconds", 30.0, "of a turn")
    )
    with ExitStack() as stack:
        contenders = harness.start(stack, args, SCRIPTS, all_cores=tuple(SCRIPTS))
        request = {"seconds": args.seconds}
        turns = harness.take_turns(contenders, [request] * args.rounds, warm_up={"seconds": 2.0})
        versions = harness.versions_of(contenders)
    ratio = harness.paired_ratio(turns, "ours", "bare loop", "steps_per_s")
    last = turns["ours"][-1]
    rates = {who: harness.median(t["steps_per_s"] for t in turns[who]) for who in turns}
    rows = [{"contender": who, "steps/s": round(rate, 1)} for who, rate in rates.items()]
    checks = [
        harness.check("ours / two plain processes", ratio, ">=", 0.9),
        harness.check("seconds until both workers are ready", last["ready_after_s"], "<=", 3),
        harness.check("PSS of a worker process, MB", last["worker_pss_mb"], "<=", 200),
        harness.check("workers that import torch", last["worker_has_torch"], "<=", 0),
    ]
    notes = ["bulk_sync, fragments of 200 steps; the driver takes every batch; ray.init excluded."]
    harness.save("ray_cost", "Two workers on Ray", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
