"""MLflow: one of its runs for each of ours, on a tracking server or in a local folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_algos.loggers.making import import_extra
from rl_algos.loggers.scalars import curves, to_json

SECONDS = 5.0
"""Least time between two requests to the server; results are gathered meanwhile."""
MOST, MOST_PARAMS, LONGEST = 1000, 100, 6000
"""Metrics in one request, params in one, characters of a param: as many as MLflow takes."""


class MlflowLogger:
    """An MLflow run with the directory's name; x is `timesteps_total`.

    Set up as MLflow is everywhere: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME (`rl-algos` where it
    is not set), … Without a URI results go to `mlruns` beside the run's directory. A resumed run
    continues its MLflow run, which keeps what it was sent.
    """

    def __init__(
        self, directory: Path, params: Mapping[str, Any] | None = None, after_iteration: int = 0
    ) -> None:
        self._entities = import_extra("mlflow.entities", "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            uri = (directory.resolve().parent / "mlruns").as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow asks for consent
        self._client = import_extra("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=uri)
        remembered = directory / ".mlflow_run_id"
        if after_iteration and remembered.exists():
            self._run_id = remembered.read_text()
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            self._run_id = self._create(directory.resolve().name, params or {})
            remembered.write_text(self._run_id)
        self._pending: list[Any] = []
        self._sent = time.monotonic()

    def log(self, result: Mapping[str, Any]) -> None:
        """Gather the result's curves; send them, unless that has just been done."""
        now, step = int(1000 * time.time()), int(result["timesteps_total"])
        metric = self._entities.Metric
        self._pending += [metric(_name(k), v, now, step) for k, v in curves(result).items()]
        if time.monotonic() - self._sent >= SECONDS:
            self._send()

    def close(self) -> None:
        """Send the rest and mark the run as finished."""
        self._send()
        self._client.set_terminated(self._run_id)

    def __repr__(self) -> str:
        return f"MlflowLogger({self._client.tracking_uri!r})"

    def _send(self) -> None:
        while self._pending:
            self._client.log_batch(self._run_id, metrics=self._pending[:MOST])
            del self._pending[:MOST]
        self._sent = time.monotonic()

    def _create(self, name: str, params: Mapping[str, Any]) -> str:
        """A new run that holds the params; its id."""
        client, experiment = self._client, os.environ.get("MLFLOW_EXPERIMENT_NAME", "rl-algos")
        found = client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else client.create_experiment(experiment)
        run_id = str(client.create_run(where, run_name=name).info.run_id)
        given = {**params.get("config", {}), **{k: params.get(k) for k in ("algorithm", "seed")}}
        texts = {k: v if isinstance(v, str) else to_json(v) for k, v in given.items()}
        entries = [self._entities.Param(k, text[:LONGEST]) for k, text in texts.items()]
        for first in range(0, len(entries), MOST_PARAMS):
            client.log_batch(run_id, params=entries[first : first + MOST_PARAMS])
        return run_id


def _name(key: str) -> str:
    """A metric's name with the characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-./ :" else "_" for c in key)
