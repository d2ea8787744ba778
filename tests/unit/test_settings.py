"""Settings: precedence, refusals, secrets from files, and children that see what their parent sees."""

from pathlib import Path

import pytest

from al_service.settings import InvalidSettingError, Settings, environment_of, load_settings


def load(
    flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, toml: Path | None = None
) -> Settings:
    return load_settings(flags, environ or {}, toml)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    toml = tmp_path / "al.toml"
    toml.write_text("port = 1\nworkers = 2\nlease_ttl_s = 30\n")
    settings = load({"port": 3}, {"AL_PORT": "2", "AL_WORKERS": "4"})
    assert (settings.port, settings.workers, settings.lease_ttl_s, settings.host) == (3, 4, 30.0, "127.0.0.1")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"AL_PROT": "1"}, "unknown environment variable AL_PROT"),
        ({"AL_PORT": "http"}, "port='http' is not a int"),
        ({"AL_PORT": "70000"}, "outside 0..65535"),
        ({"AL_LEASE_TTL_S": "nan"}, "outside"),
        ({"AL_LOG_LEVEL": "loud"}, "is not one of"),
        ({"AL_DEVICE": "gpu"}, "device='gpu' is not one of auto, cpu, cuda, cuda:N"),
        ({"AL_DEVICE": "cuda:"}, "is not one of auto"),
        ({"AL_DEVICE": "cuda:-1"}, "is not one of auto"),
        ({"AL_DEVICE": "cpu:0"}, "is not one of auto"),
        ({"AL_STORAGE_URL": "s3:/bucket"}, "expected a folder or an address"),
        ({"AL_STORAGE_URL": "s3://"}, "expected a folder or an address"),
        ({"AL_SECRET_KEY_FILE": "nowhere"}, "cannot be read"),
        ({"AL_HOST_FILE": "x"}, "unknown environment variable AL_HOST_FILE"),
    ],
)
def test_wrong_values_are_refused_by_name(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettingError, match=words):
        load(environ=environ)


def test_unknown_names_in_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "al.toml").write_text("prot = 1\n")
    with pytest.raises(InvalidSettingError, match="unknown setting 'prot'"):
        load()
    with pytest.raises(InvalidSettingError, match="cannot be read"):
        load(toml=tmp_path / "missing.toml")


def test_demo_names_are_not_settings() -> None:
    assert load(environ={"AL_DEMO_ROUNDS": "5", "AL_DEMO_EXIT": "1"}) == Settings()


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    assert load(environ={"AL_SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == "s3cret"


def test_children_see_the_same_settings(tmp_path: Path) -> None:
    settings = load({"data_dir": tmp_path, "port": 9, "workers": 3, "session_cookie_secure": True})
    assert load(environ=environment_of(settings)) == settings


def test_storage_is_a_folder_or_an_address(tmp_path: Path) -> None:
    def storage(url: str) -> tuple[str, Path]:
        settings = load({"data_dir": tmp_path}, {"AL_STORAGE_URL": url})
        return settings.remote_storage_url, settings.artifact_dir

    assert storage("") == ("", tmp_path / "artifacts")
    assert storage("/srv/images") == ("", Path("/srv/images"))
    assert storage("./images:2024") == ("", Path("images:2024"))
    assert storage("file:///srv/images") == ("", Path("/srv/images"))
    for url in ("s3://bucket/folder", "gs://bucket", "memory://x"):
        assert storage(url) == (url, tmp_path / "artifact-copies")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:12"])
def test_a_device_may_be_one_of_several_gpus(device: str) -> None:
    assert load(environ={"AL_DEVICE": device}).device == device


@pytest.mark.parametrize("url", ["s3:/KEY:ab/cd+ef@bucket", "s3:KEY:ab/c@d+ef@bucket/x"])
def test_a_storage_address_is_refused_without_its_login(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="expected a folder or an address") as caught:
        load(environ={"AL_STORAGE_URL": url})
    assert "KEY" not in str(caught.value)
    assert "ef" not in str(caught.value).partition(": expected")[0]


def test_the_storage_address_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("ftp://al:s3cret@host/x\n")
    settings = load(environ={"AL_STORAGE_URL_FILE": str(tmp_path / "url")})
    assert settings.storage_url == "ftp://al:s3cret@host/x"
    assert "s3cret" not in repr(settings)
