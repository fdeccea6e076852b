"""What a daemon is to listen on is looked at before anything is, in words of our own."""

import pytest
from twisted.python.usage import UsageError

from mu_twisted.daemons._options import listen_description
from mu_twisted.daemons.coordinator import Options

WRONG = (
    *("x", "99999", "-1", "--1", "\u00b2", "\u0661", "9" * 5000),
    *("tcp:foo", "tcp:1:backlog=x", "tcp:1:nosuch=2", "nosuch:1", "tcp", "tcp6:port=", "systemd"),
)


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("switch", ["-t", "--control"])
def test_what_can_be_no_port_is_wrong_use(switch: str, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions([switch, text])
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: {switch}: expected a port")
    assert said.rstrip().endswith(
        (f"got {text!r} (--help shows the options)", f"got {text} (--help shows the options)")
    )


def test_a_file_that_an_endpoint_names_is_told_of() -> None:
    with pytest.raises(UsageError, match=r"got 'ssl:.*' \(/nosuch.pem: No such file or directory\)$"):
        listen_description("ssl:1:privateKey=/nosuch.pem")
