"""What a model looks at, and what becomes of it: arrays on any backend, and drawings of them."""
