"""`rl show`: the plan's picture and every config key, made of the code."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveFloat
from typer.testing import CliRunner

from rl_algos import explain
from rl_algos.cli import app
from rl_algos.keys import key_index
from rl_algos.presets import PRESETS
from rl_algos.registry import ALGORITHMS, get_algorithm
from rl_algos.sections import Schedule
from rl_workers.flow import LocalIterator

PLAN = """\
╭─ numbers ──────────────╮
│  Gives 1 forever.      │
╰────────────────────────╯
   ▼ int
╭─ double ───────────────╮
│  Twice the item.       │
╰────────────────────────╯
   ▼ int
╭─ is_even ──────────────╮
│  Whether 2 divides it. │
╰────────────────────────╯
   ▼ result of train()"""


def numbers() -> int:
    """Gives 1 forever."""
    return 1


def double(item: int) -> int:
    """Twice the item.

    More that is not shown.
    """
    return 2 * item


def is_even(item: int) -> bool:
    """Whether 2 divides it."""
    return item % 2 == 0


def test_a_picture_has_a_box_for_each_operator_and_what_flows_between():
    plan = LocalIterator(numbers).for_each(double).filter(is_even)
    assert explain.picture(plan, width=38) == PLAN


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_plan_is_drawn_without_a_framework(algorithm):
    code = (
        "import sys; from rl_algos import explain, get_algorithm; "
        f"print(explain.draw_plan(get_algorithm({algorithm!r}))); "
        "assert not {'torch', 'tensorflow', 'ray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "ParallelRollouts" in lines[0] and "StandardMetricsReporting" in done.stdout
    assert "◀──╮" in lines[1] and sum("───╯" in line for line in lines) >= 1
    assert lines[-1] == "   ▼ result of train()"
    assert max(map(len, lines)) <= 76


def test_weights_go_from_the_operator_that_learns_back_to_the_source():
    lines = explain.draw_plan(get_algorithm("PPO")).splitlines()
    rail = [i for i, line in enumerate(lines) if line.endswith(("╮", "│", "╯")) and len(line) > 64]
    learns = next(i for i, line in enumerate(lines) if "TrainOneStep" in line)
    assert rail[0] == 1 and rail[-1] == learns + 1
    assert lines[learns + 1].endswith("│───╯")


def test_the_picture_shows_the_settings_of_the_environment():
    bare, preset = (explain.draw_plan(get_algorithm("PPO"), env) for env in (None, "CartPole-v1"))
    assert "ConcatBatches(2048 env_steps)" in bare
    assert "ConcatBatches(1024 env_steps)" in preset


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_key_is_explained(algorithm):
    definition = get_algorithm(algorithm)
    keys = explain.config_keys(definition)
    assert {key.name for key in keys} == set(key_index(definition.config_class))
    for key in keys:
        assert key.effect, f"{key.name} has no docstring"
        assert key.type
    sections = list(dict.fromkeys(key.section for key in keys))
    assert sections[0] == algorithm and len(set(sections)) == len(sections)


def test_defaults_and_presets_stand_side_by_side():
    keys = {key.name: key for key in explain.config_keys(get_algorithm("PPO"))}
    assert keys["train_batch_size"].default == 2048
    assert keys["train_batch_size"].presets["CartPole-v1"] == 1024
    assert keys["lambda"].type == "float ≥ 0 and ≤ 1"
    assert keys["batch_mode"].type == "'truncate_episodes' | 'complete_episodes'"
    assert keys["fcnet_hiddens"].section == "model" and keys["num_workers"].presets == {}
    only = explain.config_keys(get_algorithm("PPO"), "Pendulum-v1")
    assert {env for key in only for env in key.presets} == {"Pendulum-v1"}
    assert not any(key.presets for key in explain.config_keys(get_algorithm("PPO"), "MyEnv"))


def test_an_algorithms_own_defaults_are_shown():
    keys = {key.name: key for key in explain.config_keys(get_algorithm("PG"))}
    assert keys["batch_mode"].default == "complete_episodes"
    variant = get_algorithm("PPO").with_updates(default_config={"lr": 0.5})
    assert {k.name: k.default for k in explain.config_keys(variant)}["lr"] == 0.5


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (PositiveFloat, "float > 0"),
        (Annotated[int, Field(ge=0)], "int ≥ 0"),
        (PositiveFloat | None, "float > 0 or None"),
        (Annotated[int, Field(ge=0)] | Literal["auto"], "int ≥ 0 or 'auto'"),
        (Schedule | None, "schedule or None"),
        (tuple[int, ...], "tuple of int"),
        (dict[str, Any], "dict of str, any"),
        (Literal["a", "b"], "'a' | 'b'"),
    ],
)
def test_types_are_readable(annotation, text):
    assert explain.type_text(annotation) == text


def test_the_command_shows_all_of_it():
    done = CliRunner().invoke(app, ["show", "ppo", "--env", "CartPole-v1"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("PPO: Proximal policy optimisation")
    assert "PPO on CartPole-v1: preset CartPole-v1" in done.output
    assert "train_batch_size = 2048  int > 0  1024 on CartPole-v1" in done.output
    assert "Pendulum" not in done.output.split("result of train()")[1]


def test_all_presets_are_shown_where_no_environment_is_given():
    output = CliRunner().invoke(app, ["show", "PPO"], env={"COLUMNS": "200"}).output
    for (algorithm, env), _ in PRESETS.items():
        assert (f" on {env}" in output) or algorithm != "PPO"


def test_markdown_has_a_table_for_each_section():
    text = CliRunner().invoke(app, ["show", "PG", "--markdown"]).output
    assert text == explain.markdown(get_algorithm("PG"))
    assert "### workers" in text
    assert "| `num_workers` | int ≥ 0 | `0` | Ray actors that sample;" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PPOO"], "no algorithm 'PPOO'; did you mean 'PPO'"),
        (["PPO", "--env", "CartPol-v1"], "Did you mean 'CartPole-v1'"),
    ],
)
def test_bad_input_is_one_clear_message(arguments, message):
    done = CliRunner().invoke(app, ["show", *arguments])
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert message in " ".join(done.stderr.split())
