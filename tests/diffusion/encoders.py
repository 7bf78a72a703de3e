"""Text encoders of the pipelines, two layers of random weights each, with tokenizers that are made on the spot."""

from __future__ import annotations

import inspect
import string

from diffusers import QwenImagePipeline, SanaPipeline
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    GlmConfig,
    GlmModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from tests.conftest import MEMORIZED, ORDINARY


def t5(width: int) -> tuple[T5EncoderModel, T5Tokenizer]:
    """A T5 encoder, and a tokenizer that spells."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = T5Tokenizer(
        vocab=[*pieces, *((letter, -3.0) for letter in string.ascii_lowercase)], extra_ids=0, model_max_length=64
    )
    config = T5Config(vocab_size=64, d_model=width, d_kv=4, d_ff=2 * width, num_layers=2, num_heads=2)
    return T5EncoderModel(config), tokenizer


def bert(width: int) -> tuple[BertModel, BertTokenizer]:
    """BERT, and a tokenizer that spells."""
    letters = string.ascii_lowercase
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=77)
    config = BertConfig(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
    )
    return BertModel(config), tokenizer


def glm(width: int) -> tuple[GlmModel, PreTrainedTokenizerFast]:
    """GLM, and a tokenizer that spells after two marks; like its own, it pads on the left and states no limit."""
    marks = ["<|endoftext|>", "[gMASK]", "<sop>"]
    pieces = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    spelling = Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    spelling.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelling.decoder = decoders.ByteLevel()
    spelling.add_special_tokens(marks)
    spelling.post_processor = TemplateProcessing(
        single="[gMASK] <sop> $A", pair="[gMASK] <sop> $A $B", special_tokens=[("[gMASK]", 1), ("<sop>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left"
    )
    config = GlmConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=[0],
    )
    return GlmModel(config), tokenizer


def qwen(width: int) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    """Qwen2.5-VL, and a tokenizer to which every word of captions and of the pipeline's template is one token."""
    template = inspect.getsource(QwenImagePipeline.__init__).replace("\\n", "\n")
    tokenizer: Qwen2Tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        [*MEMORIZED, *ORDINARY, template],
        vocab_size=2000,
        show_progress=False,
        new_special_tokens=[AddedToken(f"<|im_{mark}|>", special=True) for mark in ("start", "end")],
    )
    half = width // 4  # of a head; its rotation is shared out between time, height and width
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "mrope_section": [half - 2, 1, 1], "rope_theta": 1e6},
            "bos_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 1,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0],
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config), tokenizer


def gemma(width: int) -> tuple[Gemma2Model, GemmaTokenizer]:
    """Gemma 2, and a tokenizer of captions and of the pipeline's instruction."""
    instruction = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    tokenizer: GemmaTokenizer = GemmaTokenizer(add_bos_token=True).train_new_from_iterator(
        [*MEMORIZED, *ORDINARY, *instruction], vocab_size=600, show_progress=False
    )
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Gemma2Model(config), tokenizer
