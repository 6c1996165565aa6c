"""An image in a store."""

import io

import pytest
from PIL import Image

from detailscribe.tools.files import Store

from ..agent.fakes import record


def put(store: Store, id: str, size: tuple[int, int] = (8, 8), colour: str = "red"):
    image = record(id, width=size[0], height=size[1])
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    store.write(image.path, buffer.getvalue())
    return image


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def image(store):
    return put(store, "00-00")
