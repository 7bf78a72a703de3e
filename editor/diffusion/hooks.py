"""Looking at the inputs of sites while the denoiser runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from editor.diffusion.sites import Site


@contextmanager
def site_inputs(denoiser: nn.Module, sites: Sequence[Site], receive: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Within the block, every forward pass calls ``receive(index of site, input (rows, tokens, neurons))``.

    Under classifier-free guidance the first half of the rows is unconditional and the second conditional, as
    diffusers stacks them. Nothing is computed twice, and the hooks are gone after the block, whatever happened.
    """

    def hook(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: receive(index, inputs[0])

    with ExitStack() as hooks:
        for index, site in enumerate(sites):
            hooks.callback(denoiser.get_submodule(site.name).register_forward_pre_hook(hook(index)).remove)
        yield
