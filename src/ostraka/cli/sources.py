"""Where settings come from: flags in Go's style, environment variables and a YAML file.

The first that names a setting wins: flag, OSTRAKA_* variable, ETCD_* variable, file, default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ostraka.cli.flags import KINDS, Kind
from ostraka.errors import ConfigurationError
from ostraka.model.ids import MILLISECOND, SECOND, Duration

OURS, ETCDS = "OSTRAKA_", "ETCD_"
OTHER_VARIABLES = ("OSTRAKA_TEST_", "OSTRAKA_ENDPOINTS")  # Not settings of a server.
SECTIONS = {"client-transport-security": "", "peer-transport-security": "peer-"}
TRUE = ("1", "t", "T", "true", "TRUE", "True")
UNITS = {"ns": 1, "us": 1_000, "ms": MILLISECOND, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Setting(NamedTuple):
    """A setting's text, and where it was given, as a message shows it."""

    text: str
    source: str


def gather(
    arguments: Sequence[str], environment: Mapping[str, str], warnings: list[str]
) -> tuple[dict[str, Setting], bool]:
    """All settings by flag name, and whether help is asked for. Raises ConfigurationError."""
    from_flags, wants_help = parse_flags(arguments)
    settings = {**_from_environment(environment, warnings), **from_flags}
    if (file := settings.get("config-file")) is not None and file.text and not wants_help:
        settings = {**read_file(file.text), **settings}
    for name, setting in settings.items():
        _check_kind(name, setting)
    return settings, wants_help


def parse_flags(arguments: Sequence[str]) -> tuple[dict[str, Setting], bool]:
    """The flags of a command line as Go reads them: -name x, --name=x; a boolean takes its value after = only."""
    settings: dict[str, Setting] = {}
    rest = list(reversed(arguments))
    while rest:
        argument = rest.pop()
        if argument in ("-h", "--h", "-help", "--help"):
            return settings, True
        if not argument.startswith("-") or argument == "-" or argument == "--":
            hint = " (a boolean takes its value after '=')" if argument in TRUE + FALSE else ""
            raise ConfigurationError(f"{argument!r} is not a valid flag{hint}; see ostraka serve --help")
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        flag = f"--{name}"
        if name not in KINDS:
            raise ConfigurationError(f"flag provided but not defined: {flag}{_near(name)}")
        if not equals and KINDS[name] is Kind.BOOLEAN:
            value = "true"
        elif not equals:
            if not rest:
                raise ConfigurationError(f"flag needs an argument: {flag}")
            value = rest.pop()
        settings[name] = Setting(value, flag)
    return settings, False


def _near(name: str, prefix: str = "--") -> str:
    near = difflib.get_close_matches(name, KINDS, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(prefix + other for other in near)}?" if near else "; see ostraka serve --help"


def _from_environment(environment: Mapping[str, str], warnings: list[str]) -> dict[str, Setting]:
    settings: dict[str, Setting] = {}
    for prefix in (ETCDS, OURS):  # The later wins.
        for variable in sorted(environment):
            if not variable.startswith(prefix) or variable.startswith(OTHER_VARIABLES):
                continue
            name = variable.removeprefix(prefix).lower().replace("_", "-")
            if name in KINDS:
                if environment[variable]:
                    settings[name] = Setting(environment[variable], variable)
            else:
                warnings.append(f"unrecognized environment variable {variable}: it is ignored{_near(name, '')}")
    return settings


def read_file(path: str) -> dict[str, Setting]:
    """The settings of a configuration file such as etcd's. Raises ConfigurationError."""
    import msgspec

    try:
        with open(path, "rb") as file:
            content = msgspec.yaml.decode(file.read(), type=dict[str, Any] | None)
    except OSError as error:
        raise ConfigurationError(f"--config-file {path} can't be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"--config-file {path} is not a YAML map of settings: {error}") from error
    settings: dict[str, Setting] = {}
    for key, value in (content or {}).items():
        if key not in SECTIONS:
            _put(settings, key, value, path)
            continue
        if not isinstance(value, dict | None):
            raise ConfigurationError(f"{path}: {key} must be a map, not {value!r}")
        for inner, setting in (value or {}).items():
            _put(settings, SECTIONS[key] + inner.removeprefix(SECTIONS[key] or "\0"), setting, path)
    return settings


def _put(settings: dict[str, Setting], name: str, value: object, path: str) -> None:
    if name not in KINDS or name == "config-file":
        raise ConfigurationError(f"{path}: unknown setting {name!r}{_near(name, '')}")
    match value:
        case None:
            return
        case bool():
            text = "true" if value else "false"
        case list():
            text = ",".join(str(part) for part in value)
        case _:
            text = str(value)
    settings[name] = Setting(text, f"{path}: {name}")


def _check_kind(name: str, setting: Setting) -> None:
    if KINDS[name] is Kind.BOOLEAN and setting.text not in TRUE + FALSE:
        raise ConfigurationError(f'invalid boolean value "{setting.text}" for {setting.source}: give true or false')
    if KINDS[name] is Kind.NUMBER:
        number(setting)


def number(setting: Setting) -> int:
    """The setting as a whole number of at least 0. Raises ConfigurationError."""
    try:
        value = int(setting.text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise ConfigurationError(f'invalid value "{setting.text}" for {setting.source}: give a whole number')
    return value


def duration(setting: Setting) -> Duration:
    """The setting as Go writes a time: `1h5m`, `10m0s`, `1.5s`, `100ms`. Raises ConfigurationError."""
    parts = re.findall(r"(\d+\.?\d*)(ns|us|ms|s|m|h)", setting.text)
    if not parts or "".join(map("".join, parts)) != setting.text:
        raise ConfigurationError(
            f'invalid duration "{setting.text}" for {setting.source}: give a number with its unit, such as 10m or 500ms'
        )
    return sum(int(float(count) * UNITS[unit]) for count, unit in parts)
