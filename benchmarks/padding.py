"""Sequences: milliseconds to cut and pad 4,000 rows for a recurrent policy."""

from contextlib import ExitStack

import harness

KINDS = [(max_seq_len, burn_in) for max_seq_len in (20, 50) for burn_in in (0, 10)]
"""(rows of a sequence, rows before it that warm the state)"""
MOST = 1.0
"""Milliseconds, without burn-in."""


def main() -> None:
    args = harness.arguments(
        __doc__,
        ("--rounds", 10, "turns of each kind"),
        ("--calls", 100, "batches of a turn, of which the median counts"),
    )
    rows, checks = [], []
    with ExitStack() as stack:
        ours = harness.start(stack, args, {"ours": "ours_padding.py"})
        for max_seq_len, burn_in in KINDS:
            request = {"max_seq_len": max_seq_len, "burn_in": burn_in, "calls": args.calls}
            turns = harness.take_turns(ours, [request] * args.rounds)["ours"]
            ms = harness.median(turn["ms"] for turn in turns)
            rows.append({"max_seq_len": max_seq_len, "burn_in": burn_in, "ms": round(ms, 3)})
            if not burn_in:
                checks.append(harness.check(f"max_seq_len={max_seq_len}: ms", ms, "<=", MOST))
        versions = harness.versions_of(ours)
    notes = ["4,000 rows in episodes of about 60, with the columns of PPO and an LSTM of 64 units."]
    harness.save("padding", "Padding sequences", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
