"""The code stays as short, flat and quick as it was meant to be; what one iteration runs is traced.

The limits are those that the library was designed to; whoever misses one makes the code simpler.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from tracing import calls, depth_at, executed_lines, source_roots

from rl_algos import PPO, PPOConfig
from rl_workers import Callbacks

SOURCES = sorted(path for root in source_roots() for path in root.rglob("*.py"))
STEPS = 128


class Counting(Callbacks):
    """Counts steps and episodes."""

    def on_episode_start(self, *, episode, **_):
        episode.user_data["steps"] = 0

    def on_episode_step(self, *, episode, **_):
        episode.user_data["steps"] += 1

    def on_episode_end(self, *, episode, **_):
        episode.custom_metrics["steps"] = episode.user_data["steps"]


def trainer(num_envs=1):
    """PPO as the comparison with other libraries runs it, with everything on."""
    warm = PPO(
        {
            "env": CartPoleEnv,
            "num_envs_per_worker": num_envs,
            "train_batch_size": STEPS * num_envs,
            "sgd_minibatch_size": 64 * num_envs,
            "num_sgd_iter": 1,
            "observation_filter": "MeanStdFilter",
            "callbacks": Counting,
            "seed": 0,
        }
    )
    warm.train()
    return warm


def is_optimiser_step(code):
    return code.co_name == "step" and "rl_policy/torch/" in code.co_filename


def test_from_env_step_to_optimiser_step_few_files_and_lines_run(record_property):
    with trainer() as warm:
        lines = executed_lines(warm.train, CartPoleEnv.step.__code__, is_optimiser_step)
    files = sorted({file for file, _ in lines})
    total = sum(len(Path(file).read_text().splitlines()) for file in files)
    summary = f"{len(files)} files of {total} lines, {len(lines)} lines executed"
    record_property("from env.step to optimizer.step", summary)
    assert len(files) <= 22, (summary, [Path(file).name for file in files])
    assert len(lines) <= 1500, summary


def test_the_environment_is_few_frames_away():
    with trainer() as warm:
        assert 0 < depth_at(warm.train, lambda code: code is CartPoleEnv.step.__code__) <= 5


def test_the_optimiser_is_few_frames_away():
    with trainer() as warm:
        assert 0 < depth_at(warm.train, is_optimiser_step) <= 6


@pytest.mark.parametrize(("num_envs", "limit"), [(1, 20), (8, 4)])
def test_a_step_costs_few_calls(num_envs, limit):
    with trainer(num_envs) as warm:
        counts = calls(warm.train)
    per_step = sum(counts.values()) / (STEPS * num_envs)
    often = sorted(counts.items(), key=lambda item: -item[1])[:15]
    assert per_step <= limit, [(code.co_name, n) for code, n in often]


def test_files_are_short():
    assert {
        path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400
    } == {}


def test_functions_are_short():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > 60:
                    long[f"{path.name}:{node.name}"] = length
    assert long == {}


def test_a_file_says_what_it_is_in_its_first_line():
    for path in SOURCES:
        text = path.read_text()
        assert re.match(r'(r?""")\S', text), path
        assert ast.get_docstring(ast.parse(text)), path


def test_public_names_are_documented():
    missing = []
    for path in SOURCES:
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            overload = public and "overload" in map(ast.unparse, node.decorator_list)
            if public and not overload and not ast.get_docstring(node):
                missing.append(f"{path.name}:{node.name}")
    assert missing == []


def test_nothing_is_left_to_do():
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [path.name for path in SOURCES if marks.search(path.read_text())] == []


def test_ppos_loss_is_a_function_and_its_config_small():
    from rl_algos import ppo_loss

    assert "." not in ppo_loss.__qualname__
    config = PPOConfig()
    sections = [name for name in type(config).model_fields if hasattr(config, name)]
    own = [name for name in sections if name in config.flat() or name == "lambda_"]
    assert len(own) <= 20, own
    assert len(config.flat()) <= 90


def test_roots_export_few_names():
    import rl_algos
    import rl_policy
    import rl_sample
    import rl_workers

    for package in (rl_sample, rl_policy, rl_workers, rl_algos):
        assert len(package.__all__) <= 25, package.__name__
        for name in package.__all__:
            if name != "__version__":  # known once the package is installed
                assert hasattr(package, name), (package.__name__, name)
