"""Experiments: which latents are easy to diffuse, and why."""
