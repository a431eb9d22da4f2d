"""What a record says of its making."""

import subprocess

import torch

from cfgtoy import _provenance


def test_the_record_names_its_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("CFGTOY_COMMIT", "abc")
    found = _provenance.provenance(torch.device("cpu"), "cfgtoy …")
    assert found["commit"] == "abc"
    assert found["device"].startswith("cpu")
    monkeypatch.delenv("CFGTOY_COMMIT")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert _provenance.provenance(torch.device("cpu"), "")["commit"] == "unknown"


def test_the_commit_is_of_our_own_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("CFGTOY_COMMIT", raising=False)

    def git(*args):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ["git", *who, *args], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    for folder in ("cfgtoy", "venv/lib/cfgtoy"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "_provenance.py").touch()
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "cfgtoy" / "_provenance.py"))
    assert _provenance.provenance(torch.device("cpu"), "a command")["commit"] == git("rev-parse", "HEAD")
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "venv/lib/cfgtoy/_provenance.py"))
    assert _provenance.provenance(torch.device("cpu"), "a command")["commit"] == "unknown"
