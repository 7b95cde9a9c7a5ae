"""Start: seconds from the start of the process to the first result of `rl train`."""

import subprocess
import tempfile
import time

import harness

COMMAND = ["-c", "from rl_algos.cli import main; main()", "train", "--run=PPO"]
OPTIONS = ["--env=CartPole-v1", "--seed=0", '--stop={"training_iteration": 1}']


def first_result(python: str) -> float:
    """Seconds until the first line that reports an iteration."""
    with tempfile.TemporaryDirectory() as results:
        start = time.perf_counter()
        command = [python, *COMMAND, *OPTIONS, f"--local-dir={results}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("iteration"):
                    return time.perf_counter() - start
    raise SystemExit(f"no result came from: {' '.join(command)}")


def main() -> None:
    args = harness.arguments(__doc__, ("--rounds", 5, "starts"))
    seconds = [first_result(args.python) for _ in range(args.rounds)]
    rows = [{"what": "rl train, first result", "seconds": " ".join(f"{s:.2f}" for s in seconds)}]
    checks = [harness.check("seconds to first result, median", harness.median(seconds), "<=", 5)]
    harness.save("startup", "Start of `rl train` (num_workers=0, torch)", rows, checks)


if __name__ == "__main__":
    main()
