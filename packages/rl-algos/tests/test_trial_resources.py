"""What trials ask of a cluster, by numbers."""

from __future__ import annotations

import pytest

from rl_algos import ConfigError, resolve_config
from rl_algos.trial_resources import check_given, check_room, resource_bundles


def bundles(**keys):
    return resource_bundles(resolve_config("PPO", {"env": "CartPole-v1", **keys}).config)


def cpus(*sizes):
    return [{"CPU": size} for size in sizes]


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        ({}, [1]),
        ({"num_cpus_for_driver": 4}, [4]),
        ({"num_cpus_for_driver": None, "num_workers": 2}, [1, 1, 1]),
        ({"num_workers": 4, "num_cpus_per_worker": 0.5}, [1, 0.5, 0.5, 0.5, 0.5]),
        ({"num_workers": 4, "num_cpus_per_worker": 0}, [1]),
        ({"evaluation_num_workers": 1}, [1]),
        ({"num_workers": 1, "evaluation_num_workers": 2, "evaluation_interval": 5}, [1, 1, 1, 1]),
        (
            {
                "num_workers": 1,
                "evaluation_num_workers": 1,
                "evaluation_interval": 5,
                "evaluation_config": {"num_cpus_per_worker": 2},
            },
            [1, 1, 2],
        ),
    ],
)
def test_one_bundle_for_the_driver_and_one_for_each_worker(keys, sizes):
    assert bundles(**keys) == cpus(*sizes)


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (cpus(1), [1]),
        (cpus(1, 1, 1), [3]),
        (cpus(1, *[0.1] * 10), [2]),
        (cpus(1, 2, 2), [3, 2]),
        (cpus(2, 1.5), [3, 2]),  # the driver has to go to the smaller node
        (cpus(3, 2, 2, 2), [4, 5]),  # 2 + 2 and 3 + 2
        (cpus(1, 1), [0, 2]),
    ],
)
def test_what_fits_passes(asked, nodes):
    check_room(asked, cpus(*nodes))


@pytest.mark.parametrize(
    ("asked", "nodes", "message"),
    [
        (cpus(1, 1, 1), [2], r"asks for 3 CPUs \(1 for itself, 2 for 2 workers\).* has 2\. Lower"),
        (cpus(4), [2, 2], r"asks for 4 CPUs \(4 for itself\).* has 4 \(2 \+ 2; a process has"),
        (cpus(1, 2, 2), [3, 1, 1], "asks for 5 CPUs"),
        (cpus(1), [], "has 0"),
    ],
)
def test_what_can_never_fit_is_an_error(asked, nodes, message):
    with pytest.raises(ConfigError, match=message):
        check_room(asked, cpus(*nodes))


def test_a_cluster_that_grows_is_waited_for(monkeypatch):
    monkeypatch.setenv("RL_TUNE_CLUSTER_GROWS", "1")
    check_room(cpus(100), cpus(2))


def test_a_trial_that_was_given_too_little_says_so():
    check_given(cpus(1, 0.5, 0.5), 1.0)
    message = r"1 for itself, 1 for 2 workers.* given 0.5.*with_resources.*\[\{'CPU': 1\}, "
    with pytest.raises(ConfigError, match=message):
        check_given(cpus(1, 0.5, 0.5), 0.5)
