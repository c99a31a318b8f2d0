"""``addax zoo``: what scripts read, and what people see."""

import json
from pathlib import Path

import pytest

KEYS = {"name", "paper", "category", "parameters", "macs", "checkpoint", "accuracy"}


def test_list_has_the_keys_that_scripts_read(run):
    """Every network of the registry, once, with its published counts; checkpoints where some come along."""
    status, out, _ = run("zoo", "--json")

    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert all(row.keys() >= KEYS for row in rows.values())
    assert list(rows) == [
        "lenet5", "vgg-small", "resnet20", "resnet32", "resnet18", "resnet34", "resnet50", "mobilenet-v2",
        "efficientnet-b0", "tinynet-a", "tinynet-b", "tinynet-c", "tinynet-d", "tinynet-e",
        *(
            f"{name}-x{scale}"
            for name in (
                "edsr-small", "ghostsr-small", "fadn-small", "edsr-baseline", "fadn-baseline", "edsr", "ghostsr",
                "fadn",
            )
            for scale in (2, 3, 4)
        ),
        "vit-digits", "tnt-digits", "deit-tiny", "deit-small", "tnt-tiny", "tnt-small", "tnt-base", "ipt-x2", "ipt-x3",
        "ipt-x4", "ipt-denoise-30", "ipt-denoise-50", "ipt-derain", "ipt",
    ]  # fmt: skip
    assert (rows["resnet20"]["parameters"], rows["resnet20"]["macs"]) == (272_484, 40_813_184)
    assert rows["resnet18"]["checkpoint"] is rows["resnet18"]["accuracy"] is None
    lenet = rows["lenet5"]
    assert Path(lenet["checkpoint"]).name == "lenet5-adder.safetensors"
    assert {entry["kernel"] for entry in lenet["checkpoints"]} >= {"adder", "mult", "shift", "xnor"}
    assert 0.9 < lenet["accuracy"] <= 1


def test_one_network_with_another_kernel(run):
    status, out, _ = run("zoo", "resnet20", "--kernel", "xnor:fda", "--json")

    (row,) = json.loads(out)
    assert status == 0
    assert row["terms"] == {"mult": 443_008, "xnor": 40_108_032}
    assert row["checkpoint"] is None


def test_a_transformer_has_terms_of_attention_and_elements_of_functions(run):
    """The scores of adder attention are half of the products of attention."""
    status, out, _ = run("zoo", "deit-tiny", "--kernel", "mult,*.scores=adder", "--json")

    (row,) = json.loads(out)
    assert status == 0
    assert row["terms"] == {"mult": 1_164_267_264, "adder": 89_415_936}
    assert row["attention"] == 178_831_872
    assert row["elements"] == {"layernorm": 945_600, "softmax": 1_397_124, "gelu": 1_815_552}


def test_table_fits_a_terminal_and_leaves_out_what_a_kernel_cannot_make(run):
    status, out, _ = run("zoo", "--kernel", "xnor")

    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert status == 0
    assert "267,264" not in out
    assert "269,740" in lines["resnet20"]
    assert lines["resnet50"].split()[2:4] == ["-", "-"]
    assert "lenet5, xnor: " in out
    assert max(len(line) for line in out.splitlines() if "safetensors" not in line) <= 80


def test_the_survey_has_rows_for_every_kernel_and_keeps_the_keys_of_the_list(run):
    """One category, ordinary, with adder attention and with adders; what a kernel does not change is the same."""
    status, out, _ = run("zoo", "--category", "low-level", "--json")

    rows = json.loads(out)
    assert status == 0
    tasks = ["x2", "x3", "x4", "denoise-30", "denoise-50", "derain"]
    assert [row["name"] for row in rows[::3]] == [*(f"ipt-{task}" for task in tasks), "ipt"]
    assert [row["kernel"] for row in rows[:3]] == ["mult", "mult,*.scores=adder", "adder"]
    more = {"survey", "attention_share", "cycles", "bytes_read", "bytes_written", "energy_uj", "elements"}
    assert all(row.keys() >= KEYS | more and row["survey"] == "low-level" for row in rows)
    mult, scores, adder = rows[:3]
    assert mult["macs"] == 33_323_728_896 and mult["attention_share"] == pytest.approx(0.0816, abs=5e-5)
    assert mult["cycles"] == scores["cycles"] == adder["cycles"]
    assert mult["energy_uj"] > scores["energy_uj"] > adder["energy_uj"]
    assert mult["energy_by"]["buffers"] == adder["energy_by"]["buffers"]


def test_the_survey_s_page_stands_beside_its_json(run):
    """An empty category is told as one; the folder is replaced when the verb runs again, and nothing else is."""
    for _ in range(2):
        status, out, _ = run("zoo", "--category", "-o", "found", "--kernel", "mult")
        assert status == 0
    assert "video: images that follow each other; no network of the zoo" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    told = json.loads(Path("found/survey.json").read_text())
    assert [row["name"] for row in told["rows"]].count("deit-tiny") == 1
    assert told["provenance"]["command"].startswith("addax")
    assert "deit-tiny" in Path("found/survey.html").read_text()

    Path("mine").mkdir()
    Path("mine/notes").write_text("own")
    status, _, errors = run("zoo", "--category", "video", "-o", "mine")
    assert status == 1 and len(errors.splitlines()) == 1
    assert Path("mine/notes").read_text() == "own" and len([*Path("mine").iterdir()]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--category", "vidoe"),
            "addax: unknown category 'vidoe' of the survey; known: backbone, high-level, low-level, video, efficient, "
            "self-attention",
        ),
        (("--category", "video", "--kernel", "nand"), "addax: kernel must be one of adder, mult, xnor, shift"),
        (("lenet5", "--category", "video"), "addax: --category lists networks of the survey; leave out 'lenet5'"),
        (("-o", "folder"), "addax: -o of zoo goes with --category"),
        (("--engine", "folder"), "addax: --engine of zoo goes with --category"),
        (("--category", "--engine", "."), "addax: . is not a BUILD folder of an engine"),
        (("resnet21",), "addax: unknown network 'resnet21'; known: lenet5"),
        (("resnet50", "--kernel", "xnor"), "addax: block 'layer1.0' is a bottleneck, which has no binary form"),
        (("--kernel", "nand"), "addax: kernel must be one of adder, mult, xnor, shift, not 'nand'"),
    ],
)
def test_mistakes_are_one_line(run, arguments, message):
    status, _, errors = run("zoo", *arguments)

    assert status == 1
    assert errors.startswith(message)
    assert len(errors.splitlines()) == 1


def test_claims_say_what_is_published_and_what_is_counted(run, tmp_path):
    """Of one paper, for scripts and for people; what no comparison has answered names the command that does."""
    status, out, _ = run("claims", "--paper", "2010.14819", "--json")
    rows = json.loads(out)
    assert status == 0 and [row["claim"] for row in rows][-1] == "TinyNet-E, MACs" and len(rows) == 5

    status, out, _ = run("claims", "-o", tmp_path / "claims")
    assert status == 0 and "24,000,000" in out and "addax compare lenet5" in out
    assert (tmp_path / "claims" / "claims.html").is_file()

    assert run("claims", "--paper", "1")[0] == 1
