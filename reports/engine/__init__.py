"""Reports on engines: what their blocks take, and how each layer of a network runs on them."""
