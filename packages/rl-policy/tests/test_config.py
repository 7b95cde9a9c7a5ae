from __future__ import annotations

import pytest

from rl_policy import DEFAULT_POLICY_CONFIG
from rl_policy.config import package_of, resolve_config, resolve_framework
from rl_policy.schedules import coefficient_schedules, piecewise_linear


def test_later_layers_win_and_the_result_is_read_only():
    config = resolve_config({"clip": 0.2, "lr": 1.0, "coeffs": ("clip",)}, {"lr": 2.0})
    assert (config["clip"], config["lr"]) == (0.2, 2.0)
    assert config["gamma"] == DEFAULT_POLICY_CONFIG["gamma"]
    with pytest.raises(TypeError):
        config["lr"] = 3.0


def test_unknown_keys_name_the_nearest():
    with pytest.raises(ValueError, match=r"'gama'; did you mean 'gamma'.*get_default_config"):
        resolve_config({}, {"gama": 0.9})


def test_coefficients_may_have_schedules():
    defaults = {"clip": 0.2, "coeffs": ("clip",)}
    config = resolve_config(defaults, {"clip_schedule": [[0, 0.2], [100, 0.0]]})
    schedules = coefficient_schedules(config, ("lr", "clip"))
    assert list(schedules) == ["clip"]
    with pytest.raises(ValueError, match="unknown policy config key 'gamma_schedule'"):
        resolve_config(defaults, {"gamma_schedule": [[0, 1.0]]})


@pytest.mark.parametrize(
    ("step", "value"), [(0, 1.0), (50, 1.0), (150, 0.75), (300, 0.0), (10**9, 0.0)]
)
def test_schedules_join_points_by_lines(step, value):
    schedule = piecewise_linear("lr_schedule", [[100, 1.0], [200, 0.5], [300, 0.0]])
    assert schedule(step) == pytest.approx(value)


@pytest.mark.parametrize("points", [[], 0.1, [[0, 1.0], [0, 0.5]], [[5, 1.0], [1, 0.5]], [[1]]])
def test_other_schedules_are_errors(points):
    with pytest.raises(ValueError, match="lr_schedule must be a list of"):
        piecewise_linear("lr_schedule", points)


def test_frameworks_are_found_by_name(monkeypatch):
    with pytest.raises(ValueError, match="unknown framework 'troch'; did you mean 'torch'"):
        resolve_framework("troch")
    monkeypatch.setattr("rl_policy.config.find_spec", lambda name: None)
    for name in ("auto", "torch"):
        with pytest.raises(ImportError, match=r"pip install 'rl-policy\[torch\]'"):
            resolve_framework(name)
    with pytest.raises(
        ImportError, match=r"torch or tensorflow is not .*'rl-policy\[tensorflow\]'"
    ):
        resolve_framework("auto")
    with pytest.raises(ImportError, match="and tensorflow is not installed"):
        resolve_framework("tf2")


@pytest.mark.parametrize(
    ("there", "name", "found"),
    [
        ({"torch", "tensorflow"}, "auto", "torch"),
        ({"tensorflow"}, "auto", "tf"),
        ({"torch", "tensorflow"}, "tf", "tf"),
        ({"tensorflow"}, "tf2", "tf2"),
        ({"tensorflow"}, "tfe", "tf2"),
    ],
)
def test_frameworks_are_torch_graphs_and_eager(monkeypatch, there, name, found):
    monkeypatch.setattr("rl_policy.config.find_spec", lambda name: name in there or None)
    assert resolve_framework(name) == found
    assert package_of(found) == ("torch" if found == "torch" else "tf")
