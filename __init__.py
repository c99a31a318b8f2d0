"""addax: from a PyTorch network without multiplications to a verified, costed FPGA accelerator."""

__version__ = "0.1.0"
