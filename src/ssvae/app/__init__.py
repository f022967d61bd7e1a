"""A page in the browser to try models on: films through them, latents, generated clips, runs."""
