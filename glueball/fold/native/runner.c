/* Runs groups of a folded batch without Python: gathering, matrix products, machine code of segments, sums over
 * children, and backward the same in reverse.
 *
 * The one idea: what a group of a signature does is a program of a few commands on operands; an operand is where rows
 * lie, as a function of the group (its calls, its children, the rows of its results). Programs are written by Python
 * once per signature (stream.py, which says what the words mean), addresses are filled in once per flush (an
 * "environment" per signature), and one call walks all groups with the interpreter lock released.
 *
 * Matrix products, segments and the threads' pool come as addresses from Python; this file knows none of them.
 * Not here: what is correct to run like this, who owns the memory (stream.py).
 */
#define PY_SSIZE_T_CLEAN
#define _POSIX_C_SOURCE 200809L
#include <Python.h>

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "outer.h"
#include "product.h"
#include "source.h"
#include "threads.h"

#define OPERANDS 256      /* of one program */
#define KERNEL_OPERANDS 96 /* of one segment */
#define LARGE 200000      /* bytes from which moving rows takes all threads */
#define PIECES 8          /* into which such work is cut, per thread */

typedef void (*Kernel)(int64_t *);
typedef void (*Product)(const char *, const char *, const int *, const int *, const int *, const void *, const void *,
                        const int *, const void *, const int *, const void *, void *, const int *);

/* A program: counts and offsets, then operands, commands, and what to follow for the reach of a backward pass. */
enum { P_OPERANDS, P_OPERANDS_AT, P_COMMANDS_AT, P_COMMANDS_END, P_READS, P_READS_AT };

/* An environment: a program bound to the calls of one flush. */
enum { E_PROGRAM, E_SIZES, E_GROUP, E_BEGIN, E_EDGES, E_CHILDREN, E_MOST, E_MOST_EDGES, E_TOTAL, E_TOTAL_EDGES, E_ROWS,
       E_IDS, E_ORIGIN, E_OUTPUTS, E_REACH, E_ROOTS = 16 };

/* An operand: how its address follows from the group. */
enum { O_MODE, O_ROOT, O_OFFSET, O_MOST, O_MOST_EDGES, O_TOTAL, O_TOTAL_EDGES, O_STRIDE, O_EXTRA, O_EDGE, O_TARGET,
       O_FLAGS, O_WORDS };
enum { FIXED, NODES, EDGES, RESULT, GATHERED };
enum { MUST_COPY = 1, IS_THERE = 2 };

enum { PRODUCT = 1, FILL, KERNEL, COPY, ADD, SUM, SPREAD, SCATTER, REDUCE, PLACE };

typedef struct {
    const int64_t *machine, *env, *program;
    int64_t group, begin, count, edge_begin, edge_count; /* of the group that runs */
    char *at[OPERANDS];
    int64_t step[OPERANDS]; /* bytes from row to row */
} Frame;

/* -- work that is cut into pieces of rows --------------------------------------------------------------------------- */
typedef struct Job Job;
struct Job {
    void (*piece)(const Job *, int64_t, int64_t);
    atomic_int_fast64_t next;
    int64_t rows, size;
    char *target;
    const char *source;
    int64_t target_step, source_step, width, add, mean;
    const int64_t *index;    /* row numbers, counts of children, or where children begin */
    int64_t origin;
};

static void fetch_pieces(void *argument) {
    Job *job = argument;
    for (;;) {
        int64_t begin = atomic_fetch_add_explicit(&job->next, job->size, memory_order_relaxed);
        if (begin >= job->rows) return;
        int64_t end = begin + job->size;
        job->piece(job, begin, end < job->rows ? end : job->rows);
    }
}

static void do_rows(const int64_t *machine, Job *job, int64_t bytes) {
    Team team = (Team)(intptr_t)machine[M_TEAM];
    int64_t threads = machine[M_THREADS];
    if (job->rows <= 0) return;
    if (team == NULL || threads < 2 || bytes < LARGE || job->rows < 2) {
        job->piece(job, 0, job->rows);
        return;
    }
    job->size = job->rows / (threads * PIECES) + 1;
    atomic_init(&job->next, 0);
    team(fetch_pieces, job, (unsigned)threads, 0);
}

