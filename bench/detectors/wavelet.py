"""The filter of the wavelet blend, for whoever writes it: as a module, or as an ONNX graph."""

from __future__ import annotations

# Low-pass decomposition filter of the sym2 wavelet (equal to db2), as in PyWavelets' `sym2.dec_lo`:
# (1 - sqrt3, 3 - sqrt3, 3 + sqrt3, 1 + sqrt3) / (4 sqrt2), Daubechies 1988.
SYM2_LOW_PASS = (-0.12940952255126037, 0.2241438680420134, 0.8365163037378079, 0.48296291314453416)
