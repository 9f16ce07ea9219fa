"""What the steps share: looking into convolutions, error compensation, repeatable computation."""