static void copy_piece(const Job *j, int64_t begin, int64_t end) {
    size_t width = (size_t)j->width;
    if (j->index == NULL && j->source_step == j->width && j->target_step == j->width) {
        memcpy(j->target + begin * j->width, j->source + begin * j->width, (size_t)(end - begin) * width);
        return;
    }
    for (int64_t i = begin; i < end; i++)
        memcpy(j->target + i * j->target_step, j->source + (j->index ? j->index[i] : i) * j->source_step, width);
}

static void zero_piece(const Job *j, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) memset(j->target + i * j->target_step, 0, (size_t)j->width);
}

/* What depends on the type of elements: `width` counts elements here. */
#define TYPED(T)                                                                                                       \
    static void add_piece_##T(const Job *j, int64_t begin, int64_t end) {                                              \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            T *target = (T *)(j->target + i * j->target_step);                                                         \
            const T *source = (const T *)(j->source + i * j->source_step);                                             \
            for (int64_t k = 0; k < j->width; k++) target[k] += source[k];                                             \
        }                                                                                                              \
    }                                                                                                                  \
    /* nodes begin to end: index[i] - origin is the first of a node's rows of the source */                            \
    static void sum_piece_##T(const Job *j, int64_t begin, int64_t end) {                                              \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            T *target = (T *)(j->target + i * j->target_step);                                                         \
            int64_t low = j->index[i] - j->origin, high = j->index[i + 1] - j->origin;                                 \
            if (!j->add && (low == high || j->mean)) memset(target, 0, (size_t)j->width * sizeof(T));                  \
            T scale = j->mean && high > low ? (T)1 / (T)(high - low) : (T)1;                                           \
            for (int64_t e = low; e < high; e++) {                                                                     \
                const T *source = (const T *)(j->source + e * j->source_step);                                         \
                if (j->mean)                                                                                           \
                    for (int64_t k = 0; k < j->width; k++) target[k] += source[k] * scale;                             \
                else if (e == low && !j->add)                                                                          \
                    memcpy(target, source, (size_t)j->width * sizeof(T));                                              \
                else                                                                                                   \
                    for (int64_t k = 0; k < j->width; k++) target[k] += source[k];                                     \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void spread_piece_##T(const Job *j, int64_t begin, int64_t end) {                                           \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            const T *source = (const T *)(j->source + i * j->source_step);                                             \
            int64_t low = j->index[i] - j->origin, high = j->index[i + 1] - j->origin;                                 \
            T scale = j->mean && high > low ? (T)1 / (T)(high - low) : (T)1;                                           \
            for (int64_t e = low; e < high; e++) {                                                                     \
                T *target = (T *)(j->target + e * j->target_step);                                                     \
                if (j->add)                                                                                            \
                    for (int64_t k = 0; k < j->width; k++) target[k] += source[k] * scale;                             \
                else if (j->mean)                                                                                      \
                    for (int64_t k = 0; k < j->width; k++) target[k] = source[k] * scale;                              \
                else                                                                                                   \
                    memcpy(target, source, (size_t)j->width * sizeof(T));                                              \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    /* all rows, columns begin to end: two rows may go to the same place, so threads share columns */                  \
    static void scatter_piece_##T(const Job *j, int64_t begin, int64_t end) {                                          \
        for (int64_t i = 0; i < j->origin; i++) {                                                                      \
            T *target = (T *)(j->target + j->index[i] * j->target_step);                                               \
            const T *source = (const T *)(j->source + i * j->source_step);                                             \
            for (int64_t k = begin; k < end; k++) target[k] += source[k];                                              \
        }                                                                                                              \
    }                                                                                                                  \
    /* the first of the greatest elements, or, with `add`, of the smallest; what is no number counts as such */        \
    static void place_piece_##T(const Job *j, int64_t begin, int64_t end) {                                            \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            const T *source = (const T *)(j->source + i * j->source_step);                                             \
            int64_t best = 0;                                                                                          \
            for (int64_t k = 1; k < j->width && source[best] == source[best]; k++)                                     \
                if (source[k] != source[k] || (j->add ? source[k] < source[best] : source[k] > source[best]))          \
                    best = k;                                                                                          \
            *(T *)(j->target + i * j->target_step) = (T)best;                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void reduce_##T(T *target, const T *source, int64_t rows, int64_t columns) {                                \
        for (int64_t i = 0; i < rows; i++)                                                                             \
            for (int64_t k = 0; k < columns; k++) target[k] += source[i * columns + k];                                \
    }

