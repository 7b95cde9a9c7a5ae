"""Weights & Biases: one of its runs for each of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_algos.loggers.making import import_extra
from rl_algos.loggers.scalars import curves


class WandbLogger:
    """A W&B run with the directory's name; x is `timesteps_total`.

    Set up as W&B is everywhere: WANDB_API_KEY, WANDB_PROJECT (`rl-algos` where it is not set),
    WANDB_ENTITY, WANDB_MODE=offline, … A resumed run continues its W&B run; W&B keeps what it was
    sent, so iterations that are done again are there twice.
    """

    def __init__(
        self, directory: Path, params: Mapping[str, Any] | None = None, after_iteration: int = 0
    ) -> None:
        wandb = import_extra("wandb", "wandb")
        remembered = directory / ".wandb_run_id"
        given = dict(params or {})
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rl-algos"),
            name=directory.resolve().name,
            id=remembered.read_text() if after_iteration and remembered.exists() else None,
            resume="allow" if after_iteration else None,
            config={**given.pop("config", {}), **given},
            dir=str(directory),
            settings=wandb.Settings(console="off"),  # the terminal is the display's
        )
        remembered.write_text(self._run.id)
        self._run.define_metric("timesteps_total")
        self._run.define_metric("*", step_metric="timesteps_total")

    def log(self, result: Mapping[str, Any]) -> None:
        """Hand the result's curves to W&B's own process."""
        self._run.log({"timesteps_total": result["timesteps_total"], **curves(result)})

    def close(self) -> None:
        """Wait until all is sent or, offline, written."""
        self._run.finish()

    def __repr__(self) -> str:
        return f"WandbLogger({self._run.id!r})"
