"""The container for editors names files and ports that exist."""

import json
import re

from local.instance import Instance
from ops.settings import LAPTOP_ENVIRONMENT, ROOT

FOLDER = ROOT / ".devcontainer"


def test_the_container_is_built_from_the_jobs_image_and_forwards_the_doors() -> None:
    # The format allows comments: https://containers.dev/implementors/json_reference/
    text = re.sub(r"^\s*//.*$", "", (FOLDER / "devcontainer.json").read_text(), flags=re.MULTILINE)
    settings = json.loads(text)
    assert (FOLDER / settings["build"]["dockerfile"]).resolve() == ROOT / "ops/image/Dockerfile"
    assert (FOLDER / settings["build"]["context"]).resolve() == ROOT
    instance = Instance("local", 24500)
    door = int(instance.door_url(LAPTOP_ENVIRONMENT).rpartition(":")[2])
    assert settings["forwardPorts"] == [door, instance.aws_port]
    assert settings["portsAttributes"][str(door)]["protocol"] == "https"
