"""Kinds of findings about single images, found by decoding them."""

from __future__ import annotations

from resnetkit.data.checks.findings import Kind

_STOPS = "Training stops and names it; with `--data.skip_unreadable` it is left out."

# With one of these an image cannot be trained on: it is excluded and quarantined.
UNREADABLE_KINDS = {
    "zero-byte": Kind(
        severity="unsafe",
        title="Empty files",
        treatment=f"{_STOPS} Copy it again, or remove it.",
    ),
    "truncated": Kind(
        severity="unsafe",
        title="Images that end too early",
        treatment=f"{_STOPS} Its missing part is never filled with grey. Copy it again.",
    ),
    "damaged": Kind(
        severity="unsafe",
        title="Images damaged inside",
        treatment=f"{_STOPS} Copy it again.",
    ),
    "not-an-image": Kind(
        severity="unsafe",
        title="Files of another type under an image's name",
        treatment=f"{_STOPS} Download the picture itself, or remove the file.",
    ),
    "unsupported-format": Kind(
        severity="unsafe",
        title="Pictures in a format that is not read, under the name of one that is",
        treatment=f"{_STOPS} Save it as JPEG or PNG.",
    ),
    "unreadable": Kind(
        severity="unsafe",
        title="Files in which no image can be recognised",
        treatment=f"{_STOPS} Copy it again, or remove it.",
    ),
    "decompression-bomb": Kind(
        severity="unsafe",
        title="Images with far too many pixels",
        treatment=f"{_STOPS} Its pixels are never unpacked. Make it smaller.",
    ),
    "no-brightness-range": Kind(
        severity="unsafe",
        title="Pixel values without a known range",
        treatment=f"{_STOPS} Floating-point and 32-bit values have no black and white to scale "
        "from: save it with 8 or 16 bits.",
    ),
    "broken-link": Kind(
        severity="unsafe",
        title="Links that lead nowhere",
        treatment=f"{_STOPS} Restore the file it points to, or remove the link.",
    ),
    "no-permission": Kind(
        severity="unsafe",
        title="Images that may not be read",
        treatment=f"{_STOPS} Change the file's rights.",
    ),
}

TREATED_KINDS = {
    "mislabelled-type": Kind(
        severity="note",
        title="Images whose ending names another format",
        treatment="They are read by their content; the ending does not matter here, but other "
        "programs may refuse them.",
    ),
    "animated": Kind(
        severity="warning",
        title="Several pictures in one file",
        treatment="Only the first frame or page is used. If another one matters, save it apart.",
    ),
    "cmyk": Kind(
        severity="note",
        title="Images in printing colours (CMYK)",
        treatment="Converted to RGB by the plain formula, without the colour profile: colours are "
        "a little more vivid than in a viewer.",
    ),
    "sixteen-bit": Kind(
        severity="note",
        title="More than 8 bits a channel",
        treatment="Brought to 8 bits: grey as value / 257, rounded; of colour images Pillow keeps "
        "the upper 8 bits. Dark 16-bit images (12-bit cameras) become nearly black: rescale them.",
    ),
    "alpha": Kind(
        severity="note",
        title="Images with transparency",
        treatment="What is transparent is blended with white, as on a page.",
    ),
    "palette": Kind(
        severity="note",
        title="Images with a colour palette",
        treatment="Converted to RGB through the palette: every pixel keeps its colour.",
    ),
    "color-profile": Kind(
        severity="note",
        title="Colour profiles other than sRGB",
        treatment="The profile is ignored, the values are taken as sRGB: colours differ a little "
        "from those in a viewer. Convert the images to sRGB if that matters.",
    ),
    "exif-rotated": Kind(
        severity="note",
        title="Photographs stored on their side",
        treatment="Turned upright as their EXIF orientation says, in training and everywhere else.",
    ),
    "corrupt-exif": Kind(
        severity="note",
        title="Damaged EXIF data",
        treatment="Ignored; the pixels are good and are used as they are stored. If the picture "
        "lies on its side here, turn it.",
    ),
    "blank": Kind(
        severity="warning",
        title="Blank images",
        treatment="They are trained on as they are: one flat tone under a class. Remove them "
        "unless emptiness is what the class is about.",
    ),
}

OUTLIER_KINDS = {
    "grey-among-colour": Kind(
        severity="note",
        title="Grey images among colour images",
        treatment="Used as RGB with three equal channels. Make sure that grey does not give the "
        "class away.",
    ),
    "colour-among-grey": Kind(
        severity="warning",
        title="A few colour images among grey ones",
        treatment="Because of them everything is trained as RGB. If colour means nothing here, set "
        "`--data.color_mode L`.",
    ),
    "tiny-image": Kind(
        severity="warning",
        title="Tiny images",
        treatment="Enlarged to the network's input: there is almost nothing to see. Remove them, "
        "or find the originals.",
    ),
    "huge-image": Kind(
        severity="note",
        title="Very large images",
        treatment="Decoded in full and made smaller; each costs as much time as many others. Run "
        "`data pack` once, and training never decodes them again.",
    ),
    "extreme-aspect": Kind(
        severity="warning",
        title="Very long or very wide images",
        treatment="The shorter side is resized and the centre cropped: at evaluation most of the "
        "image is never seen. Beyond about 1 : 1000 it is refused. Crop them.",
    ),
    "odd-size": Kind(
        severity="note",
        title="Images of an unusual size",
        treatment="Resized as all others. An odd size often means another origin: have a look.",
    ),
}

IMAGE_KINDS = UNREADABLE_KINDS | TREATED_KINDS | OUTLIER_KINDS
