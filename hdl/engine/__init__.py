"""The general-purpose accelerator: one array of lanes that runs any network, whose program stands in memory."""
