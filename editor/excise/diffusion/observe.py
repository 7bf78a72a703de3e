"""Looking at the inputs of sites while the denoiser runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

from torch import Tensor, nn

from excise.diffusion.sites import Site


@contextmanager
def site_inputs(
    denoiser: nn.Module, sites: Sequence[Site], receive: Callable[[int, Tensor, int], None]
) -> Iterator[None]:
    """Within the block, every use of a site calls ``receive(index of site, input (rows, tokens, neurons), pass)``.

    ``pass`` numbers the denoiser's forward passes within the block, from 0. Nothing is computed twice, and the hooks
    are gone after the block, whatever happened.
    """
    numbers = count()
    current = -1

    def begin(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
        nonlocal current
        current = next(numbers)

    def look(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _module, inputs: receive(index, sites[index].tokens(inputs[0]), current)

    with ExitStack() as hooks:
        hooks.callback(denoiser.register_forward_pre_hook(begin).remove)
        for index, site in enumerate(sites):
            hooks.callback(denoiser.get_submodule(site.name).register_forward_pre_hook(look(index)).remove)
        yield
