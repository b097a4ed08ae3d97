"""Settings that must stand before torch is loaded."""

import os

# Idle OpenMP threads that spin take the cores from the encoder and from the other processes of a test run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
