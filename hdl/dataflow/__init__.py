"""The accelerator for one network: a pipeline with a stage per layer, its Plan and its cycle model."""
