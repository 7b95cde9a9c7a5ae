from __future__ import annotations

from tools.pins import HEADER, constraint, constraints


def locked(name: str, version: str = "1.0", **more: object) -> dict[str, object]:
    return {"name": name, "version": version, "groups": ["main"], **more}


def test_a_local_version_is_stripped() -> None:
    assert constraint(locked("torch", "2.13.0+cpu")) == "torch==2.13.0"


def test_a_marker_is_kept() -> None:
    marker = 'python_version == "3.10"'
    assert constraint(locked("tomli", markers=marker)) == f"tomli==1.0 ; {marker}"


def test_markers_by_group_are_joined() -> None:
    package = locked("colorama", groups=["main", "test"], markers={"test": "b", "main": "a"})
    assert constraint(package) == "colorama==1.0 ; (a) or (b)"


def test_a_group_without_a_marker_needs_the_pin_everywhere() -> None:
    package = locked("x", groups=["main", "test"], markers={"test": "python_version == '3.10'"})
    assert constraint(package) == "x==1.0"


def test_our_own_packages_and_gpu_builds_are_left_out() -> None:
    lock = {
        "package": [
            locked("rl-sample", source={"type": "directory", "url": "packages/rl-sample"}),
            locked("nvidia-cublas"),
            locked("triton"),
            locked("numpy", "2.4.6"),
        ]
    }
    assert constraints(lock) == HEADER + "numpy==2.4.6\n"


def test_only_a_choice_of_versions_keeps_its_markers() -> None:
    old, new = 'python_version == "3.10"', 'python_version > "3.10"'
    lock = {
        "package": [
            locked("keras", "3.12.4", markers=old),
            locked("keras", "3.15.1", markers=new),
            locked("grpcio", markers='platform_machine == "x86_64"'),
        ]
    }
    lines = [f"keras==3.12.4 ; {old}", f"keras==3.15.1 ; {new}", "grpcio==1.0"]
    assert constraints(lock) == HEADER + "\n".join(lines) + "\n"
