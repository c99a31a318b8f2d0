"""The graph of a torch network: `torch.export` to ATen, made plain, with the names of the user's layers."""
