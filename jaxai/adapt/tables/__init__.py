"""How published files name the parameters of each family: one module a model's module, with `TABLES` and `INPUT`.

`TABLES` holds a `Table` for each way of naming (torchvision's, timm's, transformers'), `INPUT` the shape
[height, width, channel] of an image that the published models take, or [length] of a text.
"""
