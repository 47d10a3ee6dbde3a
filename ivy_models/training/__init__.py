"""What training needs beyond the frameworks: losses, and helpers for fine-tuning."""
