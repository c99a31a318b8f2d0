"""Whole pipelines in Amaranth's simulator."""

from addax.hdl.dataflow.pipeline import Pipeline
from addax.hdl.interface import answer_beats, pack_pixels
from streaming import transfer


def run_pipeline(program, plan, images, *, stall=0.0, seed=0, limit=200_000):
    """Output beats, and the cycles after the first input beat at which packets end."""
    answers = answer_beats(program, plan.outputs)
    words = [int(word) for word in pack_pixels(images, plan.pixels, program.input.format)]
    pipeline = Pipeline(program, plan)
    beats, cycles = transfer(
        pipeline, words, count=len(images) * answers, pause_in=stall, pause_out=stall, seed=seed, settle=200,
        limit=limit,
    )  # fmt: skip
    return beats, cycles[answers - 1 :: answers]
