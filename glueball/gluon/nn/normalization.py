"""Normalisations: over the batch (`BatchNorm`, `BatchNormReLU`), a group of channels, an instance, or a layer's
features.

The one idea: out = gamma · (x - mean) / sqrt(var + epsilon) + beta; the layers differ only in the axes that mean and
var are taken over and in the shape of gamma and beta. Switches that turn gamma or beta off keep the parameter, frozen
at its start, so that files stay the same. Not here: `SyncBatchNorm` (contrib/nn).
"""

from __future__ import annotations

from typing import Any

from ..hybrid import HybridBlock

__all__ = ["BatchNorm", "BatchNormReLU", "GroupNorm", "InstanceNorm", "LayerNorm"]


class _BatchNorm(HybridBlock):
    """What `BatchNorm` and `BatchNormReLU` share: four parameters and one operator."""

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        fuse_relu: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kwargs = {
            "axis": axis,
            "eps": epsilon,
            "momentum": momentum,
            "fix_gamma": not scale,
            "use_global_stats": use_global_stats,
        }
        self.fuse_relu = fuse_relu
        shape = (in_channels,)
        with self.name_scope():
            self.gamma = self.params.get(
                "gamma",
                grad_req="write" if scale else "null",
                shape=shape,
                init=gamma_initializer,
                allow_deferred_init=True,
                differentiable=scale,
            )
            self.beta = self.params.get(
                "beta",
                grad_req="write" if center else "null",
                shape=shape,
                init=beta_initializer,
                allow_deferred_init=True,
                differentiable=center,
            )
            self.running_mean = self.params.get(
                "running_mean",
                grad_req="null",
                shape=shape,
                init=running_mean_initializer,
                allow_deferred_init=True,
                differentiable=False,
            )
            self.running_var = self.params.get(
                "running_var",
                grad_req="null",
                shape=shape,
                init=running_variance_initializer,
                allow_deferred_init=True,
                differentiable=False,
            )

    def cast(self, dtype: Any) -> None:
        """Cast the parameters; statistics stay in single precision when the rest becomes half precision."""
        name = getattr(dtype, "__name__", None) or str(dtype)
        super().cast("float32" if name in ("float16", "bfloat16") else dtype)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any) -> Any:
        """Return the normalised data; in train mode the running statistics move, too."""
        out = F.BatchNorm(x, gamma, beta, running_mean, running_var, name="fwd", **self._kwargs)
        return F.Activation(out, act_type="relu", name="relu_fwd") if self.fuse_relu else out

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())
        return f"{type(self).__name__}({settings}, in_channels={(self.gamma.shape or (0,))[0] or None})"


