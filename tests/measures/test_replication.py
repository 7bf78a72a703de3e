from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from excise.errors import ExciseError
from excise.measures.replication import Rule, Target, load_target, ssim, tiled_l2
from excise.prompts.prompt import Prompt
from excise.recipe import Validate


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 64, 64, generator=generator)
    images = (target + 0.2 * torch.randn(5, 3, 64, 64, generator=generator)).clamp(0, 1)
    return images, target


def test_tiled_l2_is_the_largest_tile_written_out(pair):
    images, target = pair
    expected = [
        max(
            np.sqrt(np.mean((image[:, y : y + 16, x : x + 16] - target.numpy()[:, y : y + 16, x : x + 16]) ** 2))
            for y in range(0, 64, 16)
            for x in range(0, 64, 16)
        )
        for image in images.numpy()
    ]
    assert tiled_l2(images, target, tiles=4).numpy() == pytest.approx(np.array(expected), rel=1e-5)


def test_equal_images_have_distance_zero_and_opposite_ones_one(pair):
    _, target = pair
    assert tiled_l2(target[None], target).item() == 0.0
    assert tiled_l2(torch.ones(1, 3, 8, 8), torch.zeros(3, 8, 8)).item() == 1.0


def test_one_changed_tile_decides_although_the_background_is_shared():
    target = torch.zeros(3, 64, 64)
    image = target.clone()
    image[:, :16, :16] = 0.6
    assert tiled_l2(image[None], target).item() == pytest.approx(0.6)
    assert (image - target).square().mean().sqrt() < 0.16  # the plain distance is at the usual threshold


def test_only_the_masked_part_counts():
    target, image, mask = torch.zeros(3, 64, 64), torch.zeros(3, 64, 64), torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    image[:, :, 32:] = 1.0  # the varying part of a template
    assert tiled_l2(image[None], target, mask).item() == 0.0
    image[:, :, :16] = 0.5
    assert tiled_l2(image[None], target, mask).item() == pytest.approx(0.5)


def test_a_tile_with_few_counted_pixels_is_left_out():
    target, mask = torch.zeros(3, 64, 64), torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    mask[0, 48] = True  # 1 of 256 pixels of its tile
    image = torch.zeros(3, 64, 64)
    image[:, 0, 48] = 1.0
    assert tiled_l2(image[None], target, mask).item() == 0.0
    with pytest.raises(ValueError, match="no tile"):
        tiled_l2(image[None], target, torch.zeros(64, 64, dtype=torch.bool))


def test_sides_that_do_not_divide_and_too_many_tiles():
    assert tiled_l2(torch.ones(2, 3, 10, 7), torch.zeros(3, 10, 7), tiles=4).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="do not fit"):
        tiled_l2(torch.ones(2, 3, 10, 7), torch.zeros(3, 10, 7), tiles=8)


def test_ssim_is_that_of_scikit_image(pair):
    images, target = pair
    options = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False}
    found = ssim(images, target)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:30, 20:50] = True
    masked = ssim(images, target, mask)
    for i, image in enumerate(images.double().numpy()):
        whole, local = structural_similarity(image, target.double().numpy(), full=True, **options)
        assert found[i].item() == pytest.approx(whole, abs=1e-6)
        assert masked[i].item() == pytest.approx(local.mean(axis=0)[10:30, 20:50].mean(), abs=1e-6)
    assert ssim(target[None], target).item() == pytest.approx(1.0)


def test_target_is_cropped_resized_and_masked(tmp_path: Path):
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, 20:60] = 200  # the central square
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "mask.png")
    target = load_target(Prompt("x", tmp_path / "wide.png", tmp_path / "mask.png"), 20, 20)
    assert target.image.shape == (3, 20, 20)
    assert target.image.mean().item() == pytest.approx(200 / 255, abs=0.02)
    assert target.mask is not None and target.mask.all()
    assert load_target(Prompt("x", tmp_path / "wide.png"), 40, 80).mask is None


