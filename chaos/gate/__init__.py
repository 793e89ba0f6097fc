"""``ownframe gate``: scenarios within a budget, on several workers, with controls before and after; one answer."""
