"""What the operating system says of this machine: its processor, idle cores, and the limits of containers."""
