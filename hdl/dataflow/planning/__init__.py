"""From what a user wants of a design to folds of all stages: choices, costs, depths of queues, Plans in part."""
