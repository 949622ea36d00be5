"""Qwen2 models as GGUF v3 files, with the keys and tensor names that llama.cpp's converter writes."""

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import Qwen2Config, Qwen2ForCausalLM

import kquant
import tokenizer

File = gguf.LlamaFileType
FILE_TYPES = {Type.F32: File.ALL_F32, Type.F16: File.MOSTLY_F16, Type.BF16: File.MOSTLY_BF16,
              Type.Q4_0: File.MOSTLY_Q4_0, Type.Q4_1: File.MOSTLY_Q4_1,
              Type.Q5_0: File.MOSTLY_Q5_0, Type.Q5_1: File.MOSTLY_Q5_1,
              Type.Q8_0: File.MOSTLY_Q8_0, Type.Q4_K: File.MOSTLY_Q4_K_S,
              Type.Q5_K: File.MOSTLY_Q5_K_S, Type.Q6_K: File.MOSTLY_Q6_K,
              "q4_k_m": File.MOSTLY_Q4_K_M, "q5_k_m": File.MOSTLY_Q5_K_M}
MIXTURES = {"q4_k_m": Type.Q4_K, "q5_k_m": Type.Q5_K}

NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
LAYER_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
               "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
               "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
               "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def tensor_name(name):
    """model.layers.0.self_attn.q_proj.bias -> blk.0.attn_q.bias"""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        layer, part = stem.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"
    return f"{NAMES[stem]}.{kind}"


def write(path, model, tok, weight_type, title):
    """Two-dimensional tensors become `weight_type`, or what a mixture of that name has, norms and
    biases stay F32. Rows of the embedding beyond the tokenizer's vocabulary are named [PADn] and marked unused."""
    c = model.config
    out = gguf.GGUFWriter(str(path), "qwen2")
    out.add_type(gguf.GGUFType.MODEL)
    out.add_name(title)
    out.add_block_count(c.num_hidden_layers)
    out.add_context_length(c.max_position_embeddings)
    out.add_embedding_length(c.hidden_size)
    out.add_feed_forward_length(c.intermediate_size)
    out.add_head_count(c.num_attention_heads)
    out.add_head_count_kv(c.num_key_value_heads)
    out.add_rope_freq_base(c.rope_parameters["rope_theta"])
    out.add_layer_norm_rms_eps(c.rms_norm_eps)
    out.add_file_type(FILE_TYPES[weight_type])
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)

    vocab, merges = tokenizer.contents(tok)
    tokens, types = list(vocab), [gguf.TokenType.NORMAL] * len(vocab)
    for special in tokenizer.SPECIAL:
        types[vocab[special]] = gguf.TokenType.CONTROL
    for i in range(len(tokens), c.vocab_size):
        tokens.append(f"[PAD{i}]")
        types.append(gguf.TokenType.UNUSED)
    end = vocab[tokenizer.SPECIAL[0]]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_merges([" ".join(m) for m in merges])
    out.add_bos_token_id(end)
    out.add_eos_token_id(end)
    out.add_pad_token_id(end)
    out.add_add_bos_token(False)

    tied = c.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        data = tensor.detach().to(torch.float32).numpy()
        kind = Type.F32 if data.ndim == 1 else weight_type
        if kind in MIXTURES:
            kind = kquant.mixture(MIXTURES[kind], tensor_name(name), c.num_hidden_layers,
                                  data.shape[1], tied)
        out.add_tensor(tensor_name(name), kquant.quantize(data, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def load(path):
    """The model that a reader of the file sees: dequantised weights, float32, eager attention."""
    reader = gguf.GGUFReader(str(path))
    field = lambda key: reader.fields[key].contents()
    tensors = {t.name: t for t in reader.tensors}
    tied = "output.weight" not in tensors
    model = Qwen2ForCausalLM(Qwen2Config(
        vocab_size=len(field("tokenizer.ggml.tokens")),
        hidden_size=field("qwen2.embedding_length"),
        intermediate_size=field("qwen2.feed_forward_length"),
        num_hidden_layers=field("qwen2.block_count"),
        num_attention_heads=field("qwen2.attention.head_count"),
        num_key_value_heads=field("qwen2.attention.head_count_kv"),
        max_position_embeddings=field("qwen2.context_length"),
        rms_norm_eps=field("qwen2.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("qwen2.rope.freq_base")},
        tie_word_embeddings=tied, use_sliding_window=False, attn_implementation="eager"))
    state = {}
    for name, parameter in model.state_dict().items():
        t = tensors["token_embd.weight" if tied and name == "lm_head.weight" else tensor_name(name)]
        values = gguf.dequantize(t.data, t.tensor_type)
        state[name] = torch.from_numpy(np.array(values, np.float32)).reshape(parameter.shape)
    model.load_state_dict(state)
    return model.to(torch.float32).eval()
