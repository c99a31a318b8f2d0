"""Trained weights (safetensors); `README.md` beside them names the commands that made them."""
