"""Acting latency: microseconds from observations to actions and log-probabilities, per engine."""

from contextlib import ExitStack
from itertools import product

import harness

SCRIPTS = {
    "NumPy": "ours_acting.py numpy",
    "torch": "ours_acting.py torch",
    "tf": "ours_acting.py tf",
    "tf2": "ours_acting.py tf2",
    "eager PyTorch": "eager_torch_acting.py",
}
NETS = {
    "64x64": {"hiddens": (64, 64), "lstm": False},
    "256x256": {"hiddens": (256, 256), "lstm": False},
    "64, LSTM 64": {"hiddens": (64,), "lstm": True},
}
BATCHES = (1, 8, 64, 256)
FASTER = 4.0
"""What NumPy has to gain on eager PyTorch: fully connected nets, batch 1 and 8."""


def main() -> None:
    args = harness.arguments(
        __doc__, ("--rounds", 7, "turns of each engine"), ("--seconds", 0.1, "of a turn")
    )
    cases, taken = list(product(NETS, BATCHES)), {}
    with ExitStack() as stack:
        engines = harness.start(stack, args, SCRIPTS)
        for net, batch in cases:
            request = {**NETS[net], "batch": batch, "seconds": args.seconds}
            taken[net, batch] = harness.take_turns(engines, [request] * args.rounds)
        versions = harness.versions_of(engines)
    rows, checks = [], []
    for (net, batch), turns in taken.items():
        times = {who: round(harness.median(t["us"] for t in turns[who]), 1) for who in turns}
        by = {who: 1 / harness.paired_ratio(turns, "NumPy", who, "us") for who in turns}
        labels = {f"{who}, µs": value for who, value in times.items()}
        gain = {f"{who} / NumPy": round(by[who], 1) for who in ("torch", "eager PyTorch")}
        rows.append({"net": net, "batch": batch, **labels, **gain})
        if batch <= 8 and not NETS[net]["lstm"]:
            what = f"eager PyTorch / NumPy, {net}, batch {batch}"
            checks.append(harness.check(what, by["eager PyTorch"], ">=", FASTER))
    notes = [
        "One call takes NumPy observations [batch, 4] and gives NumPy actions of two choices with "
        "their log-probabilities; median over turns of the median call.",
        "torch, tf (a traced graph) and tf2 (eager) are ours with `inference=framework`: the "
        "network runs there, sampling and log-probability in NumPy. Eager PyTorch is "
        "`nn.Sequential` (`nn.LSTMCell`) and `torch.distributions`, as one writes it by hand.",
    ]
    harness.save("acting_latency", "Acting latency, one core", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
