"""Training: recipes as values, one loop for every task, distillation, states that a killed run goes on from."""
