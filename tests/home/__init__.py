"""The reference home system as real processes on loopback, without links between them."""
