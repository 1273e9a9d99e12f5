"""Reading pages back: tags that balance, attributes, visible text, pictures."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"meta", "img", "br", "wbr"}


class Markup(HTMLParser):
    """Checks that tags are balanced and collects names, attributes and visible text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def shown(self):
        """The text as it is read, with single spaces."""
        return " ".join("".join(self.text).split())

    def values(self, name):
        """All values of an attribute."""
        return [value for key, value in self.attributes if key == name]


def pixels_of(address):
    """The pixels of a data: address."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
