"""Does the spectrum of a VAE's latents decide how fast a diffusion model learns them?"""
