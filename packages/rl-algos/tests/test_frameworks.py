"""Which framework is meant, what a missing one says, and that no other one is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from tiny_trainers import COUNTER, TINY, TINY_PPO
from typer.testing import CliRunner

from rl_algos import PPO, frameworks
from rl_algos.cli import app
from rl_algos.frameworks import limit_threads, names_and_versions, resolved

PPO_RUN = ("train", "--run=PPO", "--env=CartPole-v1")


@pytest.fixture
def installed(monkeypatch):
    """Lets only these modules be there."""

    def let(*modules):
        monkeypatch.setattr(frameworks, "find_spec", lambda name: name in modules or None)

    return let


@pytest.mark.parametrize(
    ("modules", "name", "found"),
    [
        (("torch", "tensorflow"), "auto", "torch"),
        (("tensorflow",), "auto", "tf"),
        (("tensorflow",), "tf2", "tf2"),
        (("tensorflow",), "tfe", "tf2"),
        (("torch",), "torch", "torch"),
        ((), "jax", "jax"),  # rl_policy refuses it
    ],
)
def test_auto_takes_what_is_there(installed, modules, name, found):
    installed(*modules)
    assert resolved(name) == found


@pytest.mark.parametrize(
    ("modules", "name", "message"),
    [
        (
            ("torch",),
            "tf",
            r"framework='tf' needs tensorflow, which is not installed: pip install "
            r"'rl-algos\[tensorflow\]' \(\[tensorflow-cpu\] where .*, or set framework='torch'",
        ),
        (("tensorflow",), "torch", r"'rl-algos\[torch\]', or set framework='tf', which is"),
        ((), "tf2", r"pip install 'rl-algos\[tensorflow\]' \(\[tensorflow-cpu\] where .* GPU\)$"),
        ((), "auto", r"PyTorch or TensorFlow, and neither is installed: pip install 'rl-algos\[t"),
    ],
)
def test_a_missing_framework_says_how_to_get_it(installed, modules, name, message):
    installed(*modules)
    with pytest.raises(ImportError, match=message):
        resolved(name)
    with pytest.raises(ImportError, match=message):
        PPO({**TINY_PPO, "framework": name})
    done = CliRunner().invoke(app, [*PPO_RUN, f"--framework={name}"])
    assert done.exit_code == 2 and "rl-algos[" in done.stderr and "Traceback" not in done.output


def test_a_policy_of_plain_numpy_needs_none(installed):
    installed()
    with COUNTER(TINY) as trainer:
        trainer.train()
        assert names_and_versions(trainer.workers.learners) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--torch", "--framework=tf"], "--framework tf and --torch name different frameworks"),
        (["--torch", "--eager"], "--torch and --eager name different frameworks"),
        (["--trace"], "eager_tracing=True is about framework='tf2', not about framework='auto'"),
        (["--torch", "--trace"], "not about framework='torch': set framework='tf2'"),
        (["--framework=tensorflow"], "expected 'auto', 'torch', 'tf' or 'tf2'"),
        (["--framework=tf1"], "did you mean 'tf'"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    done = CliRunner().invoke(app, [*PPO_RUN, *options])
    assert done.exit_code == 2 and message in done.stderr


class Threading:
    """TensorFlow's, before or after its first operation."""

    def __init__(self, too_late=False):
        self.told, self.too_late = [], too_late

    def set_intra_op_parallelism_threads(self, count):
        if self.too_late:
            raise RuntimeError("Intra op parallelism cannot be modified after initialization.")
        self.told.append(count)

    set_inter_op_parallelism_threads = set_intra_op_parallelism_threads


