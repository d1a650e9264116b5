"""Tests of settings files: a file is accepted completely, or refused with the key's name."""

from pathlib import Path

import pytest

from train.errors import SettingsFileError
from train.settings import read_settings

MINIMAL = """
name = "trial"
version = "1"
base = "some/folder"
labels = ["NEGATIVE", "POSITIVE"]
[[data]]
name = "films"
file = "films.csv"
label_names = { 0 = "NEGATIVE", 1 = "POSITIVE" }
passes = 1.0
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_the_shipped_settings_are_read() -> None:
    settings = read_settings(Path(__file__).parents[3] / "train" / "builtin.toml")

    assert settings.labels == ("NEGATIVE", "POSITIVE")
    assert {source.name for source in settings.test} == {"sst2_dev", "beauty_amazon"}
    assert "sst2_dev" not in {source.name for source in settings.data}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MINIMAL + "passess = 2.0\n", "passess"),
        ("sead = 3\n" + MINIMAL, "sead"),
        (MINIMAL.replace("passes = 1.0", "passes = 0.0"), "passes"),
        (MINIMAL.replace('1 = "POSITIVE"', '1 = "GOOD"'), "GOOD"),
        (MINIMAL + "crops = [{ tokens = 64, share = 0.5 }]\n", "shares"),
        (MINIMAL + MINIMAL[MINIMAL.index("[[data]]") :], "same name"),
        ("not toml", "TOML"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsFileError, match=named):
        read_settings(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError, match=r"absent\.toml"):
        read_settings(tmp_path / "absent.toml")
