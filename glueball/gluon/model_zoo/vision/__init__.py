"""Networks that classify images, by name: `get_model('resnet18_v1', classes=10)`, or by a function:
`resnet18_v1(classes=10)`.

The one idea: names of blocks and parameters are those of Gluon 1.x, so its parameter files load. Every network has
`features` (all but the last layer) and `output`. Images are (N, 3, 224, 224), for Inception (N, 3, 299, 299), scaled
and normalised as in the respective paper. One family per file; the table of names is below.
"""

from __future__ import annotations

from typing import Any

from ....base.errors import ArgumentError, explain
from ....base.registry import closest
from .alexnet import AlexNet, alexnet
from .densenet import DenseNet, densenet121, densenet161, densenet169, densenet201
from .inception import Inception3, inception_v3
from .mobilenet import (
    MobileNet,
    MobileNetV2,
    get_mobilenet,
    get_mobilenet_v2,
    mobilenet0_5,
    mobilenet0_25,
    mobilenet0_75,
    mobilenet1_0,
    mobilenet_v2_0_5,
    mobilenet_v2_0_25,
    mobilenet_v2_0_75,
    mobilenet_v2_1_0,
)
from .resnet import (
    BasicBlockV1,
    BasicBlockV2,
    BottleneckV1,
    BottleneckV2,
    ResNetV1,
    ResNetV2,
    get_resnet,
    resnet18_v1,
    resnet18_v2,
    resnet34_v1,
    resnet34_v2,
    resnet50_v1,
    resnet50_v2,
    resnet101_v1,
    resnet101_v2,
    resnet152_v1,
    resnet152_v2,
)
from .squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from .vgg import VGG, get_vgg, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

MODELS = {
    "resnet18_v1": resnet18_v1,
    "resnet34_v1": resnet34_v1,
    "resnet50_v1": resnet50_v1,
    "resnet101_v1": resnet101_v1,
    "resnet152_v1": resnet152_v1,
    "resnet18_v2": resnet18_v2,
    "resnet34_v2": resnet34_v2,
    "resnet50_v2": resnet50_v2,
    "resnet101_v2": resnet101_v2,
    "resnet152_v2": resnet152_v2,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg11_bn": vgg11_bn,
    "vgg13_bn": vgg13_bn,
    "vgg16_bn": vgg16_bn,
    "vgg19_bn": vgg19_bn,
    "alexnet": alexnet,
    "densenet121": densenet121,
    "densenet161": densenet161,
    "densenet169": densenet169,
    "densenet201": densenet201,
    "squeezenet1.0": squeezenet1_0,
    "squeezenet1.1": squeezenet1_1,
    "inceptionv3": inception_v3,
    "mobilenet1.0": mobilenet1_0,
    "mobilenet0.75": mobilenet0_75,
    "mobilenet0.5": mobilenet0_5,
    "mobilenet0.25": mobilenet0_25,
    "mobilenetv2_1.0": mobilenet_v2_1_0,
    "mobilenetv2_0.75": mobilenet_v2_0_75,
    "mobilenetv2_0.5": mobilenet_v2_0_5,
    "mobilenetv2_0.25": mobilenet_v2_0_25,
}


def get_model(name: str, **kwargs: Any) -> Any:
    """Return a network by name.

    Parameters
    ----------
    name : str
        One of the names in `MODELS`; case does not matter.
    pretrained : bool
        Load trained parameters from a local file (`model_store.get_model_file`).
    classes : int
        Number of classes; 1000 by default.
    ctx : Context
        Where the parameters are put when they are loaded.
    root : str, optional
        Directory that holds the files.

    Returns
    -------
    HybridBlock

    Raises
    ------
    ArgumentError
        There is no network of this name.

    Examples
    --------
    >>> get_model('squeezenet1.1', classes=10).output[0]
    Conv2D(None -> 10, kernel_size=(1, 1), stride=(1, 1))
    """
    make = MODELS.get(str(name).lower())
    if make is None:
        raise ArgumentError(
            explain(
                "get_model",
                "There is no network of this name.",
                expected="\n    " + "\n    ".join(sorted(MODELS)),
                received=repr(name),
                fix=closest(str(name).lower(), list(MODELS)),
            )
        )
    return make(**kwargs)
