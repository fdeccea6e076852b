"""The script that makes an instance the stack's host, beside programs that do what EC2 and the kernel do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ETC = Path(__file__).resolve().parents[2] / "etc"
VOLUME, INSTANCE = "vol-0123", "i-2"
DEVICE = "nvme-Amazon_Elastic_Block_Store_vol0123"

pytestmark = pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="needs e2fsprogs")

AWS = """\
#!/bin/sh
# EC2 with one volume: $EC2/holders has a line for each time that it is asked, then it is free.
echo "$*" >> "$EC2/calls"
case "$2" in
describe-volumes)
    if [ -s "$EC2/holders" ]; then
        holder=$(head -n 1 "$EC2/holders")
        sed -i 1d "$EC2/holders"
        echo "in-use $holder"
    else echo "available None"; fi ;;
attach-volume) ln -s "$EC2/disk" "$EC2/by-id/nvme-Amazon_Elastic_Block_Store_vol0123"; echo '{}' ;;
associate-address) echo '{}' ;;
*) exit 252 ;;
esac
"""


class Host:
    """An instance before its script has run."""

    def __init__(self, path: Path) -> None:
        self.path, self.ec2, self.root = path, path / "ec2", path / "root"
        (self.root / "etc").mkdir(parents=True)
        (self.root / "dev/disk").mkdir(parents=True)
        (self.ec2 / "by-id").mkdir(parents=True)
        (self.root / "dev/disk/by-id").symlink_to(self.ec2 / "by-id")
        with (self.ec2 / "disk").open("wb") as disk:
            disk.truncate(16 << 20)
        (path / "bin").mkdir()
        for name, script in {
            "aws": AWS,
            # The mount point is a directory of the root's own here.
            "mountpoint": "#!/bin/sh\ngrep -qs mounted $EC2/mounts\n",
            "mount": '#!/bin/sh\necho mounted "$@" >> $EC2/mounts\n',
            "resize2fs": "#!/bin/sh\nexit 0\n",
        }.items():
            (path / "bin" / name).write_text(script)
            (path / "bin" / name).chmod(0o755)

    def run(self) -> tuple[int, str]:
        """Run the script.

        :returns: its status, and what it says on standard error.
        """
        given = {
            "INSTANCE": INSTANCE,
            "VOLUME": VOLUME,
            "ALLOCATION": "eipalloc-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "COORDINATOR_OPTIONS": "--host-addr 192.0.2.1 --keep 30",
            "RENDEZVOUS_OPTIONS": "--probe-port 13336",
            "ROOT": str(self.root),
            "EC2": str(self.ec2),
            "PAUSE": "0",
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        ran = subprocess.run(
            ["bash", ETC / "ec2-host.sh"], env=given, capture_output=True, text=True, timeout=180, check=False
        )
        return ran.returncode, ran.stderr

    def calls(self, action: str) -> list[str]:
        """What EC2 was asked to do."""
        return [line for line in (self.ec2 / "calls").read_text().splitlines() if line.startswith(f"ec2 {action} ")]

    def kind(self) -> str:
        """What is on the volume."""
        words = ["/usr/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", str(self.ec2 / "disk")]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_new_volume_is_formatted_and_mounted_before_the_daemons_may_start(host: Host) -> None:
    assert host.run() == (0, "")
    assert host.kind() == "ext4"
    [line] = (host.root / "etc/fstab").read_text().splitlines()
    device, where, kind, options, _, _ = line.split()
    assert (device, where, kind) == (f"/dev/disk/by-id/{DEVICE}", "/var/lib/private/mu", "ext4")
    for daemon in ("mu-coordinator", "mu-rendezvous"):
        assert f"x-systemd.required-by={daemon}.service" in options.split(",")
        assert f"x-systemd.before={daemon}.service" in options.split(",")
    assert (host.ec2 / "mounts").read_text().split()[1:] == [
        str(host.root / f"dev/disk/by-id/{DEVICE}"),
        str(host.root / "var/lib/private/mu"),
    ]
    assert (host.root / "var/lib/private").stat().st_mode & 0o777 == 0o700
    assert (host.root / "etc/systemd/system/mu-coordinator.service").exists()


def test_its_address_and_options_are_the_stacks(host: Host) -> None:
    assert host.run() == (0, "")
    [called] = host.calls("associate-address")
    assert called.split()[2:] == ["--instance-id", INSTANCE, "--allocation-id", "eipalloc-1", "--allow-reassociation"]
    options = host.root / "etc/mu/coordinator.env"
    assert options.stat().st_mode & 0o777 == 0o600
    assert options.read_text() == (
        "MU_COORDINATOR_OPTIONS=--host-addr 192.0.2.1 --keep 30\nAWS_DEFAULT_REGION=eu-west-1\n"
    )
    assert (host.root / "etc/mu/rendezvous.env").read_text() == "MU_RENDEZVOUS_OPTIONS=--probe-port 13336\n"


def test_the_next_host_waits_for_the_volume_and_keeps_what_is_on_it(host: Host) -> None:
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-L", "before", host.ec2 / "disk"], check=True)
    before = (host.ec2 / "disk").read_bytes()
    (host.ec2 / "holders").write_text("i-1\ni-1\ni-1\n")
    assert host.run() == (0, "")
    assert len(host.calls("describe-volumes")) == 4
    assert len(host.calls("attach-volume")) == 1
    assert (host.ec2 / "disk").read_bytes() == before


def test_it_may_be_run_again(host: Host) -> None:
    assert host.run() == (0, "")
    before = (host.ec2 / "disk").read_bytes()
    (host.ec2 / "holders").write_text(f"{INSTANCE}\n")
    assert host.run() == (0, "")
    assert len(host.calls("attach-volume")) == 1
    assert (host.ec2 / "mounts").read_text().count("mounted") == 1
    assert len((host.root / "etc/fstab").read_text().splitlines()) == 1
    assert (host.ec2 / "disk").read_bytes() == before


def test_a_volume_that_stays_with_another_instance_is_told(host: Host) -> None:
    (host.ec2 / "holders").write_text("i-1\n" * 200)
    status, said = host.run()
    assert (status, said) == (
        1,
        "ec2-host.sh: volume vol-0123 is still in-use, at i-1: stop that instance, or detach the volume\n",
    )
    assert host.calls("attach-volume") == []


@pytest.mark.parametrize("content", ["swap", "something"])
def test_what_is_on_a_volume_is_never_overwritten(host: Host, content: str) -> None:
    disk = host.ec2 / "disk"
    if content == "swap":
        subprocess.run(["/usr/sbin/mkswap", disk], check=True, capture_output=True)
    else:
        with disk.open("r+b") as file:
            file.seek(700_000)
            file.write(b"a table of something")
    before = disk.read_bytes()
    status, said = host.run()
    assert status == 1
    assert said.startswith(f"ec2-host.sh: volume vol-0123 has {content}")
    assert said.count("\n") == 1
    assert disk.read_bytes() == before
    assert not (host.ec2 / "mounts").exists()
    assert not (host.root / "etc/systemd").exists(), "the daemons would start with another CA"


def test_a_call_that_aws_refuses_for_good_ends_it(host: Host) -> None:
    (host.path / "bin/aws").write_text("#!/bin/sh\necho 'An error occurred (UnauthorizedOperation)' >&2\nexit 254\n")
    status, said = host.run()
    assert status == 1
    assert "UnauthorizedOperation" in said.splitlines()[0]
    assert said.splitlines()[-1].startswith("ec2-host.sh: volume vol-0123 is still unknown, at unknown: ")
    assert not (host.root / "etc/systemd").exists()


def test_a_call_that_aws_refuses_at_first_is_made_again(host: Host) -> None:
    aws = (host.path / "bin/aws").read_text()
    refusing = '[ -e "$EC2/asked" ] || { touch "$EC2/asked"; echo Throttling >&2; exit 254; }\n'
    (host.path / "bin/aws").write_text(aws.replace("case ", f"{refusing}case ", 1))
    assert host.run() == (0, "Throttling\n")
    assert len(host.calls("attach-volume")) == 1


def test_a_file_system_that_cannot_be_enlarged_is_told_and_used_as_it_is(host: Host) -> None:
    (host.path / "bin/resize2fs").write_text("#!/bin/sh\nexit 1\n")
    assert host.run() == (0, "ec2-host.sh: the file system could not be enlarged\n")
    assert (host.root / "etc/systemd").exists()
