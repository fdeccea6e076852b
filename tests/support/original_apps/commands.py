"""Shell commands that both of the original's encoders use; their sha256 is in the vectors."""


def vpxenc(quality: object, output: str) -> str:
    return (
        "run:./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63"
        f" --cq-level={quality} --buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100"
        " --passes=2 --auto-alt-ref=1 --threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295"
        f' -o "##TMPDIR##/{output}" "##TMPDIR##/input.y4m"'
    )


def connect(settings: dict, actor: int, group: int, name: str) -> str:  # type: ignore[type-arg]
    """The peer channel: number of this chunk and of the next, and one of several state servers by group."""
    number = actor + settings["num_offset"]
    port = settings["state_srv_port"] + group % settings["state_srv_threads"]
    return f"connect:{settings['state_srv_addr']}:{port}:HELLO_STATE:{name}:{number:08d}:{number + 1}"