class BatchNorm(_BatchNorm):
    """Normalise each channel over the batch and all other axes.

    In train mode the batch's own mean and variance serve, and the running ones become
    momentum · running + (1 - momentum) · batch; otherwise the running ones serve.

    Parameters
    ----------
    axis : int
        Axis of the channels.
    momentum : float
        Weight of the old running statistics.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether beta and gamma are learned; otherwise they stay 0 and 1.
    use_global_stats : bool
        Use the running statistics in train mode, too.
    beta_initializer, gamma_initializer, running_mean_initializer, running_variance_initializer : str or Initializer
        How the parameters start.
    in_channels : int
        Number of channels; 0: taken from the first call.

    Parameters: `gamma`, `beta` (learned), `running_mean`, `running_var` (statistics), all (in_channels,).
    Inputs and outputs: **data** of any shape with at least one axis; **out** of the same shape.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015. The variance is the biased one, in the running statistics as
    well.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = BatchNorm()
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3, 4))).shape
    (2, 3, 4)
    >>> layer.running_mean.shape
    (3,)
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            False,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
            **kwargs,
        )


class BatchNormReLU(_BatchNorm):
    """`BatchNorm` followed by the rectifier.

    Parameters, inputs and outputs are those of `BatchNorm`.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = BatchNormReLU()
    >>> layer.initialize()
    >>> layer(nd.array([[-1, 1]])).asnumpy().round(3)
    array([[0., 1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            True,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
            **kwargs,
        )


class _Affine(HybridBlock):
    """What the normalisations without statistics share: gamma and beta, and how they are printed."""

    _kwargs: dict[str, Any]

    def _learn(self, size: int, center: bool, scale: bool, beta_initializer: Any, gamma_initializer: Any) -> None:
        with self.name_scope():
            self.gamma = self.params.get(
                "gamma",
                grad_req="write" if scale else "null",
                shape=(size,),
                init=gamma_initializer,
                allow_deferred_init=True,
            )
            self.beta = self.params.get(
                "beta",
                grad_req="write" if center else "null",
                shape=(size,),
                init=beta_initializer,
                allow_deferred_init=True,
            )

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items())
        return f"{type(self).__name__}({settings}, in_channels={(self.gamma.shape or (0,))[0]})"


class InstanceNorm(_Affine):
    """Normalise each channel of each sample over all other axes.

    Parameters
    ----------
    axis : int
        Axis of the channels.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether beta and gamma are learned; otherwise they stay 0 and 1.
    beta_initializer, gamma_initializer : str or Initializer
        How the parameters start.
    in_channels : int
        Number of channels; 0: taken from the first call.

    Parameters learned: `gamma`, `beta` (in_channels,).
    Inputs and outputs: **data** of at least three axes; **out** of the same shape.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = InstanceNorm()
    >>> layer.initialize()
    >>> layer(nd.array([[[1, 3]]])).asnumpy().round(3)
    array([[[-1.,  1.]]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kwargs = {"eps": epsilon, "axis": axis, "center": center, "scale": scale}
        self._axis = axis
        self._epsilon = epsilon
        self._learn(in_channels, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return the normalised data; channels are moved to axis 1 and back."""
        if self._axis == 1:
            return F.InstanceNorm(x, gamma, beta, name="fwd", eps=self._epsilon)
        moved = F.swapaxes(x, dim1=1, dim2=self._axis)
        return F.swapaxes(F.InstanceNorm(moved, gamma, beta, name="fwd", eps=self._epsilon), dim1=1, dim2=self._axis)


class LayerNorm(_Affine):
    """Normalise each position over one axis, usually the last.

    Parameters
    ----------
    axis : int
        Axis that mean and variance are taken over.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether beta and gamma are learned; otherwise they stay 0 and 1.
    beta_initializer, gamma_initializer : str or Initializer
        How the parameters start.
    in_channels : int
        Size of that axis; 0: taken from the first call.

    Parameters learned: `gamma`, `beta` (in_channels,).
    Inputs and outputs: **data** of any shape; **out** of the same shape.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = LayerNorm()
    >>> layer.initialize()
    >>> layer(nd.array([[1, 3]])).asnumpy().round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._kwargs = {"eps": epsilon, "axis": axis, "center": center, "scale": scale}
        self._axis = axis
        self._epsilon = epsilon
        self._center = center
        self._scale = scale
        self._learn(in_channels, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return the normalised data."""
        return F.LayerNorm(x, gamma, beta, axis=self._axis, eps=self._epsilon)


class GroupNorm(_Affine):
    """Normalise each sample over groups of neighbouring channels and all axes behind them.

    Parameters
    ----------
    num_groups : int
        Number of groups; the number of channels (axis 1) must be a multiple of it.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether beta and gamma are learned; otherwise they stay 0 and 1.
    beta_initializer, gamma_initializer : str or Initializer
        How the parameters start.

    Parameters learned: `gamma`, `beta` (num_groups,): one number for each group, as in Gluon 1.9.
    Inputs and outputs: **data** (batch, channel, ...); **out** of the same shape.

    Source: Wu and He, "Group Normalization", 2018.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = GroupNorm(num_groups=2)
    >>> layer.initialize()
    >>> layer(nd.array([[1, 3, 5, 9]]).reshape((1, 4, 1))).asnumpy().round(3).ravel()
    array([-1.,  1., -1.,  1.], dtype=float32)
    """

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._kwargs = {"eps": epsilon, "num_groups": num_groups, "center": center, "scale": scale}
        self._num_groups = num_groups
        self._epsilon = epsilon
        self._center = center
        self._scale = scale
        self._learn(num_groups, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """Return the normalised data."""
        return F.GroupNorm(x, gamma, beta, num_groups=self._num_groups, eps=self._epsilon)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._kwargs.items())})"
