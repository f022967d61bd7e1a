import shutil

import pytest
import torch
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from ssvae.data import World
from ssvae.data.world import COLOURS, DIRECTIONS, SHAPES, TEXTURES
from ssvae.diffusion import caption_embeddings
from ssvae.diffusion.caption_embeddings import CaptionEmbeddings
from ssvae.diffusion.recipe import TextConfig
from ssvae.diffusion.text import (
    embed,
    encoder_fingerprint,
    load_tokenizer,
    tokenize,
    word_level_encoder,
)
from ssvae.diffusion.words import HashedWordTokenizer
from ssvae.training import make_accelerator

CAPTIONS = ["a red disc moving left over coarse waves", "", "Hé, you!"]


def test_tokens_are_words():
    tokenizer, _ = word_level_encoder(TextConfig())
    ids, mask = tokenize(tokenizer, CAPTIONS)
    assert mask.sum(1).tolist() == [9, 1, 5]  # words, punctuation marks, and an end each
    assert [int(row[n - 1]) for row, n in zip(ids, mask.sum(1), strict=True)] == [1, 1, 1]
    assert not ids[1, 1:].any()
    again, _ = tokenize(tokenizer, ["A RED disc  moving left over coarse waves"])
    assert torch.equal(again[0], ids[0])


def test_an_id_is_the_same_for_ever():
    """A saved model's words must keep their places."""
    assert HashedWordTokenizer()("a red disc")["input_ids"] == [3653, 3985, 1330, 1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("一个红色圆盘向左移动", "一个红色圆盘向右移动"),
        ("赤い円盤が左へ動く", "赤い円盤が右へ動く"),
        ("จานสีแดงเคลื่อนที่ไปทางซ้าย", "จานสีแดงเคลื่อนที่ไปทางขวา"),
    ],
)
def test_captions_without_spaces_share_what_they_say_alike(left, right):
    ids = [set(HashedWordTokenizer()(text)["input_ids"]) for text in (left, right)]
    assert ids[0] != ids[1]
    assert len(ids[0] & ids[1]) > 0.6 * len(ids[0])


def test_words_of_all_other_scripts_are_whole():
    tokens = HashedWordTokenizer().tokenize
    assert tokens("Ein größeres Rad, 3 Räder") == ["ein", "größeres", "rad", ",", "3", "räder"]
    assert tokens("लाल डिस्क बाएँ") == ["लाल", "डिस्क", "बाएँ"]
    assert tokens("كرة حمراء") == ["كرة", "حمراء"]
    assert tokens("빨간 원판") == ["빨간", "원판"]
    assert tokens("cafe\u0301") == tokens("caf\u00e9")


def test_ids_do_not_hang_on_what_else_is_installed(monkeypatch):
    curly, straight = "it\u2019s a \u201cred\u201d disc", 'it\'s a "red" disc'
    tokenizer = HashedWordTokenizer()
    assert tokenizer(curly)["input_ids"] == tokenizer(straight)["input_ids"]
    assert torch.equal(tokenize(tokenizer, [curly])[0], tokenize(tokenizer, [straight])[0])
    assert torch.equal(
        tokenize(tokenizer, ["a &amp;quot;red&quot; disc"])[0],
        tokenize(tokenizer, ['a "red" disc'])[0],
    )


def test_no_two_words_of_the_world_share_an_id():
    kinds = [*SHAPES, *COLOURS, *DIRECTIONS, *TEXTURES, "a moving over waves"]
    words = sorted({word for phrase in kinds for word in phrase.split()})
    ids = [HashedWordTokenizer()(word)["input_ids"][0] for word in words]
    assert len(set(ids)) == len(words)


def test_a_tokenizer_comes_back(tmp_path):
    HashedWordTokenizer(buckets=100).save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, HashedWordTokenizer)
    assert again(CAPTIONS[0]) == HashedWordTokenizer(buckets=100)(CAPTIONS[0])
    assert max(again(CAPTIONS[0])["input_ids"]) < again.vocab_size == 102
    ByT5Tokenizer().save_pretrained(tmp_path / "bytes")
    assert load_tokenizer(tmp_path / "bytes")("a")["input_ids"] == [100, 1]


@pytest.mark.parametrize("layers", [0, 1])
def test_embeddings_are_zero_behind_their_caption(layers):
    torch.manual_seed(0)
    tokenizer, encoder = word_level_encoder(TextConfig(width=16, layers=layers, heads=2))
    hidden = embed(encoder, *tokenize(tokenizer, CAPTIONS))
    assert hidden.shape == (3, 9, 16)
    for row, length in zip(hidden, (9, 1, 5), strict=True):
        assert not row[length:].any()
        assert (row[:length].abs().sum(1) > 0).all()


def test_a_prepared_mask_says_what_a_plain_one_says():
    """One that the encoder need not ask about, so that the host does not wait for a device."""
    torch.manual_seed(0)
    tokenizer, encoder = word_level_encoder(TextConfig(width=16, layers=2, heads=2))
    ids, mask = tokenize(tokenizer, CAPTIONS)
    plain = encoder(ids, mask).last_hidden_state * mask[..., None]
    torch.testing.assert_close(embed(encoder, ids, mask), plain)


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


def test_embeddings_of_a_frozen_encoder_are_cached(encoder_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_embeddings, "SHARD", 15)
    captions = World().batch(range(40)).captions
    CaptionEmbeddings(tmp_path, str(encoder_folder), captions).write(make_accelerator("cpu"))
    (folder,) = tmp_path.glob("text-*")
    files = sorted(folder.glob("*.safetensors"))
    assert [file.name for file in files] == [f"{i:05d}.safetensors" for i in range(3)]
    files[1].unlink()  # as if it was stopped there
    kept = files[0].stat().st_mtime_ns
    again = CaptionEmbeddings(tmp_path, str(encoder_folder), captions[::-1])
    again.write(make_accelerator("cpu"))
    assert files[0].stat().st_mtime_ns == kept
    some = [captions[5], "", *captions[:30]]
    encoder = T5EncoderModel.from_pretrained(encoder_folder).eval()
    with torch.no_grad():
        expected = embed(encoder, *tokenize(ByT5Tokenizer(), some))
    assert torch.allclose(again.embeddings(some).float(), expected, atol=0.02)  # kept in bfloat16
    with pytest.raises(ValueError, match="'another' was not among those embedded"):
        again.embeddings(["another"])


def test_another_encoder_at_the_same_place_embeds_anew(encoder_folder, tmp_path):
    other = tmp_path / "t5"
    shutil.copytree(encoder_folder, other)
    before, folders = encoder_fingerprint(str(other)), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = T5EncoderModel.from_pretrained(other)
        torch.nn.init.normal_(encoder.shared.weight)
        encoder.save_pretrained(other)
        CaptionEmbeddings(tmp_path, str(other), ["a disc"]).write(make_accelerator("cpu"))
        folders.append(sorted(tmp_path.glob("text-*")))
    assert len(folders[1]) == len(folders[0]) + 1
    assert encoder_fingerprint(str(other)) != before
    assert encoder_fingerprint("google/umt5-xxl") == encoder_fingerprint("") == ""


def test_an_encoder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="text encoder .* does not load"):
        CaptionEmbeddings(tmp_path, str(tmp_path / "none"), ["a"]).write(make_accelerator("cpu"))
