"""What RLlib 1.x's config keys become here: other names, nothing at all, or a hint."""

from __future__ import annotations

from typing import Any

ANY = object()
"""Every value of the key asks for nothing that is done differently here."""

RENAMED = {
    "evaluation_num_episodes": "evaluation_duration",
    "metrics_smoothing_episodes": "metrics_num_episodes_for_smoothing",
    "min_iter_time_s": "min_time_s_per_reporting",
}
"""{RLlib's name: ours} where only the name differs."""

UNSUPPORTED: dict[str, tuple[Any, str]] = {
    # key: (the value that asks for nothing, what to do about another one)
    "use_gae": (True, 'set "lambda": 1.0 for plain returns with a value baseline'),
    "use_critic": (True, "a value net is always learned; PG is the algorithm without one"),
    "vf_clip_param": (10.0, "vf_clip_range clips values by how far they move, not by their error"),
    "clip_rewards": (False, "wrap the environment in gymnasium.wrappers.TransformReward"),
    "horizon": (None, 'limit episodes in the environment: "env_config": {"max_episode_steps": n}'),
    "soft_horizon": (False, "truncation bootstraps without it"),
    "no_done_at_end": (False, "truncated episodes bootstrap without it"),
    "env_task_fn": (None, "change the task in the environment, or in callbacks"),
    "input": ("sampler", "training from files is not supported"),
    "input_evaluation": (ANY, ""),
    "input_config": ({}, "training from files is not supported"),
    "output": (None, "samples are not written to files; take them from rl_workers"),
    "output_config": ({}, "samples are not written to files"),
    "exploration_config": (
        {"type": "StochasticSampling"},
        "actions are drawn from the policy's distribution; explore says whether",
    ),
    "optimizer": ({}, "one of adam, sgd, rmsprop; adam_epsilon and lr are keys of their own"),
    "remote_worker_envs": (False, "raise num_workers to step environments in other processes"),
    "remote_env_batch_wait_ms": (0, "raise num_workers instead"),
    "replay_mode": ("independent", "not supported"),
    "observation_fn": (None, "share observations in postprocess_fn, which sees all agents"),
    "count_steps_by": ("env_steps", "batches are counted in environment steps"),
    "placement_strategy": ("PACK", "Ray places the workers; PACK is what they ask for"),
    "custom_resources_per_worker": ({}, "only num_cpus_per_worker is asked for"),
    "sample_async": (False, "A3C-like sampling is not supported; leave it out"),
    "custom_eval_function": (None, "evaluate in a callback, or call Trainer.evaluate"),
    "ignore_worker_failures": (False, "a worker that dies ends the run; go on with --resume"),
    "recreate_failed_workers": (False, "a worker that dies ends the run; go on with --resume"),
    "microbatch_size": (None, "it is a key of A2C"),
}
"""{key: (harmless value, hint)}; the harmless value is RLlib's default."""

IGNORED = {
    *("simple_optimizer", "log_sys_usage", "create_env_on_driver", "compress_observations"),
    *("preprocessor_pref", "synchronize_filters", "disable_env_checking", "fake_sampler"),
    *("sample_collector", "eager_max_retraces", "tf_session_args", "local_tf_session_args"),
    *("collect_metrics_timeout", "metrics_episode_collection_timeout_s", "logger_config"),
    *("keep_per_episode_custom_metrics", "policy_map_capacity", "policy_map_cache", "monitor"),
    *("min_train_timesteps_per_reporting", "min_sample_timesteps_per_reporting", "render_env"),
    *("timesteps_per_iteration", "shuffle_buffer_size", "output_compress_columns", "record_env"),
    *("output_max_file_size", "postprocess_inputs", "actions_in_input_normalized"),
    *("always_attach_evaluation_results", "extra_python_environs_for_driver", "shuffle_sequences"),
    *("extra_python_environs_for_worker", "_fake_gpus", "_disable_preprocessor_api"),
    *("_disable_action_flattening", "_disable_execution_plan_api"),
    *("_tf_policy_handles_more_than_one_loss", "enable_connectors"),
}
"""Keys that change how RLlib does something and not what is learned: passed over."""

MODEL_UNSUPPORTED: dict[str, tuple[Any, str]] = {
    "use_attention": (False, "use_lstm, or a custom_model"),
    "framestack": (True, "wrap the environment in FrameStackObservation"),
    "dim": (84, "wrap the environment in AtariPreprocessing(screen_size=…)"),
    "grayscale": (False, "wrap the environment in AtariPreprocessing(grayscale_obs=True)"),
    "zero_mean": (True, "scale in the environment"),
    "lstm_use_prev_action_reward": (False, "lstm_use_prev_action and lstm_use_prev_reward"),
    "no_final_linear": (False, "use a custom_model"),
    "custom_preprocessor": (None, "wrap the environment"),
    "_time_major": (False, "use a custom_model"),
    "_disable_action_flattening": (ANY, ""),
    "_disable_preprocessor_api": (ANY, ""),
    "_use_default_native_models": (ANY, ""),
}
"""As `UNSUPPORTED`, of the keys inside `model`."""

SPEC_IGNORED = {
    "max_failures": "a run that ended early goes on with --resume",
    "resources_per_trial": "one experiment runs at a time",
    "trial_resources": "one experiment runs at a time",
    "upload_dir": "copy the run's directory",
    "sync_on_checkpoint": "nothing is uploaded",
    "sync_config": "nothing is uploaded",
    "export_formats": "each checkpoint holds policies that rl_policy.load_policy loads",
    "verbose": "use -v",
    "pass_criteria": "it is of RLlib's own tests",
    "checkpoint_config": "use checkpoint_freq, keep_checkpoints_num, checkpoint_score_attr",
}
"""Keys beside `config` that change nothing that is learned: noted."""

SPEC_UNSUPPORTED = {
    "restore": "rl train --resume CHECKPOINT",
    "scheduler": "tune with ray.tune and rl_algos.tune",
    "search_alg": "tune with ray.tune and rl_algos.tune",
}
"""Keys beside `config` that ask for something else."""