TYPED(float)
TYPED(double)

/* -- operands ------------------------------------------------------------------------------------------------------- */
static char *base_of(const int64_t *env, const int64_t *o) {
    int64_t base = o[O_ROOT] < 0 ? 0 : env[E_ROOTS + o[O_ROOT]];
    base += o[O_OFFSET] + o[O_MOST] * env[E_MOST] + o[O_MOST_EDGES] * env[E_MOST_EDGES] + o[O_TOTAL] * env[E_TOTAL] +
            o[O_TOTAL_EDGES] * env[E_TOTAL_EDGES];
    return (char *)(intptr_t)base;
}

static void resolve(Frame *f) {
    const int64_t *env = f->env, *operands = f->program + f->program[P_OPERANDS_AT];
    const int64_t *edges = (const int64_t *)(intptr_t)env[E_EDGES];
    int64_t own = f->begin - env[E_ORIGIN];
    int64_t own_edges = edges ? f->edge_begin - edges[env[E_ORIGIN]] : 0;
    for (int64_t i = 0; i < f->program[P_OPERANDS]; i++) {
        const int64_t *o = operands + i * O_WORDS;
        char *base = base_of(env, o);
        f->step[i] = o[O_STRIDE];
        switch (o[O_MODE]) {
        case FIXED: f->at[i] = base; break;
        case NODES: f->at[i] = base + own * o[O_STRIDE]; break;
        case EDGES: f->at[i] = base + own_edges * o[O_STRIDE]; break;
        case RESULT:
            f->at[i] = base + ((const int64_t *)(intptr_t)env[E_ROOTS + o[O_EXTRA]])[f->group] * o[O_STRIDE];
            break;
        default: {
            const int64_t *rows = (const int64_t *)(intptr_t)env[E_ROWS];
            const int64_t *starts = (const int64_t *)(intptr_t)env[E_ROOTS + o[O_EXTRA] + 1];
            int64_t count = o[O_EDGE] ? f->edge_count : f->count;
            int64_t start = env[E_ROOTS + o[O_EXTRA]] + (o[O_EDGE] ? f->edge_begin : f->begin);
            if (!(o[O_FLAGS] & MUST_COPY) && starts[f->group] >= 0) {
                f->at[i] = base + starts[f->group] * o[O_STRIDE];
                break;
            }
            f->at[i] = f->at[o[O_TARGET]];
            f->step[i] = f->step[o[O_TARGET]];
            if (o[O_FLAGS] & IS_THERE) {
                f->at[i] += o[O_OFFSET];
                break;
            }
            Job job = {.piece = copy_piece, .rows = count, .target = f->at[i], .source = base, .index = rows + start,
                       .target_step = f->step[i], .source_step = o[O_STRIDE], .width = o[O_STRIDE]};
            do_rows(f->machine, &job, count * o[O_STRIDE]);
        }
        }
    }
}

/* -- commands ------------------------------------------------------------------------------------------------------- */
#if HAS_PANELS
typedef struct {
    atomic_int_fast64_t next;
    int64_t pieces, across, panels; /* pieces of the work; how many side by side; panels of each */
    int is_double, accumulate, transposed;
    char *a, *packed, *bias, *c;
    int64_t step, inner, c_step, columns, rows, count; /* steps in elements; count: of panels */
} Panels;

static void fetch_panels(void *argument) {
    Panels *w = argument;
    for (;;) {
        int64_t piece = next_piece(&w->next);
        if (piece >= w->pieces) return;
        int64_t begin = piece / w->across * ROWS_AT_ONCE, first = piece % w->across * w->panels;
        int64_t end = begin + ROWS_AT_ONCE < w->rows ? begin + ROWS_AT_ONCE : w->rows;
        int64_t last = first + w->panels < w->count ? first + w->panels : w->count;
        if (w->is_double)
            panels_double((double *)w->a, w->step, (double *)w->packed, w->inner, (double *)w->bias, w->accumulate,
                          (double *)w->c, w->c_step, w->columns, begin, end, first, last);
        else
            panels_float((float *)w->a, w->step, (float *)w->packed, w->inner, (float *)w->bias, w->accumulate,
                         (float *)w->c, w->c_step, w->columns, begin, end, first, last);
    }
}

