"""What a model attends to: attention maps, rollout, latents over depth, and drawings of them."""
