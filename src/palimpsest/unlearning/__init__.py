"""Unlearning: objectives that a forget set is trained on, and the runner that follows the path."""