def test_targets_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(ExciseError, match=r"text\.png: cannot be read as an image"):
        load_target(Prompt("x", tmp_path / "text.png"), 8, 8)
    with pytest.raises(ExciseError, match=r"black\.png: white, which is what counts"):
        load_target(Prompt("x", tmp_path / "black.png", tmp_path / "black.png"), 8, 8)


def test_the_rule_is_that_of_the_recipe():
    assert Rule.of(Validate()) == Rule(0.15, None, 4)
    assert Rule.of(Validate(threshold=0.2, ssim=0.5, tiles=8)) == Rule(0.2, 0.5, 8)


def test_the_rule_holds_at_its_limits_and_not_beyond():
    distance, similarity = np.array([0.1, 0.1, 0.2, 0.2, 0.2000001]), np.array([0.5, 0.49, 0.5, -1.0, 1.0])
    assert Rule(0.2, None, 4).holds(distance, similarity).tolist() == [True, True, True, True, False]
    assert Rule(0.2, 0.5, 4).holds(distance, similarity).tolist() == [True, False, True, False, False]
    tensors = torch.from_numpy(distance), torch.from_numpy(similarity)
    assert Rule(0.2, 0.5, 4).holds(*tensors).tolist() == [True, False, True, False, False]
    assert not Rule(1.0, None, 4).holds(np.array([np.nan]), np.array([1.0])).any()


def test_the_rule_measures_as_it_judges(pair):
    images, target = pair
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:, :32] = True
    for found in (Target(target, None), Target(target, mask)):
        distance, similarity = Rule(0.2, None, 8).compare(images, found)
        assert torch.equal(distance, tiled_l2(images, target, found.mask, 8))
        assert torch.equal(similarity, ssim(images, target, found.mask))
        middle = float(distance.median())
        assert Rule(middle, None, 8).replicated(images, found).tolist() == (distance <= middle).tolist()
        assert Rule(1.0, float(similarity.median()), 8).replicated(images, found).sum() == 3


def test_a_flat_picture_near_in_colour_is_told_apart_by_structure():
    """What structural similarity is for: fine stripes of little contrast are near to plain grey."""
    stripes = torch.full((3, 64, 64), 0.5)
    stripes[:, ::2] = 0.6
    grey = torch.full((1, 3, 64, 64), 0.55)
    assert Rule(0.1, None, 4).replicated(grey, Target(stripes, None)).tolist() == [True]
    assert Rule(0.1, 0.5, 4).replicated(grey, Target(stripes, None)).tolist() == [False]
    assert Rule(0.1, 0.5, 4).replicated(stripes[None], Target(stripes, None)).tolist() == [True]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_as_bright_as_eight(tmp_path: Path, ending: str) -> None:
    """Not white, as where all above 255 is cut off."""
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / f"deep.{ending}")
    found = load_target(Prompt("x", tmp_path / f"deep.{ending}"), 64, 64).image
    assert torch.allclose(found, torch.from_numpy(grey / 65535).float().expand(3, 64, 64), atol=1 / 255)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_known_range_are_refused(tmp_path: Path, mode: str) -> None:
    values = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    pixels = (values * 1000).astype(np.int32) if mode == "I" else values.astype(np.float32)
    Image.fromarray(pixels).save(tmp_path / "odd.tif")
    with pytest.raises(ExciseError, match=r"odd\.tif: .*8 bits"):
        load_target(Prompt("x", tmp_path / "odd.tif"), 64, 64)


def test_odd_kinds_of_pictures_are_read(tmp_path: Path) -> None:
    """CMYK, a palette, transparency, an animation of two pictures: each the colour that it shows first."""
    red = Image.new("RGB", (32, 20), (200, 30, 40))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    red.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    red.convert("RGBA").save(tmp_path / "rgba.png")
    red.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (32, 20))])
    for file in ("cmyk.jpg", "palette.png", "rgba.png", "moving.gif"):
        found = load_target(Prompt("x", tmp_path / file), 16, 16).image.mean(dim=(1, 2))
        assert found.tolist() == pytest.approx([200 / 255, 30 / 255, 40 / 255], abs=0.03), file
