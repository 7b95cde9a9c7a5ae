"""The sessions: `nox -s train` learns CartPole, `nox -s tests` runs everything that CI runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools.environments import Environment, build, environment
from tools.footprint import Footprint, limit_problems, published, readme_problems, replace_table
from tools.release_check import installed_problems, wheel_problems
from tools.reports import Counts
from tools.workspace import ROOT, WORK, packages, peers, unit_variants

nox.needs_version = ">=2025.2"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"  # tools/environments.py makes and reuses them

REPORTS = WORK / "reports"
TRAINING = "rl-algos[torch]"
"""What training needs."""
FRAMEWORKS = "rl-algos[torch,tensorflow-cpu]"
"""What the reference is read from."""
EVERYTHING = "rl-algos[torch,tensorflow-cpu,plot,tune,video,wandb,mlflow]"
"""The variant that brings all packages and extras; others than `unit` share its environment."""
BENCHMARKS = (
    *("learning", "time_to_solve", "sampling", "training_rate", "ray_cost", "startup"),
    *("checkpoint", "logging_cost", "acting_latency", "frameworks", "memory", "padding"),
)


@nox.session
def train(session: nox.Session) -> None:
    """Train PPO on CartPole-v1 and watch it; arguments after `--` go to `rl train`."""
    env = unit_environment(session, TRAINING)
    env.run("rl", "train", "--run=PPO", "--env=CartPole-v1", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that CI runs."""
    shutil.rmtree(REPORTS, ignore_errors=True)
    session.notify("lint")
    for variant in unit_variants():
        session.notify(f"unit({variant})")
    for name in ("unit(tools)", "typecheck", "integration", "docs", "release_check", "summary"):
        session.notify(name)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, the import contracts, public imports only, pins in step with the lock."""
    env = tools_environment(session)
    sources = os.pathsep.join(str(package.directory / "src") for package in packages().values())
    checks = {
        "ruff check": env.passes("ruff", "check", "."),
        "ruff format": env.passes("ruff", "format", "--check", "."),
        "import contracts": env.passes(
            "lint-imports", "--no-logo", "--no-cache", PYTHONPATH=sources
        ),
        "public imports": env.passes("python", "-m", "tools.public_imports"),
        "pins": env.passes("python", "-m", "tools.pins", "--check"),
    }
    if not all(checks.values()):
        session.error(f"failed: {', '.join(name for name, passed in checks.items() if not passed)}")


@nox.session
@nox.parametrize("variant", [nox.param(v, id=v) for v in (*unit_variants(), "tools")])
def unit(session: nox.Session, variant: str) -> None:
    """A package's tests against its wheel, with what it declares and nothing else."""
    if variant == "tools":
        pytest(tools_environment(session), variant, "tools/tests", *session.posargs)
        return
    env = unit_environment(session, variant)
    package = packages()[variant.partition("[")[0]]
    selection = " and ".join(
        f"({part})" for part in (unit_variants()[variant], "not learns") if part
    )
    with tempfile.TemporaryDirectory(prefix=f"{package.name}-") as away:
        for name in ("tests", "examples", "README.md"):
            source = package.directory / name
            if source.is_dir():
                shutil.copytree(source, Path(away, package.name, name))
            elif source.is_file():
                shutil.copy(source, Path(away, package.name, name))
        shutil.copy(ROOT / "pytest.ini", away)
        with session.chdir(away):
            pytest(env, variant, f"{package.name}/tests", "-m", selection, *session.posargs)


@nox.session
def typecheck(session: nox.Session) -> None:
    """What a user's type checker sees: mypy --strict over the installed wheels, and our tools."""
    env = unit_environment(session, EVERYTHING)
    tools = tools_environment(session)
    options = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", WORK / "mypy"]
    modules = [option for p in packages().values() for option in ("-p", p.module)]
    with tempfile.TemporaryDirectory() as away, session.chdir(away):
        tools.run("mypy", *options, "--python-executable", env.python, *modules)
    tools.run("mypy", *options, "noxfile.py", "tools")


@nox.session
def integration(session: nox.Session) -> None:
    """All wheels together: tests-integration/."""
    env = unit_environment(session, EVERYTHING)
    pytest(env, "integration", "tests-integration", "-m", "not learns", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in .nox/site; a warning fails it. `-- serve` shows it live."""
    env = environment(session, "docs", wheel=FRAMEWORKS, groups=["docs"])
    if "serve" in session.posargs:
        env.run("mkdocs", "serve")
    else:
        command = ("mkdocs", "build", "--strict", "--quiet", "--site-dir", WORK / "site")
        env.run(*command, NO_MKDOCS_2_WARNING="1")


@nox.session
def learn(session: nox.Session) -> None:
    """The long tests: does each algorithm reach its score?"""
    env = unit_environment(session, EVERYTHING)
    pytest(env, "learn", "tests-integration", "-m", "learns", *session.posargs)


@nox.session
def release_check(session: nox.Session) -> None:
    """Could these wheels be published? `-- --write` refreshes the footprints in README.md."""
    problems: list[str] = []
    measured: dict[str, Footprint] = {}
    for package in packages().values():
        variant = next(v for v in unit_variants() if v.partition("[")[0] == package.name)
        env = unit_environment(session, variant)
        problems += wheel_problems(package, build(session, package), set(packages()))
        seen = json.loads(env.output("python", "-I", ROOT / "tools" / "probe.py", package.name))
        problems += installed_problems(package, seen)
        measured[package.name] = Footprint.of(seen)
        problems += limit_problems(package.name, measured[package.name])
    if "--write" in session.posargs:
        replace_table(ROOT / "README.md", measured)
    stated = published((ROOT / "README.md").read_text())
    for name, footprint in measured.items():
        problems += readme_problems(name, footprint, stated.get(name))
        session.log(f"{name}: {footprint}")
    if problems:
        session.error("\n  " + "\n  ".join(problems))


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in BENCHMARKS])
def bench(session: nox.Session, name: str) -> None:
    """One of benchmarks/ against the peers; arguments after `--` go to the script."""
    pythons = {
        f"{peer.upper()}_PYTHON": str(environment(session, f"peer-{peer}", pinned=needed).python)
        for peer, needed in peers().items()
    }
    env = unit_environment(session, EVERYTHING)
    try:
        env.run("python", f"benchmarks/{name}.py", *session.posargs, **pythons)
    finally:  # it fails when a bound is missed; the results are written all the same
        env.run("python", "benchmarks/report.py")


@nox.session
def pins(session: nox.Session) -> None:
    """Lock anew and write constraints.txt, after a change of any pyproject.toml; needs Poetry."""
    session.run("poetry", "lock", *session.posargs, external=True)
    tools_environment(session).run("python", "-m", "tools.pins")


@nox.session
def summary(session: nox.Session) -> None:
    """Add up what the test sessions before it reported."""
    total = Counts()
    for report in sorted(REPORTS.glob("*.xml")):
        counts = Counts.read(report)
        total += counts
        print(f"{report.stem:24}{counts}")
    print(total)


def tools_environment(session: nox.Session) -> Environment:
    """Linters, type checker and the packages that our own tools import."""
    return environment(session, "tools", groups=["lint", "test"])


def unit_environment(session: nox.Session, variant: str) -> Environment:
    """A wheel, what it declares, and the test tools."""
    return environment(session, f"unit-{variant}", wheel=variant, groups=["test"])


def pytest(env: Environment, name: str, *args: str) -> None:
    """Run pytest and keep its report for `summary`."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    env.run("python", "-m", "pytest", *args, f"--junit-xml={REPORTS / name}.xml")
