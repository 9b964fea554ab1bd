"""Every YAML that the pages and the examples show is read by our own reader, and every example of settings loads."""

import re
from pathlib import Path

import pytest

from router.settings import yaml_documents
from router.settings.loading import load
from router.settings.models import Settings

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:yaml)?\n((?:#[^\n]*\n)*[a-z_]+:.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [
    *ROOT.glob("*.md"),
    *(page for folder in ("router", "consumers", "docker", "examples") for page in (ROOT / folder).rglob("*.md")),
]
FILES = [file for folder in ("docker/config", "consumers", "examples") for file in (ROOT / folder).rglob("*.yaml")]
EXAMPLES = [
    *(
        (f"{page.relative_to(ROOT)}-{at}", text)
        for page in PAGES
        for at, text in enumerate(BLOCK.findall(page.read_text()))
    ),
    *((str(file.relative_to(ROOT)), file.read_text()) for file in FILES),
]


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_every_yaml_that_is_shown_is_read_without_flaws(text: str, tmp_path: Path) -> None:
    document = yaml_documents.parse(text.encode(), "example.yaml")

    assert list(document.flaws) == []
    assert isinstance(document.value, dict)
    if document.value.keys() <= Settings.model_fields.keys():
        (tmp_path / "settings.yaml").write_text(text)
        load(tmp_path / "settings.yaml", system=tmp_path / "none", environment={})
