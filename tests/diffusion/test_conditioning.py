import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from ssvae.data import World
from ssvae.diffusion.conditioning import (
    PIPELINE_LENGTH,
    CaptionEmbeddings,
    TextConfig,
    attend_to_padding,
    byte_level_encoder,
    embed,
    ignore_padding_at_first,
    tokenize,
)

CAPTIONS = ["a red disc moving left over coarse waves", "", "hé"]


def transformer():
    torch.manual_seed(0)
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
    )


def embedded():
    torch.manual_seed(0)
    tokenizer, encoder = byte_level_encoder(TextConfig(width=16, layers=1, heads=2))
    return embed(encoder, *tokenize(tokenizer, CAPTIONS))


def test_tokens_are_bytes():
    tokenizer, _ = byte_level_encoder(TextConfig())
    ids, mask = tokenize(tokenizer, CAPTIONS)
    assert mask.sum(1).tolist() == [len(c.encode()) + 1 for c in CAPTIONS]  # and an end each
    assert ids[2, :3].tolist() == [b + 3 for b in "hé".encode()]


def test_embeddings_are_zero_behind_their_caption():
    hidden = embedded()
    lengths = [len(c.encode()) + 1 for c in CAPTIONS]
    assert hidden.shape == (3, max(lengths) + 1, 16)
    for row, length in zip(hidden, lengths, strict=True):
        assert not row[length:].any()
        assert (row[:length].abs().sum(1) > 0).all()


def test_one_key_for_all_the_padding_is_exact():
    model = attend_to_padding(transformer())
    x, t, hidden = torch.randn(3, 4, 3, 8, 8), torch.tensor([10.0, 500.0, 990.0]), embedded()
    short = model(x, t, hidden, return_dict=False)[0]
    full = torch.nn.functional.pad(hidden, (0, 0, 0, PIPELINE_LENGTH - hidden.shape[1]))
    # By ours at full length, and by diffusers' own attention.
    assert torch.allclose(model(x, t, full, return_dict=False)[0], short, atol=1e-5)
    for block in model.blocks:
        block.attn2.set_processor(WanAttnProcessor())
    assert torch.allclose(model(x, t, full, return_dict=False)[0], short, atol=1e-5)
    # Without the padding it would be another model.
    assert not torch.allclose(model(x, t, hidden, return_dict=False)[0], short, atol=1e-4)


@torch.no_grad()
def test_fresh_weights_look_at_the_tokens():
    """How much the output changes with the caption, against that with the usual weights."""
    x, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([500.0, 500.0])
    hidden = embedded()[:2]

    def effect(model):
        outputs = [
            model(x, t, hidden[i : i + 1].expand(2, -1, -1), return_dict=False)[0] for i in (0, 1)
        ]
        return float((outputs[0] - outputs[1]).square().mean())

    usual = effect(attend_to_padding(transformer()))
    assert effect(ignore_padding_at_first(attend_to_padding(transformer()))) > 2 * usual


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A frozen text encoder as users have them: a folder of transformers."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


def test_embeddings_of_a_frozen_encoder_are_cached(encoder_folder, tmp_path):
    captions = World().batch(range(40)).captions
    cached = CaptionEmbeddings(tmp_path, str(encoder_folder), captions)
    assert cached.missing
    cached.write("cpu")
    assert not cached.missing
    again = CaptionEmbeddings(tmp_path, str(encoder_folder), captions[::-1])
    assert not again.missing
    some = [captions[5], "", captions[0]]
    encoder = T5EncoderModel.from_pretrained(encoder_folder).eval()
    with torch.no_grad():
        expected = embed(encoder, *tokenize(ByT5Tokenizer(), some))
    assert torch.allclose(again.embeddings(some), expected, atol=0.02)  # kept in bfloat16
    with pytest.raises(ValueError, match="'another' was not among those embedded"):
        again.embeddings(["another"])


def test_an_encoder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="text encoder .* does not load"):
        CaptionEmbeddings(tmp_path, str(tmp_path / "none"), ["a"]).write("cpu")
