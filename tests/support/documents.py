"""Values as in ``report.json`` and in a comparison, invented, for tests of pages."""

import json

CATEGORIES = {
    "lanes": 21.4, "trees": 9.72, "requantise": 6.05, "memories": 17.9, "registers and clock": 14.31,
    "interconnect": 3.3, "static": 130.0,
}  # fmt: skip
COEFFICIENTS = [
    ("net capacitance", 0.5, "pF", "assumed: a LUT output and its routing", 0.5),
    ("block RAM read", 12.0, "pJ", "maker's calculator, 18-kbit block at 1.1 V", 0.3),
    ("clock per flip-flop", 0.02, "pF", "assumed", 0.5),
    ("core voltage", 1.1, "V", "data sheet, table 3.2", 0.05),
    ("static power", 130.0, "mW", "data sheet, typical, 25 °C", 0.25),
]


def power(stages):
    """A power section for ``stages``: by category, by stage, with bands and sensitivities."""
    total = sum(CATEGORIES.values())
    dynamic = {name: mw for name, mw in CATEGORIES.items() if name != "static"}
    shares = [(k + 1) / (len(stages) * (len(stages) + 1) / 2) for k in range(len(stages))]
    return {
        "clock_mhz": 50.0, "images": 8, "cycles": 15361, "note": "modelled from simulated toggles, 1.1 V, 25 °C",
        "categories": [
            {"name": name, "mw": mw, "low_mw": 0.6 * mw, "high_mw": 1.5 * mw} for name, mw in CATEGORIES.items()
        ],
        "stages": [
            {
                "name": stage["name"], "mw": share * sum(dynamic.values()),
                "categories": {name: share * mw for name, mw in dynamic.items()},
            }
            for stage, share in zip(stages, shares, strict=True)
        ],
        "total": {"mw": total, "low_mw": 0.62 * total, "high_mw": 1.43 * total},
        "energy_per_image_uj": {"value": total * 0.0256, "low": total * 0.0159, "high": total * 0.0366},
        "energy_per_operation_pj": {"value": 54.37, "low": 33.71, "high": 77.8},
        "sensitivity": [
            {
                "coefficient": name, "value": value, "unit": unit, "source": source,
                "total_low_mw": total - band * mw, "total_high_mw": total + band * mw,
            }
            for (name, value, unit, source, band), mw in zip(
                COEFFICIENTS, (41.2, 17.9, 14.31, 71.0, 130.0), strict=True
            )
        ],
        "asic45_uj": {"lanes": 0.0087, "memories": 0.0214, "note": "45 nm, energies per operation"},
    }  # fmt: skip


def placed(document):
    """``document`` with place and route and power, as a full report has them."""
    full = json.loads(json.dumps(document))
    seeds = [88.19, 91.53, 90.04, 93.77, 86.42]
    full["seeds_mhz"], full["fmax_mhz"], full["source"] = seeds, 90.04, "placed"
    full["figures"].append(
        {"name": "fmax_mhz", "value": 90.04, "unit": "MHz", "tool": "nextpnr-ecp5", "version": "0.11"}
    )
    full["provenance"]["seeds"] = [1, 2, 3, 4, 5]
    full["critical_path"] = [
        {"block": "conv1: window", "delay_ns": 2.83}, {"block": "conv1: array", "delay_ns": 6.91},
        {"block": "between stages", "delay_ns": 1.37},
    ]  # fmt: skip
    full["power"] = power(full["stages"])
    return full


def row(kernel, scale, **changed):
    """What a comparison holds of a kernel: ``scale`` makes its figures."""
    return {
        "kernel": kernel, "device": "ecp5-85k", "source": "placed", "lut": round(11958 * scale),
        "ff": round(8889 * scale), "bram": 25, "dsp": 9, "lut_paired": None, "fmax_mhz": 80.2 / scale**0.5,
        "power_mw": {"static": 230.0, "dynamic": 80 * scale, "total": 230 + 80 * scale},
        "energy_per_image_uj": 7.9 * scale, "images_per_second": 39062.5, "cycles_per_image": 1280, "accuracy": 0.9917,
        **changed,
    }  # fmt: skip


ROWS = [
    row("adder", 0.764, accuracy=0.9972), row("mult", 1.0), row("xnor", 0.56, bram=5, accuracy=0.9056),
    row("shift", 0.853, accuracy=None),
]  # fmt: skip
PUBLISHED = [
    {"source": "AdderNet's authors, RTL of one layer", "mark": "read in the source", "kernel": "adder",
     "device": "Zynq UltraScale+", "lut": 7065, "fmax_mhz": None, "power": None, "note": "256 lanes of 8 bit"},
    {"source": "AdderNet's authors, RTL of one layer", "mark": "read in the source", "kernel": "mult",
     "device": "Zynq UltraScale+", "lut": 20493, "fmax_mhz": None, "power": None, "note": "256 lanes of 8 bit"},
    {"source": "<b>hostile</b>", "mark": "", "kernel": "xnor", "device": None, "lut": None, "fmax_mhz": 200.0,
     "power": "2.9 W", "note": None},
]  # fmt: skip
CLAIMS = [{"claim": "logic", "paper": "−67.6 to −71.4 %", "ours": "−24 %", "note": "whole accelerators, memories and all"}]


def deep(document):
    """``document`` with 26 stages of long names, as a deep residual network has them."""
    full = json.loads(json.dumps(document))
    count = 26
    names = [f"layer{k // 6 + 1}_{k % 6 // 2}_downsample_{k % 2}" for k in range(count)]
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
