"""Training data: which recordings, decoded once, and how examples are drawn from them."""
