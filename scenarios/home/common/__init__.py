"""What the nodes of the reference home system share; it is copied along with each of them."""
