"""Video files through the autoencoder, of any length and size, in constant memory."""

from ssvae.inference.clips import reconstruct_clips
from ssvae.inference.files import decode_video, encode_video, reconstruct_video
from ssvae.inference.latent_file import LatentFile, LatentWriter, VideoFacts

__all__ = [
    "LatentFile",
    "LatentWriter",
    "VideoFacts",
    "decode_video",
    "encode_video",
    "reconstruct_clips",
    "reconstruct_video",
]
