"""Checkpoints: milliseconds to save and restore PPO on CartPole-v1, against raw files."""

from contextlib import ExitStack

import harness


def main() -> None:
    args = harness.arguments(__doc__, ("--rounds", 30, "saves and restores"))
    with ExitStack() as stack:
        contenders = harness.start(stack, args, {"ours": "ours_checkpoint.py"})
        turns = harness.take_turns(contenders, [{}] * args.rounds, warm_up={})["ours"]
        versions = harness.versions_of(contenders)
    steps = ("save", "raw write", "restore", "raw read")
    medians = {step: harness.median(turn[step] for turn in turns) for step in steps}
    rows = [{"step": step, "ms, median": round(ms, 1)} for step, ms in medians.items()]
    beyond = harness.median(
        t["save"] - t["raw write"] + t["restore"] - t["raw read"] for t in turns
    )
    checks = [harness.check("save + restore beyond raw files, ms", beyond, "<=", 100)]
    last = turns[-1]
    notes = [
        "Defaults with the preset; `raw` writes the same bytes into as many files, each synced to "
        f"disk, and reads them again: {last['files']} files, {last['bytes'] // 1024} KiB. "
        "Restoring replays the open episodes of 8 environments."
    ]
    harness.save("checkpoint", "Saving and restoring PPO", rows, checks, versions, notes)


if __name__ == "__main__":
    main()
