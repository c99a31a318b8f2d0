"""From a trained network to integers: formats, the Program, its golden executor, calibration, lowering, exports."""
