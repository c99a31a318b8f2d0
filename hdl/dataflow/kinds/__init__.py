"""The kinds of stages: what each computes, how it folds, and the hardware, memories and rhythm that follow."""
