from __future__ import annotations

from pathlib import Path

from tools.workspace import Package, first_party, packages, third_party, unit_variants


def test_packages_come_lowest_layer_first() -> None:
    below: set[str] = set()
    for name in packages():
        below.add(name)
        assert {package.name for package in first_party(name)} <= below


def test_every_package_has_a_unit_variant() -> None:
    assert {variant.partition("[")[0] for variant in unit_variants()} == set(packages())


def test_an_extra_brings_its_requirements_and_a_bare_wheel_does_not() -> None:
    assert any(text.startswith("torch") for text in third_party("rl-policy[torch]"))
    assert any(text.startswith("torch") for text in third_party("rl-algos[torch]"))
    assert not any(text.startswith("torch") for text in third_party("rl-algos"))


def test_the_hash_follows_the_files_of_the_wheel(tmp_path: Path) -> None:
    package = Package("rl-toy", tmp_path)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_text("x")
    module = tmp_path / "src" / "rl_toy" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    before = package.tree_hash()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("not in the wheel")
    assert package.tree_hash() == before
    module.write_text("a = 1\n")
    assert package.tree_hash() != before
