"""What is shown of a result."""

from __future__ import annotations

import io

from rich.console import Console

from rl_algos.display import describe, make_display, sparkline

RESULT = {
    "training_iteration": 3,
    "timesteps_total": 3072,
    "episode_reward_mean": 21.25,
    "episode_reward_max": 40.0,
    "episodes_total": 130,
    "time_this_iter_s": 0.5,
    "time_total_s": 2.0,
    "num_env_steps_sampled_this_iter": 1024,
    "info": {"learner": {"default_policy": {"learner_stats": {"entropy": 0.5, "kl": 0.01}}}},
}


def test_figures_are_rounded_and_named():
    figures = describe(RESULT)
    assert figures["steps"] == "3,072"
    assert figures["return"] == "21.2"
    assert figures["steps/s"] == "2,048"
    assert figures["entropy"] == "0.500"


def test_no_return_is_shown_before_an_episode_has_finished():
    young = {k: v for k, v in RESULT.items() if not k.startswith("episode_reward")}
    assert describe(young)["return"] == "–"


def test_several_policies_are_told_apart():
    stats = {"learner_stats": {"kl": 0.25}}
    figures = describe({**RESULT, "info": {"learner": {"a": stats, "b": stats}}})
    assert figures["a kl"] == figures["b kl"] == "0.250"


def test_a_curve_fits_its_width():
    assert sparkline([0.0, 7.0], 10) == "▁█"
    assert sparkline([1.0] * 5, 10) == "▁▁▁▁▁"
    assert sparkline([float(i) for i in range(100)], 8) == "▁▂▃▄▅▆▇█"


def test_lines_go_to_a_file_first_and_last():
    out = io.StringIO()
    with make_display(Console(file=out), {}) as display:
        for iteration in (1, 2, 3):
            display.show({**RESULT, "training_iteration": iteration})
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["iteration 1", "iteration 3"]


def test_a_terminal_gets_a_panel():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with make_display(console, {"timesteps_total": 100_000}) as display:
        display.show(RESULT)
    assert "3,072 / 100,000" in out.getvalue()
    assert "▁" in out.getvalue()
