"""How a Perceiver of transformers runs on this library's core, and when it must not."""
