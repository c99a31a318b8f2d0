"""A verb run in a folder of its own; LeNet-5 as integers and as a build, each made once."""

import pytest
from addax.cli import main


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a verb in a folder of its own; returns exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "lenet.addax"
    assert main(["quantize", "lenet5", "--kernel", "adder", "--bits", "8", "--data", "digits", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def build(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "build"
    assert main(["generate", str(net), "--device", "ecp5-85k", "--lanes", "80", "-o", str(path)]) == 0
    return path
