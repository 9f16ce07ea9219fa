"""What steps share: looking into a network's convolutions, and error compensation."""
