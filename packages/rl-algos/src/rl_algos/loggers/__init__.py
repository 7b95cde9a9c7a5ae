"""Where results go besides the screen: files, TensorBoard, Weights & Biases, MLflow, your own."""

from rl_algos.loggers.logger import Logger, Loggers
from rl_algos.loggers.making import DEFAULT_LOGGERS, make_loggers
from rl_algos.loggers.params import describe_run, write_params

__all__ = [
    "DEFAULT_LOGGERS",
    "Logger",
    "Loggers",
    "describe_run",
    "make_loggers",
    "write_params",
]
