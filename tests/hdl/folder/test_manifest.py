"""What a BUILD's manifest may name: plain files of its own folder, identifiers, counts; and every reserved word."""

import json

import pytest
from addax.common.errors import UserError
from addax.hdl.folder.manifest import read_manifest
from addax.hdl.verilog.keywords import KEYWORDS, is_identifier

GOOD = {
    "prefix": "addax", "capacity": 8, "beats": 256, "data_in": 8, "data_out": 24,
    "files": {"addax.v": "0", "addax_conv1_weights.mem": "1"}, "memories": [{"file": "addax_conv1_weights.mem"}],
}  # fmt: skip


def test_a_manifest_of_plain_names_is_read(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({**GOOD, "schedule": {}}))

    assert read_manifest(tmp_path) == {**GOOD, "schedule": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefix": "../../etc/x"}, "has a prefix that is no Verilog identifier, '../../etc/x'"),
        ({"prefix": "module"}, "no Verilog identifier, 'module'"),
        ({"prefix": ["addax"]}, "no Verilog identifier"),
        ({"files": {"/dev/zero": "0"}}, "names '/dev/zero', which is no file of the folder"),
        ({"files": {"../secret": "0"}}, "names '../secret'"),
        ({"files": {"..": "0"}}, "names '..'"),
        ({"files": {"": "0"}}, "names ''"),
        ({"files": {"a/b.mem": "0"}}, "names 'a/b.mem'"),
        ({"files": {"addax.v": 3}}, "does not say the checksums"),
        ({"files": ["addax.v"]}, "does not say the checksums"),
        ({"memories": [{"file": "/dev/zero"}]}, "names a memory that is not among its files"),
        ({"memories": [{"file": ["a"]}]}, "names a memory"),
        ({"memories": ["addax.v"]}, "names a memory"),
        ({"memories": {"file": "addax.v"}}, "names a memory"),
        ({"capacity": "8"}, "has capacity '8', not a positive integer"),
        ({"capacity": 0}, "has capacity 0"),
        ({"beats": True}, "has beats True"),
        ({"data_out": None}, "has data_out None"),
    ],
    ids=str,
)
def test_a_manifest_that_names_anything_else_is_refused(change, message, tmp_path):
    """A file of the build would be read, copied and given to the simulator wherever its name leads."""
    (tmp_path / "manifest.json").write_text(json.dumps({**GOOD, **change}))

    with pytest.raises(UserError, match="is a broken BUILD folder: its manifest ") as caught:
        read_manifest(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 200_000, "{}", "[]", "3", '{"a": NaN}', "\xff"], ids=lambda text: text[:8])
def test_a_manifest_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")

    with pytest.raises(UserError, match="manifest"):
        read_manifest(tmp_path)


def test_every_reserved_word_of_ieee_1800_is_known():
    """Table B.1 has 248; a sample from each revision of the standard."""
    assert len(KEYWORDS) == 248
    for year, words in {
        1995: "module reg always endmodule function supply0 trireg", 2001: "generate localparam signed cell liblist",
        2005: "uwire logic bit interface modport unique priority always_comb tagged wildcard randsequence",
        2009: "checker global implies untyped let unique0 accept_on s_until_with", 2012: "soft implements nettype",
    }.items():  # fmt: skip
        assert set(words.split()) <= KEYWORDS, year
    assert not any(is_identifier(word) for word in KEYWORDS)
    assert is_identifier("addax") and is_identifier("module1") and is_identifier("Module") and not is_identifier("_x")
