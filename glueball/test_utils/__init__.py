"""Helpers for tests, under the names and with the behaviour of 1.9.1's `test_utils`.

The one idea: everything here is written against the public interface, like a user's test. In four files:
compare.py     tolerances per dtype, `assert_almost_equal` and its relatives
samples.py     random shapes, arrays and matrices; MNIST as arrays
symbols.py     checks of a symbol: forward, backward, numeric gradient, consistency between devices
system.py      the default context, environment variables, statistics of random generators, downloads
"""

from __future__ import annotations

from .compare import (
    almost_equal,
    assert_allclose,
    assert_almost_equal,
    assert_almost_equal_ignore_nan,
    assert_almost_equal_with_err,
    assert_exception,
    checkShapes,
    collapse_sum_like,
    compare_ndarray_tuple,
    default_atols,
    default_numeric_eps,
    default_rtols,
    effective_dtype,
    get_atol,
    get_etol,
    get_rtol,
    get_tolerance,
    get_tols,
    locationError,
    np_reduce,
    same,
    same_array,
)
from .samples import (
    DummyIter,
    assign_each,
    assign_each2,
    create_2d_tensor,
    create_sparse_array,
    create_sparse_array_zd,
    create_vector,
    default_dtype,
    get_identity_mat,
    get_identity_mat_batch,
    get_mnist,
    get_mnist_iterator,
    new_matrix_with_real_eigvals_2d,
    new_matrix_with_real_eigvals_nd,
    new_orthonormal_matrix_2d,
    new_sym_matrix_with_real_eigvals_2d,
    new_sym_matrix_with_real_eigvals_nd,
    rand_coord_2d,
    rand_ndarray,
    rand_shape_2d,
    rand_shape_3d,
    rand_shape_nd,
    rand_sparse_ndarray,
    random_arrays,
    random_sample,
    random_uniform_arrays,
)
from .symbols import (
    check_consistency,
    check_gluon_hybridize_consistency,
    check_numeric_gradient,
    check_speed,
    check_symbolic_backward,
    check_symbolic_forward,
    compare_optimizer,
    numeric_grad,
    same_symbol_structure,
    simple_forward,
)
from .system import (
    EnvManager,
    chi_square_check,
    default_context,
    discard_stderr,
    download,
    environment,
    gen_buckets_probs_with_ppf,
    has_tvm_ops,
    is_aarch64_run,
    is_cd_run,
    is_op_runnable,
    list_gpus,
    mean_check,
    retry,
    set_default_context,
    var_check,
    verify_generator,
)

__all__ = [
    name
    for name in dir()
    if not name.startswith("_") and name not in {"annotations", "compare", "samples", "symbols", "system"}
]
