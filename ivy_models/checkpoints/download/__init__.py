"""Downloads of published checkpoints, from their servers and from the Hugging Face hub."""
