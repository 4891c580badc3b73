"""`ostraka serve`: from flags, variables and a file to a running member."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ostraka.cli.flags import NEUTRAL, NOTES, UNBUILT, WITHOUT_MEANING, usage
from ostraka.cli.sources import TRUE, Setting, duration, gather, number
from ostraka.consensus.engines import ENGINES
from ostraka.errors import ConfigurationError
from ostraka.model.engine import Settings
from ostraka.model.ids import MILLISECOND, Duration
from ostraka.server.config import ServerConfig, check, parse_cluster, parse_urls

PERCENT = 10_000  # Millionths.
LOG_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "error": "error", "panic": "error", "fatal": "error"}


def run(arguments: Sequence[str]) -> int:
    """Serve until told to stop. The exit code: 0 stopped in order, 1 failed, 2 wrong flags."""
    warnings: list[str] = []
    try:
        settings, wants_help = gather(arguments, os.environ, warnings)
        if wants_help:
            print(usage())
            return 0
        config = build(settings, warnings)
    except ConfigurationError as error:
        print(f"ostraka serve: {error}", file=sys.stderr)
        return 2
    from ostraka.server import shell

    return shell.serve(config, warnings)


def configure(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[ServerConfig, list[str]]:
    """The configuration that these flags and variables ask for, and the warnings. Raises ConfigurationError."""
    warnings: list[str] = []
    settings, _ = gather(arguments, environment, warnings)
    return build(settings, warnings), warnings


def build(settings: Mapping[str, Setting], warnings: list[str]) -> ServerConfig:
    """Turn gathered settings into a checked configuration. Raises ConfigurationError."""
    _judge(settings, warnings)
    text = {name: setting.text for name, setting in settings.items()}
    if "listen-client-urls" in text and "advertise-client-urls" not in text:
        raise ConfigurationError(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly: "
            "clients are sent there; give the URLs by which they reach this member"
        )
    default = ServerConfig()
    name = text.get("name") or default.name
    peers = _urls(settings, "initial-advertise-peer-urls", default.initial_advertise_peer_urls)
    initial = {name: peers}  # As etcd does where only the name is given.
    if "initial-cluster" in text:
        initial = parse_cluster(settings["initial-cluster"].source, text["initial-cluster"])
    config = ServerConfig(
        name=name,
        data_dir=Path(text.get("data-dir") or f"{name}.ostraka"),
        listen_client_urls=_urls(settings, "listen-client-urls", default.listen_client_urls),
        advertise_client_urls=_urls(settings, "advertise-client-urls", default.advertise_client_urls),
        listen_peer_urls=_urls(settings, "listen-peer-urls", default.listen_peer_urls),
        initial_advertise_peer_urls=peers,
        initial_cluster=initial,
        existing=_one_of(settings, "initial-cluster-state", ("new", "existing"), "new") == "existing",
        token=text.get("initial-cluster-token", default.token),
        consensus=_one_of(settings, "consensus", tuple(ENGINES), default.consensus),
        settings=_engine_settings(settings),
        max_request_bytes=_number(settings, "max-request-bytes", default.max_request_bytes),
        max_txn_ops=_number(settings, "max-txn-ops", default.max_txn_ops),
        progress_every=_duration(
            settings,
            ("watch-progress-notify-interval", "experimental-watch-progress-notify-interval"),
            default.progress_every,
        ),
        log_level=LOG_LEVELS[_one_of(settings, "log-level", tuple(LOG_LEVELS), "info")],
    )
    check(config)
    return config


def _judge(settings: Mapping[str, Setting], warnings: list[str]) -> None:
    """Refuse what promises safety that isn't built; warn of what has no meaning."""
    for name in sorted(settings):
        text, source = settings[name]
        if name in UNBUILT:
            kind, promise = UNBUILT[name]
            asked = text in TRUE if kind.value == "true|false" else text not in ("", *NEUTRAL.get(name, ()))
            if asked:
                raise ConfigurationError(
                    f"{source} asks for {promise}, which is not built yet: starting without it would promise safety "
                    "that isn't there; leave it out if you can do without"
                )
        elif name in WITHOUT_MEANING:
            note = f" ({NOTES[name]})" if name in NOTES else ""
            warnings.append(f"{source} has no meaning here and is ignored{note}")


def _engine_settings(settings: Mapping[str, Setting]) -> Settings:
    default = Settings()
    return msgspec.structs.replace(
        default,
        heartbeat=_number(settings, "heartbeat-interval", default.heartbeat // MILLISECOND) * MILLISECOND,
        election_timeout=_number(settings, "election-timeout", default.election_timeout // MILLISECOND) * MILLISECOND,
        compact_every=max(1, _number(settings, "snapshot-count", default.compact_every)),
        priority=_number(settings, "leader-priority", 0),
        lease=_number(settings, "leader-lease", 0) * MILLISECOND,
        clock_drift=_number(settings, "clock-drift", default.clock_drift // PERCENT) * PERCENT,
    )


def _urls(settings: Mapping[str, Setting], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    setting = settings.get(name)
    return default if setting is None else parse_urls(setting.source, setting.text)


def _number(settings: Mapping[str, Setting], name: str, default: int) -> int:
    setting = settings.get(name)
    return default if setting is None else number(setting)


def _duration(settings: Mapping[str, Setting], names: Sequence[str], default: Duration) -> Duration:
    """By the first of these names that is set."""
    return next((duration(settings[name]) for name in names if name in settings), default)


def _one_of(settings: Mapping[str, Setting], name: str, choices: tuple[str, ...], default: str) -> str:
    setting = settings.get(name)
    if setting is None:
        return default
    if setting.text not in choices:
        raise ConfigurationError(f'invalid value "{setting.text}" for {setting.source}: give {" or ".join(choices)}')
    return setting.text
