/* Gradients of weights: c = gᵀ · x, for rows g of gradients and x of inputs, and the sums of g's columns.
 *
 * The one idea: it is a product like those of product.h, with x as the weight and columns of g as rows. Both are as long
 * as there are calls, so they are taken in blocks of a depth that stays near: x is put into panels block by block, once
 * for all; whoever computes some rows of c puts the columns of g that these need beside each other as it comes to them.
 */
#ifndef GLUEBALL_OUTER_H
#define GLUEBALL_OUTER_H

#include "product.h"
#include "threads.h"

#if HAS_PANELS
#define DEPTH 128 /* rows of g and x at a time */
#define CHUNK 96  /* columns of g, at most, for which one thread goes through all of x */

#define OUTER(T, TILE_TABLE)                                                                                           \
    /* Blocks first to last of x. */                                                                                   \
    static void pack_blocks_##T(const T *x, int64_t step, int64_t rows, int64_t columns, T *packed, int64_t first,     \
                                int64_t last) {                                                                        \
        int64_t width = panel_width() / (int64_t)sizeof(T), panels = (columns + width - 1) / width;                    \
        for (int64_t block = first; block < last; block++) {                                                           \
            int64_t begin = block * DEPTH, depth = rows - begin < DEPTH ? rows - begin : DEPTH;                        \
            for (int64_t p = 0; p < panels; p++) {                                                                     \
                T *target = packed + (begin * panels + p * depth) * width;                                             \
                int64_t column = p * width, there = columns - column < width ? columns - column : width;               \
                for (int64_t i = begin; i < begin + depth; i++, target += width) {                                     \
                    memcpy(target, x + i * step + column, (size_t)there * sizeof(T));                                  \
                    if (there < width) memset(target + there, 0, (size_t)(width - there) * sizeof(T));                 \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    /* Some columns of some rows of g, side by side; add their sums. */                                                \
    static void beside_##T(const T *g, int64_t step, int64_t depth, int64_t count, int64_t most, T *target, T *sums) { \
        T total[MOST_ROWS] = {0};                                                                                      \
        if (count == MOST_ROWS)                                                                                        \
            for (int64_t k = 0; k < depth; k++, target += MOST_ROWS, g += step)                                        \
                for (int i = 0; i < MOST_ROWS; i++) total[i] += target[i] = g[i];                                      \
        else                                                                                                           \
            for (int64_t k = 0; k < depth; k++, target += most, g += step)                                             \
                for (int64_t i = 0; i < count; i++) total[i] += target[i] = g[i];                                      \
        for (int64_t i = 0; sums != NULL && i < count; i++) sums[i] += total[i];                                       \
    }                                                                                                                  \
    /* Rows begin to end of c, at most CHUNK; add: to what is there. */                                                \
    static void outer_##T(const T *g, int64_t g_step, const T *packed, int64_t rows, int64_t columns, int add, T *c,   \
                          int64_t c_step, T *sums, int64_t begin, int64_t end) {                                       \
        int wide = panel_width() == 128;                                                                               \
        int64_t width = panel_width() / (int64_t)sizeof(T), most = wide ? MOST_ROWS : 6;                               \
        T own[CHUNK * DEPTH], spare[MOST_ROWS * 32];                                                                   \
        for (int64_t low = 0; low < rows; low += DEPTH, add = 1) {                                                     \
            int64_t depth = rows - low < DEPTH ? rows - low : DEPTH;                                                   \
            for (int64_t i = begin; i < end; i += most)                                                                \
                beside_##T(g + low * g_step + i, g_step, depth, end - i < most ? end - i : most, most,                 \
                           own + (i - begin) * DEPTH, sums == NULL ? NULL : sums + i);                                 \
            const T *panel = packed + low * ((columns + width - 1) / width) * width;                                   \
            for (int64_t column = 0; column < columns; column += width, panel += depth * width) {                      \
                int64_t there = columns - column < width ? columns - column : width;                                   \
                for (int64_t i = begin; i < end; i += most) {                                                          \
                    int64_t count = end - i < most ? end - i : most;                                                   \
                    T *target = c + i * c_step + column;                                                               \
                    const T *a = own + (i - begin) * DEPTH;                                                            \
                    if (there == width) {                                                                              \
                        TILE_TABLE[wide][count](a, 1, most, panel, depth, add ? target : NULL, c_step, target,         \
                                                c_step);                                                               \
                        continue;                                                                                      \
                    }                                                                                                  \
                    for (int64_t r = 0; add && r < count; r++)                                                         \
                        memcpy(spare + r * width, target + r * c_step, (size_t)there * sizeof(T));                     \
                    TILE_TABLE[wide][count](a, 1, most, panel, depth, add ? spare : NULL, width, spare, width);        \
                    for (int64_t r = 0; r < count; r++)                                                                \
                        memcpy(target + r * c_step, spare + r * width, (size_t)there * sizeof(T));                     \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

OUTER(float, tiles_float)
OUTER(double, tiles_double)

typedef struct {
    atomic_int_fast64_t next;
    int64_t rows, height, width; /* rows of g and x; of c */
    const char *g, *x;
    char *c, *sums, *packed;
    int64_t g_step, x_step, c_step, chunk; /* in elements; rows of c at a time */
    int is_double, add;
} Outer;

static void fetch_blocks(void *argument) {
    Outer *w = argument;
    for (int64_t block; (block = next_piece(&w->next)) * DEPTH < w->rows;) {
        if (w->is_double)
            pack_blocks_double((const double *)w->x, w->x_step, w->rows, w->width, (double *)w->packed, block, block + 1);
        else
            pack_blocks_float((const float *)w->x, w->x_step, w->rows, w->width, (float *)w->packed, block, block + 1);
    }
}

static void fetch_chunks(void *argument) {
    Outer *w = argument;
    for (int64_t begin; (begin = next_piece(&w->next) * w->chunk) < w->height;) {
        int64_t end = begin + w->chunk < w->height ? begin + w->chunk : w->height;
        if (w->is_double)
            outer_double((const double *)w->g, w->g_step, (double *)w->packed, w->rows, w->width, w->add, (double *)w->c,
                         w->c_step, (double *)w->sums, begin, end);
        else
            outer_float((const float *)w->g, w->g_step, (float *)w->packed, w->rows, w->width, w->add, (float *)w->c,
                        w->c_step, (float *)w->sums, begin, end);
    }
}

/* There are rows. `packed` has room for the rows of x, as many columns as fill panels. */
static void outer(const int64_t *machine, Outer *work) {
    int64_t most = panel_width() == 128 ? MOST_ROWS : 6, pieces = 2 * machine[M_THREADS];
    work->chunk = (work->height + pieces - 1) / pieces;
    work->chunk = work->chunk < CHUNK ? (work->chunk + most - 1) / most * most : CHUNK;
    on_threads(machine, fetch_blocks, work, &work->next, 8 * work->rows * work->width);
    on_threads(machine, fetch_chunks, work, &work->next, work->rows * work->height * work->width);
}
#endif
#endif
