"""Start: seconds to the first result of `rl train`, and what `import rl_sample` takes."""

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


def import_times_numpy(python: str) -> float:
    """CPU time of `import rl_sample` in that of `import numpy`, fresh processes in turn."""
    timed = "import time; s = time.process_time(); import {}; print(time.process_time() - s)"
    ours, numpy = (
        float(subprocess.check_output([python, "-c", timed.format(module)]))
        for module in ("rl_sample", "numpy")
    )
    return ours / numpy


def main() -> None:
    args = harness.arguments(__doc__, ("--rounds", 5, "starts"))
    seconds = [first_result(args.python) for _ in range(args.rounds)]
    ratios = [import_times_numpy(args.python) for _ in range(4 * args.rounds)]
    rows = [
        {"what": "rl train, first result (s)", "measured": " ".join(f"{s:.2f}" for s in seconds)},
        {"what": "import rl_sample ÷ import numpy", "measured": f"{harness.median(ratios):.2f}"},
    ]
    checks = [
        harness.check("seconds to first result, median", harness.median(seconds), "<=", 5),
        harness.check("import rl_sample ÷ import numpy, median", harness.median(ratios), "<=", 1.3),
    ]
    harness.save("startup", "Start of `rl train` (num_workers=0, torch)", rows, checks)


if __name__ == "__main__":
    main()
