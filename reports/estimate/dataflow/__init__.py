"""The structure of what the dataflow family is made of: stages, and what stands between them."""