def test_threads_are_told_to_the_framework_that_learns(monkeypatch, caplog):
    tf, told = Threading(), []
    modules = {
        "torch": SimpleNamespace(set_num_threads=told.append),
        "tensorflow": SimpleNamespace(config=SimpleNamespace(threading=tf)),
        "rl_policy.tf": None,
    }
    monkeypatch.setattr(frameworks, "import_module", modules.__getitem__)
    limit_threads("torch", 2)
    limit_threads("tf", 3)
    limit_threads("tf2", None)
    assert (told, tf.told, caplog.text) == ([2], [3, 3], "")
    tf.too_late = True
    limit_threads("tf2", 4)
    assert "num_cpus_for_driver=4 comes too late: TensorFlow has computed" in caplog.text


TRAIN = """
import json, sys
from pathlib import Path
from rl_algos import PPO

keys = {"env": "CartPole-v1", "preset": None, "train_batch_size": 32, "sgd_minibatch_size": 16,
        "num_sgd_iter": 1, "framework": sys.argv[1], "evaluation_interval": 1,
        "evaluation_duration": 1, "num_cpus_for_driver": 2}
with PPO(keys) as trainer:
    trainer.train()
    trainer.evaluate()
    path = trainer.save(sys.argv[2])
    (name,) = {p.framework for p in trainer.workers.learners.values()}
    if name == "torch":
        threads = sys.modules["torch"].get_num_threads()
    else:
        threads = sys.modules["tensorflow"].config.threading.get_intra_op_parallelism_threads()
    assert threads == 2
from rl_algos import evaluation
evaluation.evaluate(path, 1)
with PPO.from_checkpoint(path) as trainer:
    trainer.train()
print(name, sorted({"torch", "tensorflow", "keras", "tensorboardX"} & sys.modules.keys()))
"""


def imported(code, *arguments):
    """What a fresh process prints last."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


EACH = [
    pytest.param("torch", "torch ['torch']", marks=pytest.mark.torch),
    pytest.param("tf", "tf ['keras', 'tensorflow']", marks=pytest.mark.tensorflow),
]


@pytest.mark.parametrize(("name", "found"), EACH)
def test_a_trainer_imports_only_its_own_framework(tmp_path, name, found):
    assert imported(TRAIN, name, tmp_path) == found


@pytest.mark.torch
def test_auto_imports_only_torch(tmp_path):
    assert imported(TRAIN, "auto", tmp_path) == "torch ['torch']"


CLI = """
import sys
from rl_algos.cli import app
assert not app(sys.argv[1:], standalone_mode=False)
print(sorted({"torch", "tensorflow", "keras", "tensorboardX"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(("name", "found"), EACH)
def test_the_command_line_imports_only_its_own_framework(tmp_path, monkeypatch, name, found):
    monkeypatch.chdir(tmp_path)
    config = '{"num_sgd_iter": 1, "train_batch_size": 64, "sgd_minibatch_size": 64}'
    told = imported(
        CLI,
        *("train", "--run=PPO", "--env=CartPole-v1", "--config", config, "--framework", name),
        *("--stop", '{"training_iteration": 1}', "--seed", "3"),
    )
    assert found.endswith(told)
    (params,) = tmp_path.glob("rl_results/*/params.json")
    (said,) = json.loads(params.read_text())["frameworks"].items()
    assert said[0] == name and said[1][0].isdigit()
    done = imported(CLI, "evaluate", params.parent, "--episodes", "1")
    assert done == "[]"  # a saved policy acts with NumPy


TUNE = """
import sys
from ray.tune.trainable import trainable
trainable.DEFAULT_STORAGE_PATH = sys.argv[2]
from rl_algos.tune import PPOTrainer
trial = PPOTrainer({"env": "CartPole-v1", "preset": None, "train_batch_size": 64,
                    "sgd_minibatch_size": 32, "num_sgd_iter": 1, "framework": sys.argv[1]})
trial.train()
trial.stop()
print(sys.argv[1], sorted({"torch", "tensorflow", "keras"} & sys.modules.keys()))
"""


@pytest.mark.extras
@pytest.mark.parametrize(("name", "found"), EACH)
def test_a_trial_of_tune_imports_only_its_own_framework(tmp_path, name, found):
    assert imported(TUNE, name, tmp_path) == found
