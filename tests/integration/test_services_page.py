"""The commands of the page about services, as a site would type them."""

import re
import shlex
from pathlib import Path
from typing import Any

from router.model.catalogue import Catalogues
from router.services.service_files import read
from router.settings import yaml_documents
from tests.service_site import ServiceSite

PAGE = (Path(__file__).parents[2] / "router/services/README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands_of_the_page_work_in_their_order(service_site: ServiceSite):
    commands = [line for block in blocks("sh") for line in block.splitlines()]

    for each in commands:
        service_site.text(*shlex.split(each, comments=True)[2:])

    assert len(commands) == 12
    assert service_site.run("list") == []


def test_the_file_of_the_page_is_read(tmp_path: Path):
    (file,) = blocks("yaml")
    (tmp_path / "a.yaml").write_text(file)

    document: Any = yaml_documents.parse(file.encode(), "page")
    (found,) = read(tmp_path, Catalogues.shipped()).valid().values()

    documented = set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Files")[2].partition("\n## ")[0], re.MULTILINE))
    assert set(document.value["services"][0]) == documented == set(type(found.service).model_fields)
