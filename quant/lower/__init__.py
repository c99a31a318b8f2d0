"""From a torch network to a Program, and how far from the float network that is."""
