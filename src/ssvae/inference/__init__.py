"""Video files through the autoencoder, of any length and size, in constant memory."""

from ssvae.inference.clips import reconstruct_clips
from ssvae.inference.files import decode_video, encode_video, reconstruct_video
from ssvae.inference.latent_file import LatentFile, LatentWriter, VideoFacts
from ssvae.inference.onnx_export import export_onnx

__all__ = [
    "LatentFile",
    "LatentWriter",
    "VideoFacts",
    "decode_video",
    "encode_video",
    "export_onnx",
    "reconstruct_clips",
    "reconstruct_video",
]
