"""What an accelerator costs: devices, synthesis, power, and the report a person reads."""
