from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from editor.errors import ExciseError
from editor.measures.agreement import agreement, judge_images
from editor.testbed.judge import JUDGE_FILE, Judge, labels_of


def test_both_object_and_colour_must_be_right():
    def judge(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads the object off the first channel's level and the colour off the second's."""
        levels = (images.mean(dim=(2, 3)) * 10).round().long()
        return torch.eye(10)[levels[:, 0]], torch.eye(10)[levels[:, 1]]

    images = torch.zeros(2, 2, 3, 64, 64)
    images[0, :, 0], images[0, 0, 1], images[0, 1, 1] = 0.3, 0.2, 0.5
    images[1, :, 0], images[1, :, 1] = 0.1, 0.4
    assert agreement(judge, images, [(3, 2), (2, 4)]).tolist() == [[True, False], [False, False]]
    assert agreement(judge, images, [(3, 5), (1, 4)]).tolist() == [[False, True], [True, True]]


def test_captions_without_a_label_are_not_judged(tmp_path: Path):
    torch.manual_seed(0)
    save_file(Judge().state_dict(), tmp_path / JUDGE_FILE)
    captions = ["a red circle on the left of a blue plain background", "an old harbour"]
    assert labels_of(captions[0]) is not None and labels_of(captions[1]) is None
    found = judge_images(tmp_path, torch.rand(2, 3, 3, 64, 64), captions)
    assert found[1] is None
    assert found[0] is not None and np.shape(found[0]) == (3,)


def test_a_folder_without_a_judge(tmp_path: Path):
    with pytest.raises(ExciseError, match="no judge"):
        judge_images(tmp_path, torch.rand(1, 1, 3, 64, 64), ["a red circle"])
