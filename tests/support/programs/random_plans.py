"""Random legal folds of a Program's stages."""

from dataclasses import replace

import numpy as np
from addax.hdl.dataflow.build import StageBuild, default_stage_plan
from addax.hdl.dataflow.kinds.layer import LayerStage
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.stages import stages_of

LANES = {"adder": ["2a", "1c1a", "carry"], "mult": ["booth", "rows", "star"], "xnor": ["count"], "shift": ["barrel"]}
"""Structures that a stage may have."""


def random_plan(program, seed, *, fixed_weights=False, fabric="generic", structures=False):
    """Any legal fold of every stage, not a good one; with ``structures``, any lanes, too."""
    rng, scales = np.random.default_rng(seed), np.random.default_rng([seed, 1])

    def divisor(n):
        return int(rng.choice([k for k in range(1, n + 1) if n % k == 0]))

    stages = []
    for stage in stages_of(program, fixed_weights=fixed_weights):
        high, wide = stage.window
        if not isinstance(stage, LayerStage):
            fold = {"simd": int(rng.choice([own["simd"] for own in stage.folds()]))}
        else:
            inputs, filters = (n // stage.groups for n in (stage.source[0], stage.result[0]))
            fold = {"simd": divisor(inputs), "pe": divisor(filters)}
            if stage.groups > 1 and rng.random() < 0.6:
                fold = {"simd": inputs, "pe": filters, "blocks": divisor(stage.groups)}
            (down, right), (dh, dw) = stage.view.strides, stage.view.dilations
            fold["taps"] = wide if right <= wide * dw and rng.random() < 0.5 else 1
            fold["lines"] = high if down <= high * dh and rng.random() < 0.3 else 1
        plan = default_stage_plan(stage, **fold)
        if structures and isinstance(stage, LayerStage):
            plan = replace(plan, structure=str(rng.choice(LANES[stage.kind])))
        if stage.multiplies and scales.random() < 0.3:
            plan = replace(plan, scale=str(scales.choice(["dsp", "lut"])))
        stages.append(StageBuild(stage=stage, plan=plan, fabric=fabric))
    image = program.input.shape[1] * program.input.shape[2]
    pixels = divisor(image) if rng.random() < 0.4 else 1
    outputs = 1 if program.classifies or rng.random() < 0.4 else divisor(int(np.prod(program.shape(program.output))))
    return Plan(
        family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=fixed_weights,
        stages=with_queues(stages, program, pixels=pixels, outputs=outputs), fabric=fabric, pixels=pixels,
        outputs=outputs,
    )  # fmt: skip
