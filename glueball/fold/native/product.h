/* Matrix products with weights that were put in order beforehand.
 *
 * The one idea: a group of a folded batch has few rows, and libraries spend most of such a product on bringing the
 * weight into the order that their inner loop wants, each time anew. Here that is done once (`pack`): panels of as many
 * columns as two vectors hold, row after row. The inner loop then reads a panel from front to back and keeps up to
 * twelve rows of results in registers.
 *
 * `panel_width` says whether this processor has the vectors for it; without them products are called in a library.
 */
#ifndef GLUEBALL_PRODUCT_H
#define GLUEBALL_PRODUCT_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_PANELS 1

typedef float f32x16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef double f64x8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef float f32x8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef double f64x4 __attribute__((vector_size(32), aligned(8), may_alias));

#define WIDE __attribute__((target("avx512f,fma")))
#define NARROW __attribute__((target("avx2,fma")))
#define MOST_ROWS 12    /* of a tile */
#define ROWS_AT_ONCE 96 /* whose inputs stay near while panels go by */

/* ROWS rows of `a`, whose elements are `along` apart, times a panel; c begins as zeros, or as rows `start` that are
 * `start_step` apart (0: all the same). */
#define TILE(T, V, NAME, TARGET, ROWS)                                                                                 \
    TARGET static void NAME##_##ROWS(const T *a, int64_t step, int64_t along, const T *w, int64_t inner,               \
                                     const T *start, int64_t start_step, T *c, int64_t c_step) {                       \
        enum { LANES = sizeof(V) / sizeof(T) };                                                                        \
        V left[ROWS], right[ROWS];                                                                                     \
        _Pragma("GCC unroll 12") for (int i = 0; i < ROWS; i++) {                                                      \
            left[i] = start ? *(const V *)(start + i * start_step) : (V){0};                                           \
            right[i] = start ? *(const V *)(start + i * start_step + LANES) : (V){0};                                  \
        }                                                                                                              \
        for (int64_t k = 0; k < inner; k++, w += 2 * LANES, a += along) {                                              \
            V first = *(const V *)w, second = *(const V *)(w + LANES);                                                 \
            _Pragma("GCC unroll 12") for (int i = 0; i < ROWS; i++) {                                                  \
                V x = a[i * step] - (V){0};                                                                            \
                left[i] += x * first;                                                                                  \
                right[i] += x * second;                                                                                \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 12") for (int i = 0; i < ROWS; i++) {                                                      \
            *(V *)(c + i * c_step) = left[i];                                                                          \
            *(V *)(c + i * c_step + LANES) = right[i];                                                                 \
        }                                                                                                              \
    }

#define NAMES(N) {0, N##_1, N##_2, N##_3, N##_4, N##_5, N##_6, N##_7, N##_8, N##_9, N##_10, N##_11, N##_12}
#define TILES(T, V, N, TARGET)                                                                                         \
    TILE(T, V, N, TARGET, 1) TILE(T, V, N, TARGET, 2) TILE(T, V, N, TARGET, 3) TILE(T, V, N, TARGET, 4)                \
    TILE(T, V, N, TARGET, 5) TILE(T, V, N, TARGET, 6) TILE(T, V, N, TARGET, 7) TILE(T, V, N, TARGET, 8)                \
    TILE(T, V, N, TARGET, 9) TILE(T, V, N, TARGET, 10) TILE(T, V, N, TARGET, 11) TILE(T, V, N, TARGET, 12)

TILES(float, f32x16, wide_float, WIDE)
TILES(double, f64x8, wide_double, WIDE)
TILES(float, f32x8, narrow_float, NARROW)
TILES(double, f64x4, narrow_double, NARROW)

typedef void (*TileFloat)(const float *, int64_t, int64_t, const float *, int64_t, const float *, int64_t, float *,
                          int64_t);
typedef void (*TileDouble)(const double *, int64_t, int64_t, const double *, int64_t, const double *, int64_t, double *,
                           int64_t);
static const TileFloat tiles_float[2][MOST_ROWS + 1] = {NAMES(narrow_float), NAMES(wide_float)};
static const TileDouble tiles_double[2][MOST_ROWS + 1] = {NAMES(narrow_double), NAMES(wide_double)};

/* Columns of a panel in bytes; 0: there are none here. */
static int64_t panel_width(void) {
    static int64_t known = -1;
    if (known < 0) {
        __builtin_cpu_init();
        int fused = __builtin_cpu_supports("fma") != 0;
        known = fused && __builtin_cpu_supports("avx512f") ? 128 : fused && __builtin_cpu_supports("avx2") ? 64 : 0;
    }
    return known;
}

/* Rows begin to end, panels first to last, of c = start + a · weightᵀ. start: as C is (accumulate), a bias, or zeros.
 * Sixteen rows of registers hold six narrow rows only, so tiles are lower there. */
#define PANELS(T, TILE_TABLE)                                                                                          \
    static void panels_##T(const T *a, int64_t step, const T *packed, int64_t inner, const T *bias, int accumulate,    \
                           T *c, int64_t c_step, int64_t columns, int64_t begin, int64_t end, int64_t first,           \
                           int64_t last) {                                                                             \
        int64_t width = panel_width() / (int64_t)sizeof(T), most = panel_width() == 128 ? MOST_ROWS : 6;               \
        T spare[MOST_ROWS * 32], own[32];                                                                              \
        for (int64_t p = first; p < last; p++) {                                                                       \
            const T *w = packed + p * inner * width;                                                                   \
            int64_t column = p * width, there = columns - column < width ? columns - column : width;                   \
            const T *row = bias == NULL ? NULL : bias + column;                                                        \
            if (row != NULL && there < width) {                                                                        \
                memset(own, 0, sizeof own);                                                                            \
                memcpy(own, row, (size_t)there * sizeof(T));                                                           \
                row = own;                                                                                             \
            }                                                                                                          \
            for (int64_t i = begin; i < end;) {                                                                        \
                int64_t left = end - i, pieces = (left + most - 1) / most, rows = (left + pieces - 1) / pieces;        \
                T *target = c + i * c_step + column;                                                                   \
                if (there == width) {                                                                                  \
                    TILE_TABLE[width * sizeof(T) == 128][rows](a + i * step, step, 1, w, inner,                        \
                                                              accumulate ? target : row, accumulate ? c_step : 0,      \
                                                              target, c_step);                                         \
                } else {                                                                                               \
                    for (int64_t r = 0; accumulate && r < rows; r++)                                                   \
                        memcpy(spare + r * width, target + r * c_step, (size_t)there * sizeof(T));                     \
                    TILE_TABLE[width * sizeof(T) == 128][rows](a + i * step, step, 1, w, inner,                        \
                                                              accumulate ? spare : row, accumulate ? width : 0, spare, \
                                                              width);                                                  \
                    for (int64_t r = 0; r < rows; r++)                                                                 \
                        memcpy(target + r * c_step, spare + r * width, (size_t)there * sizeof(T));                     \
                }                                                                                                      \
                i += rows;                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }

PANELS(float, tiles_float)
PANELS(double, tiles_double)

/* Panels first to last of a weight: element (k, j) of the product is weight[j · step + k], or with `across`
 * weight[k · step + j]. Columns that are not there are zeros. */
#define PACK(T)                                                                                                        \
    static void pack_##T(const T *weight, int64_t step, int across, int64_t inner, int64_t columns, T *packed,         \
                         int64_t first, int64_t last) {                                                                \
        int64_t width = panel_width() / (int64_t)sizeof(T);                                                            \
        for (int64_t p = first; p < last; p++) {                                                                       \
            T *target = packed + p * inner * width;                                                                    \
            int64_t column = p * width, there = columns - column < width ? columns - column : width;                   \
            if (there < width) memset(target, 0, (size_t)(inner * width) * sizeof(T));                                 \
            if (across) {                                                                                              \
                for (int64_t k = 0; k < inner; k++)                                                                    \
                    memcpy(target + k * width, weight + k * step + column, (size_t)there * sizeof(T));                 \
                continue;                                                                                              \
            }                                                                                                          \
            for (int64_t low = 0; low < inner; low += 16) { /* so that what is written stays near */                   \
                int64_t high = low + 16 < inner ? low + 16 : inner;                                                    \
                for (int64_t j = 0; j < there; j++)                                                                    \
                    for (int64_t k = low; k < high; k++) target[k * width + j] = weight[(column + j) * step + k];      \
            }                                                                                                          \
        }                                                                                                              \
    }

PACK(float)
PACK(double)

#else
#define HAS_PANELS 0
static int64_t panel_width(void) { return 0; }
#endif
#endif
