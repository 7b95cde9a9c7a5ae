"""What is shown of results: figures, shares of time, what is left, and that every line fits."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rl_algos.display import describe, make_display
from rl_algos.panel import clock, number, panel, sparkline
from rl_algos.progress import CURVE, Progress, stage_seconds

STATS = {"policy_loss": -0.0125, "vf_loss": 34.36, "entropy": 0.5, "kl": 0.01, "cur_lr": 0.001}
STOP = {"timesteps_total": 100_000, "episode_reward_mean": 475}


def result(iteration=3, **more):
    """A result of 1024 steps in half a second, of which 0.1 s were sampling."""
    return {
        "training_iteration": iteration,
        "timesteps_total": 1024 * iteration,
        "episode_reward_mean": 21.25,
        "episode_reward_max": 40.0,
        "episodes_total": 130,
        "time_this_iter_s": 0.5,
        "time_total_s": 0.5 * iteration,
        "num_env_steps_sampled_this_iter": 1024,
        "num_healthy_workers": 0,
        "timers": {
            "env_time_ms": 50.0,
            "inference_time_ms": 25.0,
            "write_time_ms": 10.0,
            "postprocess_time_ms": 5.0,
            "wait_time_ms": 0.0,
            "sample_time_ms": 100.0,
            "learn_time_ms": 350.0,
            "update_time_ms": 25.0,
            "sample_throughput": 10240.0,
        },
        "info": {"learner": {"default_policy": {"learner_stats": STATS}}},
        **more,
    }


def after(*results, stop=None):
    progress = Progress(STOP if stop is None else stop)
    for one in results:
        progress.add(one)
    return progress


def drawn(progress, last, width=80):
    return panel(progress, last, width).plain.split("\n")


# ----------------------------------------------------------------------------------- progress


def test_time_goes_to_stages_and_adds_up():
    seconds = stage_seconds(result())
    assert seconds == pytest.approx(
        {
            "env": 0.05,
            "inference": 0.025,
            "write": 0.01,
            "postprocess": 0.005,
            "wait": 0.0,  # nobody waits where there are no workers
            "learn": 0.35,
            "update": 0.025,
            "evaluation": 0.0,
            "other": 0.035,  # 0.5 s less all of the above
            "busy": 0.0,
            "idle": 0.0,
        }
    )


def test_evaluation_takes_its_part_of_what_no_timer_covers():
    rest = 0.5 - 0.09 - 0.35 - 0.025
    found = stage_seconds(result(evaluation={"time_this_iter_s": 0.03}))
    assert (found["evaluation"], found["other"]) == pytest.approx((0.03, rest - 0.03))
    beside = stage_seconds(result(evaluation={"time_this_iter_s": 9.0}))  # parallel to training
    assert (beside["evaluation"], beside["other"]) == pytest.approx((rest, 0.0))


def test_stages_of_workers_are_means_over_them():
    # Two workers were busy for 0.09 s together, so for 0.045 s each, while the driver waited 0.1 s.
    timers = {**result()["timers"], "wait_time_ms": 810.0}
    progress = after(result(num_healthy_workers=2, timers=timers))
    shares = progress.shares()
    assert shares["env"] == pytest.approx(0.025 / 0.5)
    assert shares["wait"] == pytest.approx(0.055 / 0.5)
    assert progress.idle() == pytest.approx(0.9)  # 0.81 of 0.81 + 0.09 s


def test_work_during_learning_is_not_counted_twice():
    # An asynchronous plan: workers were busy for 0.09 s, the driver waited for 0.009 s of them.
    timers = {**result()["timers"], "sample_time_ms": 9.0}
    shares = after(result(num_healthy_workers=1, timers=timers)).shares()
    assert shares["env"] == pytest.approx(0.005 / 0.5)
    assert "wait" not in shares
    assert sum(shares.values()) == pytest.approx(1.0)


def test_what_is_left_is_the_budget_at_the_present_rate():
    progress = after(result(1), result(2), stop={"timesteps_total": 10_240, "time_total_s": 100})
    left = progress.seconds_left(result(2))
    assert left == pytest.approx(8192 / 1024 * 0.5)  # 8192 steps to go, 1024 of them take 0.5 s
    assert after(result(1), stop={"time_total_s": 100}).seconds_left(result(1)) == 99.5
    assert after(result(1), stop={"timesteps_total": 1000}).seconds_left(result(1)) == 0.0
    assert after(result(1), stop={"episode_reward_mean": 9}).seconds_left(result(1)) is None


def test_a_long_curve_gets_coarser_and_keeps_its_shape():
    progress = Progress({})
    for value in range(3 * CURVE):
        progress.add(result(episode_reward_mean=float(value)))
    assert CURVE / 2 <= len(progress.curve) < CURVE
    assert sparkline(progress.curve, 8) == "▁▂▃▄▅▆▇█"
    assert progress.best == 3 * CURVE - 1


# -------------------------------------------------------------------------------------- panel


def test_the_panel_says_all_of_it():
    evaluation = {"episode_reward_mean": 99.5, "episode_reward_min": 9.0, "episode_reward_max": 200}
    first = result(1, episode_reward_mean=40.0, evaluation=evaluation)
    last = result(2)
    assert drawn(after(first, last), last) == [
        "return    █▁ 21.2  best 40.0",
        "goal      ────────────────────────────────────── 21.2 / 475",
        "budget    ━───────────────────────────────────── 2,048 / 100,000  0:48 left",
        "so far    iteration 2  steps 2,048  episodes 130  steps/s 2,048  time 0:01",
        "time      " + "█" * 70,
        "          env 10%    inference  5%  write  2%  postprocess  1%",
        "          learn 70%  update  5%     other  7%",
        "learner   policy_loss -0.013   vf_loss 34.4     entropy 0.500    kl 0.010",
        "evaluated return 99.5  9.00 to 200.0  iteration 1",
    ]


def test_the_goal_is_measured_from_where_it_began():
    stop = {"episode_reward_mean": -200}
    results = [result(i, episode_reward_mean=r) for i, r in ((1, -1200.0), (2, -700.0))]
    line = drawn(after(*results, stop=stop), results[-1])[1]
    assert line == f"goal      {'━' * 19}{'─' * 19} -700.0 / -200"  # half of the way


def test_before_an_episode_has_finished_nothing_is_invented():
    young = {k: v for k, v in result().items() if not k.startswith("episode_reward")}
    lines = drawn(after(young), young)
    assert lines[0] == "return    no episode has finished yet"
    assert lines[1].endswith(" – / 475")


def test_stop_keys_are_named_where_they_are_not_obvious():
    stop = {"training_iteration": 30, "evaluation/episode_reward_mean": 10}
    lines = drawn(after(result(2), result(3), stop=stop), result(3), 120)
    assert lines[1].endswith(" – / 10  evaluation/episode_reward_mean")
    assert lines[2].endswith(" 3 / 30  0:14 left  training_iteration")


def test_policies_have_lines_of_their_own_up_to_a_point():
    learner = {name: {"learner_stats": {"kl": 0.25}} for name in "abcdef"}
    last = result(info={"learner": learner})
    lines = drawn(after(last), last)
    shown = [line for line in lines if "kl" in line]
    assert shown == [f"{name}         kl 0.250" for name in "abcd"]
    assert lines[-1] == "          and 2 more"


@given(
    width=st.integers(20, 250),
    value=st.floats(-1e9, 1e9),
    name=st.text("ab/_", min_size=1, max_size=90),
    workers=st.integers(0, 3),
)
def test_no_line_is_wider_than_the_terminal(width, value, name, workers):
    learner = {name: {"learner_stats": STATS}, f"{name}2": {"learner_stats": {"kl": value}}}
    last = result(episode_reward_mean=value, info={"learner": learner}, num_healthy_workers=workers)
    stop = {name: value, "timesteps_total": 10**9, "time_total_s": 1e7}
    out = io.StringIO()
    console = Console(file=out, width=width, height=100)
    console.print(panel(after(last, stop=stop), last, width))
    lines = drawn(after(last, stop=stop), last, width)
    assert out.getvalue().count("\n") == len(lines)  # none was wrapped
    assert max(len(line) for line in lines) <= width


# ---------------------------------------------------------------------------------- displays


def test_lines_go_to_a_file_first_and_last():
    out = io.StringIO()
    with make_display(Console(file=out), {}) as display:
        for iteration in (1, 2, 3):
            display.log(result(iteration))
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["iteration 1", "iteration 3"]


def test_a_line_holds_what_is_worth_a_glance():
    last = result(3, evaluation={"episode_reward_mean": 99.5})
    assert describe(after(result(2), last), last) == {
        "iteration": "3",
        "steps": "3,072",
        "return": "21.2",
        "best": "21.2",
        "episodes": "130",
        "steps/s": "2,048",
        "time": "0:02",
        "left": "0:47",
        "evaluation": "99.5",
        "entropy": "0.500",
        "kl": "0.010",
    }
    several = {"learner": {name: {"learner_stats": {"kl": 0.25}} for name in "ab"}}
    figures = describe(after(last), {**last, "info": several})
    assert figures["a kl"] == figures["b kl"] == "0.250"


def test_a_terminal_gets_a_panel():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=40)
    with make_display(console, STOP) as display:
        assert "waiting for the first result" in out.getvalue()
        display.log(result(1))
        display.log(result(2))  # too soon to be drawn
        assert "2,048 / 100,000" not in out.getvalue()
    assert "1,024 / 100,000" in out.getvalue()
    assert "2,048 / 100,000" in out.getvalue()  # the last one always is
    display.close()  # a second time is nothing


def test_an_error_leaves_the_terminal_as_it_was():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=40)
    display = make_display(console, STOP)

    def train():
        with display:
            display.log(result(1))
            raise RuntimeError("env broke")

    with pytest.raises(RuntimeError, match="env broke"):
        train()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")  # cursor shown


# ------------------------------------------------------------------------------------- figures


def test_a_curve_fits_its_width():
    assert sparkline([0.0, 7.0], 10) == "▁█"
    assert sparkline([1.0] * 5, 10) == "▁▁▁▁▁"
    assert sparkline([float(i) for i in range(100)], 8) == "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0.0"),
        (21.25, "21.2"),
        (-1234.5, "-1,234"),
        (0.0134, "0.013"),
        (0.000041, "4.1e-05"),
    ],
)
def test_numbers_have_about_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.6, "0:05"), (754, "12:34"), (3723, "1:02:03"), (183_840, "2 d 03:04")],
)
def test_times_are_read_at_a_glance(seconds, text):
    assert clock(seconds) == text
