"""Every switch that the original's pages print is there, with its default, and the help says so."""

import re

import pytest

from mu_twisted.daemons import coordinator, rendezvous

COMMON = """
  -h:            show this message
  -D:            enable debug                                    (disabled)
  -P pFile:      profiling data output file                      (None)
  -c caCert:     CA certificate file                             (None)
  -s srvCert:    server certificate file                         (None)
  -k srvKey:     server key file                                 (None)
"""
JOB = """
  -O oFile:      state machine times output file                 (None)
  -n nParts:     launch nParts lambdas                           (1)
  -o nOffset:    skip this many input chunks when processing     (0)
  -b bucket:     S3 bucket in which videos are stored            ('excamera-us-east-1')
  -t portNum:    listen on portNum                               (13579)
  -r r1,r2,...:  comma-separated list of regions                 ('us-east-1')
"""
TABLES = {
    "png2y4m": """
  -f nFrames:    number of frames to process in each chunk       (6)
  -v vidName:    video name                                      ('sintel-1k')
  -i inFormat:   input format ('png16', 'y4m_06', etc)           ('png16')
  -l fnName:     lambda function name                            ('png2y4m')
""",
    "xcenc": """
  -p nPasses:    number of xcenc passes                          (7)
  -S s_ac_qi:    use s_ac_qi for S quantizer                     (127)
  -Y y_ac_qi:    use y_ac_qi for Y quantizer                     (30)
  -v vidName:    video name                                      ('sintel-1k-y4m_06')
  -H stHostAddr: hostname or IP for nat punching host            (127.0.0.1)
  -T stHostPort: port number for nat punching host               (13337)
  -l fnName:     lambda function name                            ('xcenc')
""",
}
RENDEZVOUS = """
  -n nParts:     launch nParts lambdas                           (1024)
  -t portNum:    listen on portNum                               (13337)
"""
ROW = re.compile(r"^ {2}(-\w)[^:]*: .*\((\S*)\)$|^ {2}(-h):", re.MULTILINE)


def switches(table: str) -> dict[str, str]:
    """The switches of an original's table, each with its default."""
    return {found[1] or found[3]: (found[2] or "").strip("'") for found in ROW.finditer(table)}


def helped(kind: type, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """What our help prints for each short switch, on one line."""
    with pytest.raises(SystemExit) as caught:
        kind().parseOptions([*words])
    assert not caught.value.code
    printed = re.sub(r"\n {10,}", " ", capsys.readouterr().out)
    return {line[2:4]: line for line in printed.splitlines() if re.match(r"  -\w, ", line)}


def check(switch: str, default: str, line: str, name: str) -> None:
    if switch == "-h":
        assert line.startswith("  -h, --help ")
    elif default in ("None", "disabled"):
        assert not re.search(r"\[default: ", line), f"{switch} of {name} has a default of its own: {line}"
    elif switch == "-l":
        assert "(default: the pipeline's name)" in line
        assert default == name
    elif switch == "-n" and name == "rendezvous":
        assert "has no effect" in line
    else:
        shown = re.search(r"[\[(]default: ([^])]*)[\])]", line)
        assert shown, f"{switch} of {name} is shown without its default: {line}"
        assert re.sub(r"\s", "", shown[1]) == default


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("asking", ["--help", "-h"])
def test_a_pipelines_help_prints_the_originals_switches_with_their_defaults(
    name: str, asking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = helped(coordinator.Options, capsys, name, asking)
    wanted = switches(COMMON + JOB + TABLES[name])
    assert len(wanted) == len([*(COMMON + JOB + TABLES[name]).split("\n  -")]) - 1
    for switch, default in wanted.items():
        assert switch in lines, f"{name} does not know {switch}"
        check(switch, default, lines[switch], name)


@pytest.mark.parametrize(
    "words",
    [
        ["xcenc", "-h", "192.0.2.1"],
        ["xcenc", "-n", "4", "-h", "myhost", "-l", "f"],
        ["-h", "192.0.2.1", "xcenc"],
        ["-D", "-h", "myhost", "png2y4m", "-n", "4"],
        ["exec", "-h", "myhost", "--", "true"],
    ],
)
def test_the_originals_switch_for_the_address_is_refused_and_not_the_help(
    words: list[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        coordinator.Options().parseOptions(words)
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [["-h"], ["-h", "xcenc"], ["-h", "./mine.py"], ["xcenc", "-h", "-n", "4"]])
def test_the_help_is_shown_where_it_is_asked_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        coordinator.Options().parseOptions(words)
    assert ended.value.code == 0
    assert "Usage: " in capsys.readouterr().out


def test_the_rendezvous_help_prints_the_originals_switches_with_their_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = helped(rendezvous.Options, capsys, "--help")
    for switch, default in switches(COMMON + RENDEZVOUS).items():
        check(switch, default, lines[switch], "rendezvous")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vpxenc", {"-v": "sintel-1k-y4m_06"}),
        ("xcenc7", {"-v": "sintel-1k-y4m_06", "-f": "6", "-K": "16", "-Y": "30", "-T": "13337", "-u": "disabled"}),
        ("linpack", {"-n": "16", "-X": "0", "-m": "None"}),
    ],
)
def test_the_other_servers_switches_are_there_too(
    name: str, wanted: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = helped(coordinator.Options, capsys, name, "--help")
    for switch, default in {**switches(COMMON), **wanted}.items():
        check(switch, default, lines[switch], name)


@pytest.mark.parametrize(
    "line",
    [
        "-n 5 -l png2y4m_cP4Mf5pn -b mybucket",
        "-D -O times -P profile -n 5 -f 3 -o 2 -v sintel -b mine -i png -t 13579 -l fn -r us-east-1,us-west-2",
    ],
)
def test_the_originals_lines_for_png2y4m_are_understood(line: str) -> None:
    options = coordinator.Options()
    options.parseOptions(["png2y4m", *line.split()])  # type: ignore[no-untyped-call]
    assert options.settings["tasks"] == 5


@pytest.mark.parametrize(
    "line",
    [
        "-n 25 -p 5 -H 192.0.2.1 -T 13337 -l xc-enc_XXXXXXXX -b bucketName -v videoName",
        "-n 25 -o 3 -S 100 -Y 40 -t 13579 -r us-east-1 -D",
    ],
)
def test_the_originals_lines_for_xcenc_choose_its_mode_of_2016(line: str) -> None:
    options = coordinator.Options()
    options.parseOptions(["xcenc", *line.split()])  # type: ignore[no-untyped-call]
    assert (options.settings["tasks"], bool(options.settings["chain"])) == (25, True)


@pytest.mark.parametrize(("value", "wanted"), [("1", 1), ("0", 0), ("", 0)])
def test_the_embedded_default_can_be_asked_for_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, wanted: int
) -> None:
    monkeypatch.setenv("MU_LOCAL", value)
    options = coordinator.Options()
    options.parseOptions(["png2y4m"])  # type: ignore[no-untyped-call]
    assert options["local"] == wanted
