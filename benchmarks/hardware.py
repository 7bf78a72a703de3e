"""What a real model needs, computed without one: parameters, a call's operations, memory at its highest.

Run with: python -m benchmarks.hardware [--teraflops 125] [--memorized 500] [--seeds 4]

The networks are built at full size on PyTorch's meta device, which has shapes and no numbers, and called once in
bfloat16: operations are counted, and so are the bytes of all tensors alive, moment by moment, as eager PyTorch holds
them with a fused attention. Neither a kernel's workspace nor the allocator's waste is in it. Hours are operations
divided by a speed that is assumed, by default 125 TFLOP/s: 40 % of what an A100's data sheet says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

BYTES = 2
"""Of a number in bfloat16."""
CALLS = 10
"""Denoiser calls that are collected of a prompt."""


@dataclass(frozen=True)
class Family:
    """A checkpoint of full size, and how its recipe calls it."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Any]]
    """Arguments of the denoiser for a number of rows."""
    encoders: tuple[Callable[[], nn.Module], ...]
    channels: int
    """Of the latent."""
    pixels: int
    batch: int
    steps: int
    guided: bool
    """Whether a call has an unconditional row beside each conditional one."""


def _empty(*shape: int) -> Tensor:
    return torch.empty(*shape, dtype=torch.bfloat16)


def _clip(width: int, layers: int) -> Callable[[], nn.Module]:
    heads = width // 64
    return lambda: CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
        )
    )


def _t5() -> nn.Module:
    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )


def _sdxl() -> nn.Module:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10],
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def _sd3() -> nn.Module:
    return SD3Transformer2DModel(num_layers=24, num_attention_heads=24, caption_projection_dim=1536)


def _flux() -> nn.Module:
    return FluxTransformer2DModel(guidance_embeds=True)


L, G = _clip(768, 12), _clip(1280, 32)
FAMILIES = (
    Family(
        "SD 1.x, 512",
        lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        lambda rows: {
            "sample": _empty(rows, 4, 64, 64),
            "timestep": torch.tensor(1),
            "encoder_hidden_states": _empty(rows, 77, 768),
        },
        (L,), 4, 512, 8, 50, True,
    ),
    Family(
        "SDXL, 1024",
        _sdxl,
        lambda rows: {
            "sample": _empty(rows, 4, 128, 128),
            "timestep": torch.tensor(1),
            "encoder_hidden_states": _empty(rows, 77, 2048),
            "added_cond_kwargs": {"text_embeds": _empty(rows, 1280), "time_ids": _empty(rows, 6)},
        },
        (L, G), 4, 1024, 4, 50, True,
    ),
    Family(
        "SD 3 medium, 1024",
        _sd3,
        lambda rows: {
            "hidden_states": _empty(rows, 16, 128, 128),
            "timestep": torch.ones(rows),
            "encoder_hidden_states": _empty(rows, 333, 4096),
            "pooled_projections": _empty(rows, 2048),
        },
        (L, G, _t5), 16, 1024, 4, 28, True,
    ),
    Family(
        "FLUX.1 dev, 1024",
        _flux,
        lambda rows: {
            "hidden_states": _empty(rows, 4096, 64),
            "timestep": torch.ones(rows),
            "guidance": torch.ones(rows),
            "encoder_hidden_states": _empty(rows, 512, 4096),
            "pooled_projections": _empty(rows, 768),
            "img_ids": torch.zeros(4096, 3),
            "txt_ids": torch.zeros(512, 3),
        },
        (L, _t5), 16, 1024, 2, 28, False,
    ),
)  # fmt: skip


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors made within it that are still alive, and keeps the most there ever were.

    Views of a network's weights are not made within it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.peak = 0
        tensors = (*network.parameters(), *network.buffers())
        self._weights = {tensor.untyped_storage()._cdata for tensor in tensors}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._alive = {key: kept for key, kept in self._alive.items() if not kept[0].expired()}
        for made in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(made, Tensor) and made.untyped_storage()._cdata not in self._weights:
                storage = made.untyped_storage()
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return out


class Fused(TorchFunctionMode):
    """Attention that makes nothing but its output, as on a GPU; on the meta device it would make all scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0] if args else kwargs["query"])
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Needs:
    """What was computed of a family."""

    parameters: int
    """Of denoiser, text encoders and decoder."""
    call: float
    """Operations of one denoiser call of one prompt, its unconditional row included."""
    denoising: int
    """Bytes of activations at the highest point of a call of a whole batch."""
    decoding: int
    """The same of decoding it."""

    @property
    def peak(self) -> int:
        """Weights and activations, in bytes."""
        return BYTES * self.parameters + max(self.denoising, self.decoding)


def needs_of(family: Family) -> Needs:
    """Build a family's networks without numbers, and call them once."""
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=family.channels,
        )
        network = family.build()
        parts = [network, vae, *(build() for build in family.encoders)]
        parameters = sum(parameter.numel() for part in parts for parameter in part.parameters())
        for part in (network, vae):
            nn.Module.to(part, torch.bfloat16)
        rows = 2 if family.guided else 1
        with FlopCounterMode(display=False) as counter:
            network(**family.inputs(rows))
        inputs = family.inputs(rows * family.batch)
        with Fused(), Alive(network) as denoising:
            network(**inputs)
        side = family.pixels // 8
        latent = _empty(family.batch, family.channels, side, side)
        with Fused(), Alive(vae) as decoding:
            vae.decode(latent)
    return Needs(parameters, float(counter.get_total_flops()), denoising.peak, decoding.peak)


def row_of(family: Family, found: Needs, images: int, located: int, speed: float) -> str:
    """A row of the table.

    Args:
        family: whose.
        found: of it.
        images: drawn in the attack by all models together.
        located: memorized prompts that are located with; as many each serve as contrast, control and empty prompt.
        speed: operations a second.
    """
    calls = images * family.steps + 4 * located * CALLS
    return (
        f"| {family.name}, batch {family.batch} | {found.parameters / 1e9:.2f} billion "
        f"| {BYTES * found.parameters / 1e9:.1f} GB | {found.peak / 1e9:.1f} GB "
        f"| {found.call / 1e12:.1f} TFLOP | {images:,} | {calls * found.call / speed / 3600:.1f} |"
    )


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description="What a real model needs, computed.")
    parser.add_argument("--teraflops", type=float, default=125.0, help="operations a second, in 10^12")
    parser.add_argument("--memorized", type=int, default=500, help="memorized prompts, half of them located")
    parser.add_argument("--judged", type=int, default=100, help="ordinary prompts that are judged, two seeds each")
    parser.add_argument("--seeds", type=int, default=4, help="images for each memorized prompt")
    options = parser.parse_args()
    images = 3 * (options.memorized * options.seeds + 2 * options.judged)  # base, edited model, one random edit
    print("| | parameters | weights | with activations | a denoiser call | images | hours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for family in FAMILIES:
        print(row_of(family, needs_of(family), images, options.memorized // 2, options.teraflops * 1e12))


if __name__ == "__main__":
    main()