static void fetch_packing(void *argument) {
    Panels *w = argument;
    for (;;) {
        int64_t first = next_piece(&w->next);
        if (first >= w->count) return;
        if (w->is_double)
            pack_double((double *)w->a, w->step, w->transposed, w->inner, w->columns, (double *)w->packed, first,
                        first + 1);
        else
            pack_float((float *)w->a, w->step, w->transposed, w->inner, w->columns, (float *)w->packed, first,
                       first + 1);
    }
}

static void packed_product(const Frame *f, const int64_t *w, char *packed, int64_t rows) {
    int64_t size = w[2] ? 8 : 4, threads = f->machine[M_THREADS];
    Panels work = {.is_double = (int)w[2], .accumulate = (int)w[10], .a = f->at[w[4]], .packed = packed,
                   .bias = w[12] < 0 ? NULL : f->at[w[12]], .c = f->at[w[6]], .step = f->step[w[4]] / size,
                   .inner = w[8], .c_step = f->step[w[6]] / size, .columns = w[7], .rows = rows};
    int64_t down = (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE, width = panel_width() / size;
    work.count = (w[7] + width - 1) / width;
    work.across = 4 * threads / down + 1;
    if (work.across > work.count) work.across = work.count;
    work.panels = (work.count + work.across - 1) / work.across;
    work.across = (work.count + work.panels - 1) / work.panels;
    work.pieces = down * work.across;
    on_threads(f->machine, fetch_panels, &work, &work.next, rows * w[7] * w[8]);
}
#endif

/* double, level, a, weight, c, columns, inner, transposed, accumulate, root of the packed weight, bias or -1 */
static void product(const Frame *f, const int64_t *w) {
    int64_t rows = w[3] ? f->edge_count : f->count;
    if (!rows || !w[7]) return;
    char *packed = (char *)(intptr_t)f->env[E_ROOTS + w[11]];
#if HAS_PANELS
    if (packed != NULL) {
        packed_product(f, w, packed, rows);
        return;
    }
#endif
    (void)packed;
    int size = w[2] ? 8 : 4, m = (int)w[7], n = (int)rows, k = (int)w[8];
    int weight_step = (int)(f->step[w[5]] / size), step = (int)(f->step[w[4]] / size);
    int target_step = (int)(f->step[w[6]] / size);
    if (w[12] >= 0) {
        Job job = {.piece = copy_piece, .rows = rows, .target = f->at[w[6]], .target_step = f->step[w[6]],
                   .source = f->at[w[12]], .width = w[7] * size};
        do_rows(f->machine, &job, rows * job.width);
    }
    float one = 1, keep = w[10] || w[12] >= 0 ? 1 : 0;
    double one_d = 1, keep_d = keep;
    Product gemm = (Product)(intptr_t)f->machine[w[2] ? M_DGEMM : M_SGEMM];
    gemm(w[9] ? "T" : "N", "N", &m, &n, &k, w[2] ? (void *)&one_d : (void *)&one, f->at[w[5]], &weight_step,
         f->at[w[4]], &step, w[2] ? (void *)&keep_d : (void *)&keep, f->at[w[6]], &target_step);
}

/* Take the target, the source and the columns from where most commands have them. */
static void aim(Job *job, const Frame *f, const int64_t *w) {
    job->target = f->at[w[3]];
    job->target_step = f->step[w[3]];
    job->source = f->at[w[4]];
    job->source_step = f->step[w[4]];
    job->width = w[5];
}

/* As `launch` of executor/native/places.py, which says what the arguments of a segment are. */
static void kernel(const Frame *f, const int64_t *w) {
    const int64_t *machine = f->machine;
    int64_t rows = w[7] ? f->edge_count : f->count, columns = w[5], block = w[6], count = w[9], across = w[4];
    int64_t arguments[7 + 2 * KERNEL_OPERANDS];
    int flat = across && !block;
    if (!rows || !columns) return;
    for (int64_t i = 0; i < count; i++) {
        int64_t operand = w[10 + i], step = operand < 0 ? 0 : f->step[operand] / w[8];
        arguments[7 + 2 * i] = operand < 0 ? 0 : (int64_t)(intptr_t)f->at[operand];
        arguments[8 + 2 * i] = step;
        flat = flat && step == columns;
    }
    if (flat) {
        columns *= rows;
        rows = 1;
    }
    int64_t height = block ? block : rows, width = columns, threads = machine[M_THREADS];
    Team team = (Team)(intptr_t)machine[M_TEAM];
    int many = threads > 1 && team != NULL && rows * columns * (w[3] + 4 * count) >= machine[M_PARALLEL];
    if (many) {
        int64_t most = machine[M_BLOCK];
        if (!block) {
            height = most / columns;
            height = height < 1 ? 1 : height < rows ? height : rows;
        }
        width = !across || columns <= most ? columns : most;
    }
    int64_t down = (rows + height - 1) / height, side = (columns + width - 1) / width;
    arguments[0] = 0;
    arguments[1] = rows;
    arguments[2] = columns;
    arguments[3] = height;
    arguments[4] = width;
    arguments[5] = down * side;
    arguments[6] = side;
    Kernel function = (Kernel)(intptr_t)w[2];
    if (many && down * side > 1)
        team((void (*)(void *))function, arguments, (unsigned)(threads < down * side ? threads : down * side), 0);
    else
        function(arguments);
}

static void command(const Frame *f, const int64_t *w) {
    const int64_t *env = f->env, *machine = f->machine, *edges = (const int64_t *)(intptr_t)env[E_EDGES];
    Job job = {.rows = w[2] ? f->edge_count : f->count};
    switch (w[0]) {
    case PRODUCT: product(f, w); break;
    case KERNEL: kernel(f, w); break;
    case FILL: /* level, target, source of one row or -1, bytes, calls per row or 0 */
    case COPY: /* level, target, source, bytes */
        if (w[0] == FILL && w[6]) job.rows = (job.rows + w[6] - 1) / w[6];
        job.piece = w[4] < 0 ? zero_piece : copy_piece;
        job.target = f->at[w[3]];
        job.target_step = f->step[w[3]];
        job.source = w[4] < 0 ? NULL : f->at[w[4]];
        job.source_step = w[4] < 0 || w[0] == FILL ? 0 : f->step[w[4]];
        job.width = w[5];
        do_rows(machine, &job, job.rows * job.width);
        break;
    case ADD: /* level, target, source, width, double */
        job.piece = w[6] ? add_piece_double : add_piece_float;
        aim(&job, f, w);
        do_rows(machine, &job, job.rows * job.width * 4);
        break;
    case SUM:    /* -, target (nodes), source (edges), width, double, add, mean */
    case SPREAD: /* -, target (edges), source (nodes), width, double, add, mean */
        if (w[0] == SUM)
            job.piece = w[6] ? sum_piece_double : sum_piece_float;
        else
            job.piece = w[6] ? spread_piece_double : spread_piece_float;
        job.rows = f->count;
        job.index = edges + f->begin;
        job.origin = f->edge_begin;
        aim(&job, f, w);
        job.add = w[7];
        job.mean = w[8];
        do_rows(machine, &job, f->edge_count * job.width * 4);
        break;
    case PLACE: /* level, target, source, width, double, smallest */
        job.piece = w[6] ? place_piece_double : place_piece_float;
        aim(&job, f, w);
        job.add = w[7];
        do_rows(machine, &job, job.rows * job.width * 4);
        break;
    case SCATTER: /* level, root of the target, source, width, double, root of the first place in the table, stride */
        job.piece = w[6] ? scatter_piece_double : scatter_piece_float;
        job.origin = job.rows;
        job.index = (const int64_t *)(intptr_t)env[E_ROWS] + env[E_ROOTS + w[7]] + (w[2] ? f->edge_begin : f->begin);
        job.rows = job.origin ? w[5] : 0;
        job.target = (char *)(intptr_t)env[E_ROOTS + w[3]];
        job.target_step = w[8];
        job.source = f->at[w[4]];
        job.source_step = f->step[w[4]];
        do_rows(machine, &job, job.origin * w[5] * 4);
        break;
    case REDUCE: { /* level, target, source (a row per block), columns, double, block */
        int64_t blocks = (job.rows + w[7] - 1) / w[7];
        if (w[6])
            reduce_double((double *)f->at[w[3]], (const double *)f->at[w[4]], blocks, w[5]);
        else
            reduce_float((float *)f->at[w[3]], (const float *)f->at[w[4]], blocks, w[5]);
    }
    }
}

/* -- groups --------------------------------------------------------------------------------------------------------- */
/* Whether a backward pass has come to a result of these calls; if so it comes to the arguments of those calls. */
static int reach(const Frame *f, unsigned char *reached) {
    const int64_t *env = f->env, *program = f->program;
    const int64_t *ids = (const int64_t *)(intptr_t)env[E_IDS], *edges = (const int64_t *)(intptr_t)env[E_EDGES];
    int any = 0;
    int64_t end = f->begin + (env[E_REACH] ? env[E_REACH] : f->count); /* all calls, where only different ones run */
    for (int64_t i = f->begin; i < end; i++) {
        int hit = 0;
        for (int64_t k = 0; k < env[E_OUTPUTS]; k++) hit |= reached[ids[i] + k];
        if (!hit) continue;
        any = 1;
        for (int64_t k = 0; k < program[P_READS]; k++) {
            const int64_t *read = program + program[P_READS_AT] + 2 * k;
            const int64_t *values = (const int64_t *)(intptr_t)env[E_ROOTS + read[0]];
            if (read[1])
                for (int64_t e = edges[i]; e < edges[i + 1]; e++) reached[values[e]] = 1;
            else
                reached[values[i]] = 1;
        }
    }
    return any;
}

static double seconds(void) {
    struct timespec now;
#ifdef CLOCK_MONOTONIC
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_group(Frame *f, int64_t *env, int reverse, unsigned char *reached, double *clocks, int64_t *ran) {
    const int64_t *sizes = (const int64_t *)(intptr_t)env[E_SIZES], *edges = (const int64_t *)(intptr_t)env[E_EDGES];
    f->env = env;
    f->program = (const int64_t *)(intptr_t)env[E_PROGRAM];
    if (reverse) {
        env[E_GROUP]--;
        env[E_BEGIN] -= sizes[env[E_GROUP]];
    }
    f->group = env[E_GROUP];
    f->begin = env[E_BEGIN];
    f->count = sizes[f->group];
    f->edge_begin = edges ? edges[f->begin] : 0;
    f->edge_count = edges ? edges[f->begin + f->count] - f->edge_begin : 0;
    if (!reverse) {
        env[E_GROUP]++;
        env[E_BEGIN] += f->count;
    }
    *ran = reached == NULL || reach(f, reached);
    if (*ran) resolve(f);
    clocks[0] = seconds();
    if (*ran) {
        const int64_t *w = f->program + f->program[P_COMMANDS_AT], *end = f->program + f->program[P_COMMANDS_END];
        for (; w < end; w += w[1]) command(f, w);
    }
    clocks[1] = seconds();
}

/* Run `count` groups; see run_doc. Returns -1 where there is no memory for it. */
static int walk(const int64_t *machine, const int64_t *order, int64_t count, const int64_t *environments, int reverse,
                unsigned char *reached, double *clocks, int64_t *ran) {
    Frame *frame = PyMem_RawMalloc(sizeof(Frame));
    if (frame == NULL) return -1;
    frame->machine = machine;
    clocks[0] = seconds();
    for (int64_t i = 0; i < count; i++) {
        int64_t number = reverse ? count - 1 - i : i;
        run_group(frame, (int64_t *)(intptr_t)environments[order[number]], reverse, reached, clocks + 1 + 2 * i,
                  ran + number);
    }
    PyMem_RawFree(frame);
    return 0;
}

PyDoc_STRVAR(run_doc, "run(machine, order, count, environments, reverse, reached, clocks, ran)\n--\n\n"
"Run `count` groups. All are addresses: machine, see stream.py; order, per group the number of its environment;\n"
"environments, their addresses; reached, a byte per value, or 0; clocks, two per group and one before; ran, per group.");

static PyObject *run(PyObject *module, PyObject *args) {
    long long machine, order, count, environments, reached, clocks, ran;
    int reverse, failed;
    (void)module;
    if (!PyArg_ParseTuple(args, "LLLLpLLL", &machine, &order, &count, &environments, &reverse, &reached, &clocks,
                          &ran))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = walk((const int64_t *)(intptr_t)machine, (const int64_t *)(intptr_t)order, count,
                  (const int64_t *)(intptr_t)environments, reverse, (unsigned char *)(intptr_t)reached,
                  (double *)(intptr_t)clocks, (int64_t *)(intptr_t)ran);
    Py_END_ALLOW_THREADS
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(walker_doc, "walker()\n--\n\nReturn where the function lies that `run` calls; its type is Walk in prepared.h.");

static PyObject *walker(PyObject *module, PyObject *none) {
    (void)module;
    (void)none;
    return PyLong_FromVoidPtr((void *)(intptr_t)walk);
}

PyDoc_STRVAR(pack_doc, "pack(machine, weight, step, across, inner, columns, packed, double)\n--\n\n"
"Put a weight in order for products: element (k, j) is weight[j * step + k], with `across` weight[k * step + j].\n"
"There is room for `inner` rows of as many whole panels as `columns` columns take.");

static PyObject *pack(PyObject *module, PyObject *args) {
    long long machine, weight, step, inner, columns, packed;
    int across, is_double;
    (void)module;
    if (!PyArg_ParseTuple(args, "LLLpLLLp", &machine, &weight, &step, &across, &inner, &columns, &packed, &is_double))
        return NULL;
#if HAS_PANELS
    int64_t width = panel_width() / (is_double ? 8 : 4);
    if (width) {
        Panels work = {.is_double = is_double, .transposed = across, .a = (char *)(intptr_t)weight, .step = step,
                       .packed = (char *)(intptr_t)packed, .inner = inner, .columns = columns,
                       .count = (columns + width - 1) / width};
        Py_BEGIN_ALLOW_THREADS
        on_threads((const int64_t *)(intptr_t)machine, fetch_packing, &work, &work.next, 4 * inner * columns);
        Py_END_ALLOW_THREADS
    }
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(outer_doc, "outer(machine, rows, g, step, height, x, step, width, c, step, sums, packed, add, double)\n--\n\n"
"c = gᵀ · x for `rows` rows of g, of `height` columns, and of x, of `width`; sums += the sums of g's columns, or 0.\n"
"add: to what is in c. packed: room for the rows of x with as many columns as fill panels.");

static PyObject *outer_of(PyObject *module, PyObject *args) {
    long long machine, rows, g, g_step, height, x, x_step, width, c, c_step, sums, packed;
    int add, is_double;
    (void)module;
    if (!PyArg_ParseTuple(args, "LLLLLLLLLLLLpp", &machine, &rows, &g, &g_step, &height, &x, &x_step, &width, &c, &c_step,
                          &sums, &packed, &add, &is_double))
        return NULL;
#if HAS_PANELS
    Outer work = {.rows = rows, .height = height, .width = width, .g = (const char *)(intptr_t)g,
                  .x = (const char *)(intptr_t)x, .c = (char *)(intptr_t)c, .sums = (char *)(intptr_t)sums,
                  .packed = (char *)(intptr_t)packed, .g_step = g_step, .x_step = x_step, .c_step = c_step,
                  .is_double = is_double, .add = add};
    Py_BEGIN_ALLOW_THREADS
    outer((const int64_t *)(intptr_t)machine, &work);
    Py_END_ALLOW_THREADS
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(width_doc, "panel_width()\n--\n\nReturn the bytes of a row of a panel; 0 where weights cannot be packed.");

static PyObject *width(PyObject *module, PyObject *none) {
    (void)module;
    (void)none;
    return PyLong_FromLongLong(panel_width());
}

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, run_doc},
                                {"walker", walker, METH_NOARGS, walker_doc},
                                {"pack", pack, METH_VARARGS, pack_doc},
                                {"outer", outer_of, METH_VARARGS, outer_doc},
                                {"panel_width", width, METH_NOARGS, width_doc},
                                SOURCE_METHOD,
                                {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_runner", "Runs groups of a folded batch.", 0, methods,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__runner(void) { return PyModuleDef_Init(&definition); }
